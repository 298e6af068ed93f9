"""Checkpoints: one file of tensors and plain Python, replaced whole or not at all, and believed only if undamaged."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from ganmix.engine.files import write_atomically
from ganmix.errors import UserError

MARK = b"sha256 "  # opens the digest that ends a file
DIGEST_SIZE = len(MARK) + 2 * hashlib.sha256().digest_size


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
    _add_digest(buffer)
    write_atomically(path, buffer.getbuffer(), previous)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint; nothing in the file can run code, and a damaged one is not taken.

    Raises:
        UserError: the file is missing, is damaged or is not a checkpoint.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error.strerror or "it cannot be read") from error
    written, digest = memoryview(content)[:-DIGEST_SIZE], content[-DIGEST_SIZE:]
    if not digest.startswith(MARK):
        raise _unreadable(path, "it does not end with a digest: cut short, or of another program or version")
    if digest != _digest(written):
        raise _unreadable(path, "it is damaged: its bytes are not those of its digest")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:  # torch.load has no error of its own, and what they say is advice to load it unsafely
        raise _unreadable(path, "it holds more than tensors and plain Python") from error
    return state


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(f"{path}: not a readable checkpoint ({why})")


def _digest(content: bytes | memoryview) -> bytes:
    return MARK + hashlib.sha256(content).hexdigest().encode()


def _add_digest(archive: io.BytesIO) -> None:
    """Append the digest of all before it. It is the zip's comment, so that whatever reads a zip still reads this one.

    The checksums that a zip has are not enough: torch.load does not look at them.
    """
    assert archive.getbuffer()[-22:-18] == b"PK\5\6", "the zip has a comment already"
    archive.seek(-2, io.SEEK_END)  # the length of the comment
    archive.write(DIGEST_SIZE.to_bytes(2, "little"))
    archive.write(_digest(archive.getbuffer()))
