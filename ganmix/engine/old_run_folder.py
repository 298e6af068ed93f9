"""The folder of one run: its config, its append-only logs, its lock. Readable and resumable whenever it is killed."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

from ganmix.engine.checkpoint import write_atomically
from ganmix.errors import UserError


class RunFolder:
    """Paths and logs of a run; held by one process at a time, until the end of a `with`.

    Raises:
        UserError: the folder cannot be written, or another process trains in it.
    """

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.yaml"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.metrics = path / "metrics.jsonl"
        self.scores = path / "scores.jsonl"
        self.sessions = path / "sessions.jsonl"
        try:
            for folder in (path, self.checkpoints, self.samples):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = (path / ".lock").open("a")
        except OSError as error:
            raise UserError(f"run.dir: cannot write to {path} ({error.strerror})") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise UserError(f"run.dir: another process is training in {path}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.close()


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON object as a line, in place of a last line that a kill cut short.

    Raises:
        OSError: with the path; the log is as it was.
    """
    line = memoryview(json.dumps(record).encode() + b"\n")
    with _holding_logs(path.parent), path.open("a+b", buffering=0) as file:
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
    """Read the JSON objects of a log, each of a step; a last line cut short by a kill is left out.

    Raises:
        UserError: another line is damaged.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    return [_read_line(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def forget_after(path: Path, step: int) -> None:
    """Drop the lines of steps after `step`, which a resumed run takes again.

    Raises:
        UserError: a line is damaged.
    """
    with _holding_logs(path.parent):
        kept = [line for line in read_lines(path) if line["step"] <= step]
        if path.exists():
            write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())


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
    """Return where the last whole line of a log ends."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 1))
    if file.read() in (b"", b"\n"):
        return size
    file.seek(0)
    return file.read().rfind(b"\n") + 1


@contextmanager
def _holding_logs(folder: Path) -> Iterator[None]:
    """Wait until no other process changes the logs: a training rewrites them, and `evaluate` adds to them."""
    with (folder / ".logs.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        yield
