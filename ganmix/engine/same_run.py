"""Which run it is: the keys of its config that make it that run, and the images it trains on."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.common import FolderData
from ganmix.config.gan import GanConfig
from ganmix.config.reader import differences, read_config
from ganmix.engine.digests import sha256_of
from ganmix.engine.identity import Identity
from ganmix.engine.run_folder import RunFolder
from ganmix.errors import UserError

Config = GanConfig | ClassifierConfig

# What may change between the start of a run and its resumption, without making it another run.
CHANGEABLE = {"run.dir", "data.root", "data.path", "logging", "evaluation", "device", "paper"}
FIXED = {"evaluation.select"}  # may not change all the same: best.pt was chosen by it
LENGTH = {"training.steps", "training.epochs"}  # may change, too, where no step depends on it


def may_go_on(config: Config) -> bool:
    """Tell whether a run may get more steps than it began with: where nothing rises or falls over them."""
    return config.training.decay == "constant" and getattr(config, "semi_supervised", None) is None


def more_steps(config: Config) -> str:
    """Return what a finished run may be told beside its end: how it would go on."""
    length = config.training.model_dump(include={"steps", "epochs"}, exclude_none=True)
    (key, number), *_ = length.items()
    return f"; training.{key}={2 * number} would go on" if may_go_on(config) else ""


def changeable(config: Config) -> set[str]:
    """Return the keys that may change without making it another run."""
    return CHANGEABLE | LENGTH if may_go_on(config) else CHANGEABLE


def identity_of(config: Config, images: Mapping[str, Tensor] | None = None) -> Identity:
    """Return what a run's checkpoints are known by.

    Args:
        images: what it trains on, labels too where they are used; None: not compared.
    """

    def without(names: set[str], tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        return {
            key: without(names, value, f"{prefix}{key}.") if isinstance(value, Mapping) else value
            for key, value in tree.items()
            if prefix + key not in names
        }

    data = config.data
    source = data.path if isinstance(data, FolderData) else f"{data.root} ({data.name})"
    return Identity(
        without(changeable(config), config.model_dump()), None if images is None else sha256_of(images), source
    )


def check_same_run(folder: RunFolder, config: Config) -> None:
    """Check that a run's folder, if it has a config, began with this one.

    Raises:
        UserError: a key differs that makes it another run; each is named.
    """
    if folder.config.exists():
        old = read_config(type(config), folder.config)
        names = changeable(config)
        problems = [
            f"{folder.path} was started with {key} = {before!r}, and now it is {after!r}"
            for key, before, after in differences(old, config)
            if key in FIXED or not any(key == name or key.startswith(name + ".") for name in names)
        ]
        if problems:
            raise UserError([*problems, "take another run.dir for another run, or delete that one"])


def check_steps(folder: RunFolder, steps_done: int, steps: int) -> None:
    """Check that a run has not done more steps than it shall.

    Raises:
        UserError: it has.
    """
    if steps_done > steps:
        raise UserError(f"training.steps: {folder.path} has done {steps_done} already, more than {steps}")
