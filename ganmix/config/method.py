"""Which keys of a config are the method, which identify a run, and which may change on a resume."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganmix.config.either import Config
from ganmix.config.reader import read_config
from ganmix.errors import UserError

# Keys that don't change the training: where it runs, and how it is logged and scored.
SURROUNDINGS = {"run.dir", "data.root", "logging", "evaluation", "device", "paper"}


def method_keys(config: Config) -> dict[str, Any]:
    """Return the method: all keys except the seed and the surroundings."""
    return _without(SURROUNDINGS | {"run"}, config.model_dump(mode="json"))


def identity_keys(config: Config) -> dict[str, Any]:
    """Return the keys that a run's checkpoints hold, so that no other run loads them."""
    return _without(_changeable(config), config.model_dump())


def refused_changes(old: Config, new: Config) -> list[tuple[str, Any, Any]]:
    """Return the `differences` that make `new` another run than `old`."""
    trees = [_without(_changeable(new), config.model_dump()) for config in (old, new)]
    for tree, config in zip(trees, (old, new), strict=True):
        # It is not part of the identity, but it chose the best checkpoint so far.
        tree["evaluation.select"] = getattr(config.evaluation, "select", None)
    return differences(*trees)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, shared: bool = False) -> list[tuple[str, Any, Any]]:
    """Return the dotted keys whose values differ, with the old and the new value; None if a key is absent.

    A section that only one side has is one entry; with `shared`, keys that only one side has are left out.
    """
    found = []
    for name in (key for key in {**old, **new} if not shared or (key in old and key in new)):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += [(f"{name}.{key}", *values) for key, *values in differences(before, after, shared=shared)]
        elif before != after:
            found.append((name, before, after))
    return found


def key_off_the_papers_row(config: Config, path: Path, overrides: Sequence[str]) -> str | None:
    """Return the first dotted key by which overrides part a config's method from its row of the paper.

    None: the config (of this file with these overrides) has no row, the overrides keep the file's method, or they set
    `paper` themselves.
    """
    keys = [override.partition("=")[0] for override in overrides]
    if not overrides or config.paper is None or any(key.split(".")[0] == "paper" for key in keys):
        return None
    try:
        file = read_config(type(config), path)
    except UserError:  # the file is incomplete without its overrides
        return keys[0]
    return next((key for key, _, _ in differences(method_keys(file), method_keys(config))), None)


def _changeable(config: Config) -> set[str]:
    """Return the keys that may change on a resume; a digest identifies the images, wherever they are."""
    length = {"training.steps", "training.epochs"} if config.can_go_on else set()
    return SURROUNDINGS | {"data.path"} | length


def _without(names: set[str], tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without(names, value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if prefix + key not in names
    }
