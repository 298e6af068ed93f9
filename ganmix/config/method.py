"""What the keys of a config mean for a run: which are its method, which identify it, which may change on a resume."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganmix.config.common import RunConfig
from ganmix.config.either import Config
from ganmix.config.reader import read_config
from ganmix.errors import UserError

# Where a run is and computes, and how it is watched and scored: these say nothing of what is trained.
SURROUNDINGS = {"run.dir", "data.root", "logging", "evaluation", "device", "paper"}


def method_keys(config: RunConfig) -> dict[str, Any]:
    """Return the method: all keys but the seed and the surroundings."""
    return _without(SURROUNDINGS | {"run"}, config.model_dump(mode="json"))


def identity_keys(config: Config) -> dict[str, Any]:
    """Return what stands in a run's checkpoints, so that no other run takes them."""
    return _without(_changeable(config), config.model_dump())


def refused_changes(old: Config, new: Config) -> list[tuple[str, Any, Any]]:
    """Return the differences that make `new` another run than `old`, as `differences` does."""
    names = _changeable(new)
    trees = [_without(names, config.model_dump()) for config in (old, new)]
    # No part of the identity, but the best checkpoint so far was chosen by it.
    select = [{"evaluation.select": getattr(config.evaluation, "select", None)} for config in (old, new)]
    return differences(trees[0] | select[0], trees[1] | select[1])


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, shared: bool = False) -> list[tuple[str, Any, Any]]:
    """Return the dotted keys whose values differ, with the old and the new value; None where a key is absent.

    A section that is there on one side only is one entry.

    Args:
        old, new: configs as nested mappings.
        shared: leave out keys that one side lacks in a section that both have.
    """
    found = []
    for name in (key for key in {**old, **new} if not shared or (key in old and key in new)):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += [(f"{name}.{key}", *values) for key, *values in differences(before, after, shared=shared)]
        elif before != after:
            found.append((name, before, after))
    return found


def key_off_the_papers_row(config: RunConfig, path: Path, overrides: Sequence[str]) -> str | None:
    """Return the first key of the method that overrides change in a config that reproduces a row of the paper.

    Args:
        config: the file with the overrides.
        path: the file.
        overrides: `section.key=value` each.

    Returns:
        The dotted key. None: there is no such row, the method is the file's, or the overrides name the row themselves.
    """
    keys = [override.partition("=")[0] for override in overrides]
    if not overrides or getattr(config, "paper", None) is None or any(key.split(".")[0] == "paper" for key in keys):
        return None
    try:
        file = read_config(type(config), path)
    except UserError:  # it is a config only with its overrides
        return keys[0]
    return next((key for key, _, _ in differences(method_keys(file), method_keys(config))), None)


def _changeable(config: Config) -> set[str]:
    """Return the keys that may change on a resume; a run knows its images by their digest, wherever they are."""
    length = {"training.steps", "training.epochs"} if config.can_go_on else set()
    return SURROUNDINGS | {"data.path"} | length


def _without(names: set[str], tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    return {
        key: _without(names, value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if prefix + key not in names
    }
