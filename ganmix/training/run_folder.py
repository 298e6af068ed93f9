"""The folder of one run: its config, its append-only logs, its lock. Readable and resumable whenever it is killed."""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ganmix.errors import UserError
from ganmix.training.checkpoint import write_atomically


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
            self._lock = (path / ".lock").open("w")
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
    """Append one JSON object as a line."""
    with path.open("a") as file:
        file.write(json.dumps(record) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the JSON objects of a log; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def forget_after(path: Path, step: int) -> None:
    """Drop the lines of steps after `step`, which a resumed run takes again."""
    kept = [line for line in read_lines(path) if line["step"] <= step]
    if path.exists():
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
