"""Checkpoints: one file of tensors and plain Python, replaced whole or not at all."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from ganmix.errors import UserError, first_line

LATEST = "latest.pt"
PREVIOUS = "previous.pt"
BEST = "best.pt"


def kept_name(step: int) -> str:
    """Return the name of a checkpoint that is kept for good."""
    return f"step_{step:06d}.pt"


def save_checkpoint(path: Path, state: dict[str, Any], previous: Path | None = None) -> None:
    """Write `state` to `path` so that a kill, or a full disk, at any moment leaves the old file or the new one.

    Args:
        previous: where to keep the old one.

    Raises:
        OSError: it cannot be written; the file that was there is intact.
    """
    # Into memory first: torch reports a full disk as a RuntimeError of its archive writer, a file as an OSError.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getbuffer(), previous)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; nothing in the file can run code.

    Raises:
        UserError: the file is missing or is not a checkpoint.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch.load has no error of its own: a zip's, a pickle's, an OSError, a RuntimeError
        previous = path.with_name(PREVIOUS)
        advice = f"; {previous} copied over it would continue from there" if previous.exists() else ""
        raise UserError(f"{path}: not a readable checkpoint ({first_line(error)}){advice}") from error
    return state


def write_atomically(
    path: Path, data: bytes | memoryview, previous: Path | None = None, *, shared: bool = False
) -> None:
    """Write a file under a temporary name, sync it, then rename it.

    Args:
        previous: where the file that was there is kept, once the new one is safe on the disk.
        shared: other processes may write the same file at the same time.

    Raises:
        OSError: with the path; what was there is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp" if shared else f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            copy_file(path, previous)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = error.filename or str(path)
        raise


def copy_file(source: Path, target: Path) -> None:
    """Give a file that is only ever replaced, never written to, a second name; atomically."""
    spare = target.with_name(target.name + ".tmp")
    spare.unlink(missing_ok=True)
    try:
        os.link(source, spare)  # no bytes are copied
    except OSError:  # a file system without hard links
        shutil.copyfile(source, spare)
    spare.replace(target)
