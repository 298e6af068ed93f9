"""What trainers are made of: batches, and other parts with a state that a checkpoint keeps."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ganmix.engine.streams import restore


class Batches(Protocol):
    """Training batches without end, which go on from a saved state."""

    def next(self) -> tuple[Tensor, Tensor | None]:
        """Return images, float [N, C, R, R] on the device, N always the same, and their classes, int64 [N], or None."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def state_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the states of generators, and of parts that have a `state_dict`."""
    return {
        name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
        for name, part in parts.items()
    }


def load_state(parts: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Let each part go on from where `state_of` was called."""
    for name, part in parts.items():
        if isinstance(part, torch.Generator):
            restore(part, state[name])
        else:
            part.load_state_dict(state[name])
