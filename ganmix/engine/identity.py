"""Which run it is, by its config and images: its folder and its checkpoints hold that, and no other run takes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ganmix.config.either import Config
from ganmix.config.method import differences, identity_keys, refused_changes
from ganmix.config.reader import read_config
from ganmix.engine.digests import sha256_of
from ganmix.engine.run_folder import RunFolder
from ganmix.errors import UserError


@dataclass(frozen=True)
class Identity:
    """What the checkpoints of a run have in common.

    Args:
        settings: key -> value, nested, plain Python.
        images: SHA-256 of the training images; None: not compared.
        source: where the images are, for a message.
    """

    settings: Mapping[str, Any]
    images: str | None = None
    source: str = ""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {"settings": dict(self.settings), "images": self.images}

    def check(self, path: Path, state: object) -> None:
        """Check that `state`, the content of the checkpoint `path`, is of this run.

        Raises:
            UserError: it is another run's, or does not say whose it is.
        """
        found = state.get("identity") if isinstance(state, dict) else None
        if not isinstance(found, dict) or found.keys() != {"settings", "images"}:
            raise UserError(f"{path} is not a checkpoint of this run: it does not say of which it is")
        for key, value, expected in differences(found["settings"], self.settings, shared=True):
            raise UserError(f"{path} is not a checkpoint of this run: its {key} is {value!r}, not {expected!r}")
        if self.images is not None and found["images"] != self.images:
            raise UserError(
                f"the images at {self.source} are not those this run was trained on ({path} has their digest)"
            )


def identity_of(config: Config, images: Mapping[str, Tensor] | None = None) -> Identity:
    """Return the identity of a config's run; `images`, what it trains on, with labels if it uses them, or None."""
    return Identity(identity_keys(config), None if images is None else sha256_of(images), config.data.source)


def check_same_run(folder: RunFolder, config: Config) -> None:
    """Check that a run's folder, if it has a config, began with this one.

    Raises:
        UserError: names each key that makes it another run.
    """
    if folder.config.exists():
        old = read_config(type(config), folder.config)
        problems = [
            f"{folder.path} was started with {key} = {before!r}, and now it is {after!r}"
            for key, before, after in refused_changes(old, config)
        ]
        if problems:
            raise UserError([*problems, "take another run.dir for another run, or delete that one"])
