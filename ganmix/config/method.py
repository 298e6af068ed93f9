"""What of a config is the method, and whether that is still the one of the paper's row that its file names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganmix.config.common import RunConfig
from ganmix.config.reader import read_config, tree_differences
from ganmix.errors import UserError

_ELSEWHERE: dict[str, Any] = dict.fromkeys(("run", "device", "logging", "evaluation", "paper"), True) | {
    "data": {"root"}
}


def method_keys(config: RunConfig) -> dict[str, Any]:
    """Return what of a config is the method: all but its seed and where and how it runs, is watched and scored."""
    return config.model_dump(mode="json", exclude=_ELSEWHERE)


def key_off_the_papers_row(config: RunConfig, path: Path, overrides: Sequence[str]) -> str | None:
    """Return the first key of the method by which overrides part a config from the paper's row that its file names.

    Args:
        config: what the file and the overrides say.
        path: the file.
        overrides: `section.key=value` each.

    Returns:
        The dotted key. None: there is no such row, the method is the file's, or the overrides give the row themselves.
    """
    keys = [override.partition("=")[0] for override in overrides]
    if not overrides or getattr(config, "paper", None) is None or any(key.split(".")[0] == "paper" for key in keys):
        return None
    try:
        file = read_config(type(config), path)
    except UserError:  # it is a config only with its overrides
        return keys[0]
    return next((key for key, _, _ in tree_differences(method_keys(file), method_keys(config))), None)
