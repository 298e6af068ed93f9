"""Random streams that go on where they were saved, also on another kind of device."""

import hashlib
import sys

import torch
from torch import Tensor

STATE_SIZES = {"cpu": 5056, "cuda": 16}  # bytes of a generator's state


def restore(generator: torch.Generator, state: Tensor) -> None:
    """Let a stream go on from the state of a saved one.

    The state of another kind of device means nothing to this one. The stream is then seeded from the SHA-256 of its
    bytes, so that resuming twice gives the same, and a line on stderr says so.

    Args:
        state: what `torch.Generator.get_state` returned, uint8.

    Raises:
        ValueError: it is the state of no stream.
    """
    state = state.cpu()  # torch.load may have moved it to a GPU
    if len(state) == len(generator.get_state()):
        generator.set_state(state)
        return
    if len(state) not in STATE_SIZES.values():
        raise ValueError(
            f"a random stream's state has {' or '.join(map(str, STATE_SIZES.values()))} bytes, got {len(state)}"
        )
    generator.manual_seed(int.from_bytes(hashlib.sha256(state.numpy().tobytes()).digest()[:8], "big"))
    print(
        f"note: a random stream was saved on another kind of device than {generator.device.type}; "
        "it is seeded anew, from its saved state",
        file=sys.stderr,
    )
