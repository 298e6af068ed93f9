"""What every run shows in TensorBoard beside its curves: its config, and its result in the HParams table."""

from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from ganmix.config.base import Section
from ganmix.config.reader import dump_config


def show_config(writer: SummaryWriter, config: Section) -> None:
    """Write the resolved config as text."""
    writer.add_text("config", f"```yaml\n{dump_config(config)}```")


def show_result(writer: SummaryWriter, config: Section, scores: Mapping[str, float]) -> None:
    """Write the config's values and the last scores side by side."""
    hparams = {key: value for key, value in _leaves(config.model_dump()) if value is not None}
    writer.add_hparams(hparams, {f"final/{name}": value for name, value in scores.items()}, run_name=".")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, value if isinstance(value, bool | int | float | str | None) else str(value)))
    return found
