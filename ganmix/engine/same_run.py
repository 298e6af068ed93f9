"""Which run it is: the keys of its config that make it that run, and the images it trains on."""

from collections.abc import Mapping

from torch import Tensor

from ganmix.config.either import Config
from ganmix.config.method import identity_keys, refused_changes
from ganmix.config.reader import read_config
from ganmix.engine.digests import sha256_of
from ganmix.engine.identity import Identity
from ganmix.engine.run_folder import RunFolder
from ganmix.errors import UserError


def more_steps(config: Config) -> str:
    """Return what a finished run may be told beside its end: how it would go on."""
    length = config.training.model_dump(include={"steps", "epochs"}, exclude_none=True)
    (key, number), *_ = length.items()
    return f"; training.{key}={2 * number} would go on" if config.can_go_on else ""


def identity_of(config: Config, images: Mapping[str, Tensor] | None = None) -> Identity:
    """Return what a run's checkpoints are known by.

    Args:
        images: what it trains on, labels too where they are used; None: not compared.
    """
    return Identity(identity_keys(config), None if images is None else sha256_of(images), config.data.source)


def check_same_run(folder: RunFolder, config: Config) -> None:
    """Check that a run's folder, if it has a config, began with this one.

    Raises:
        UserError: a key differs that makes it another run; each is named.
    """
    if folder.config.exists():
        old = read_config(type(config), folder.config)
        problems = [
            f"{folder.path} was started with {key} = {before!r}, and now it is {after!r}"
            for key, before, after in refused_changes(old, config)
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
