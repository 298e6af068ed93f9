"""Files that a kill or a full disk at any moment leaves whole: replaced in one move, or appended to line by line."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ganmix.errors import UserError


def write_atomically(
    path: Path, data: bytes | memoryview, previous: Path | None = None, *, shared: bool = False
) -> None:
    """Write a file under a temporary name, sync it, then rename it.

    Args:
        previous: where to keep the file that was there, once the new one is safe on the disk.
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
        os.link(source, spare)  # copies no bytes
    except OSError:  # a file system without hard links
        shutil.copyfile(source, spare)
    spare.replace(target)


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON object as a line; a last line that a kill cut short is dropped first.

    Raises:
        OSError: with the path; the file is as it was.
    """
    line = memoryview(json.dumps(record).encode() + b"\n")
    with path.open("a+b", buffering=0) as file:
        end = _end_of_lines(file)
        file.truncate(end)
        try:
            while line:
                line = line[file.write(line) :]  # a disk that gets full takes a part of it
        except OSError as error:
            file.truncate(end)
            error.filename = error.filename or str(path)
            raise


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the JSON objects of a log, each with its step; a last line that a kill cut short is left out.

    Raises:
        UserError: another line is damaged.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    return [_read_line(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def _read_line(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not isinstance(record.get("step"), int):
        start = line[:40].decode(errors="replace")
        raise UserError(
            f"{place}: expected a JSON object with a step, got {start!r}; without this line the log is good"
        )
    return record


def _end_of_lines(file: BinaryIO) -> int:
    """Return where the last whole line ends."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read() in (b"", b"\n"):
        return size
    file.seek(0)
    return file.read().rfind(b"\n") + 1
