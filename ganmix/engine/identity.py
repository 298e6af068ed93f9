"""What makes a run the one it is: it stands in its checkpoints, and no other run takes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganmix.config.method import differences
from ganmix.errors import UserError


@dataclass(frozen=True)
class Identity:
    """What the checkpoints of a run have in common, and no other run's have.

    Args:
        settings: key -> value, nested, plain Python.
        images: SHA-256 of what it trains on; None: not compared.
        source: where these images were found, for a message.
    """

    settings: Mapping[str, Any]
    images: str | None = None
    source: str = ""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {"settings": dict(self.settings), "images": self.images}

    def check(self, path: Path, state: object) -> None:
        """Check that a checkpoint is of this run.

        Args:
            path: the file, for a message.
            state: what is in it.

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
