"""Paths, lock, logs and format of a run folder: where training, evaluation and report meet; no torch here."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ganmix.engine.files import append_line, read_lines, write_atomically
from ganmix.engine.scores import Measurement
from ganmix.errors import UserError

FORMAT = 1  # of a run's files; one that this program cannot read has another


class RunFolder:
    """Paths and logs of a run. Making one touches nothing; `held` takes it for a training.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.yaml"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.latest = self.checkpoints / "latest.pt"
        self.previous = self.checkpoints / "previous.pt"
        self.best = self.checkpoints / "best.pt"
        self._format = path / "format"
        self._metrics = path / "metrics.jsonl"
        self._scores = path / "scores.jsonl"
        self._sessions = path / "sessions.jsonl"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Create what is missing, and keep every other training out until the end of a `with`.

        Raises:
            UserError: the folder cannot be written, another process trains in it, or its files have another format.
        """
        try:
            for folder in (self.path, self.checkpoints, self.samples):
                folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"run.dir: another process is training in {self.path}") from error
        except OSError as error:
            raise UserError(f"run.dir: cannot write to {self.path} ({error.strerror})") from error
        with lock:
            if not self.config.exists():
                write_atomically(self._format, f"{FORMAT}\n".encode())
            self.check_format()
            yield

    def check_format(self) -> None:
        """Check that this program wrote the run, or one that writes the same files.

        Raises:
            UserError: there is no run here, or its files have another format.
        """
        if not self._format.exists() and not self.config.exists():
            raise UserError(f"{self.path}: there is no run here, no config.yaml")
        found = self._format.read_text().strip() if self._format.exists() else "none"
        if found != str(FORMAT):
            raise UserError(
                f"{self.path}: another version of ganmix wrote this run (format {found}, expected {FORMAT})"
            )

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, each of a step."""
        return read_lines(self._metrics)

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """The lines of sessions.jsonl: from which step, when, on what and with which libraries the run trained."""
        return read_lines(self._sessions)

    @property
    def measurements(self) -> list[Measurement]:
        """The lines of scores.jsonl.

        Raises:
            UserError: one of them is no measurement.
        """
        found = []
        for number, line in enumerate(read_lines(self._scores), start=1):
            try:
                found.append(Measurement.from_line(line))
            except (LookupError, TypeError, AttributeError) as error:
                place = f"{self._scores}:{number}"
                raise UserError(f"{place}: expected scores by a protocol; without this line the log is good") from error
        return found

    def add_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step to metrics.jsonl."""
        self._append(self._metrics, {"step": step, **values})

    def add_session(self, step: int, facts: Mapping[str, Any]) -> None:
        """Append to sessions.jsonl what is true of the training that goes on at a step."""
        self._append(self._sessions, {"step": step, **facts})

    def add_measurement(self, measurement: Measurement) -> None:
        """Append a measurement to scores.jsonl."""
        self._append(self._scores, measurement.to_line())

    def forget_after(self, step: int) -> None:
        """Drop what metrics and scores say of later steps, which a resumed run takes again.

        Raises:
            UserError: a line is damaged.
        """
        with self._holding_logs():
            for log in (self._metrics, self._scores):
                kept = [line for line in read_lines(log) if line["step"] <= step]
                if log.exists():
                    write_atomically(log, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def kept(self, step: int) -> Path:
        """Return the checkpoint of a step that no later one replaces."""
        return self.checkpoints / f"step_{step:06d}.pt"

    @property
    def kept_checkpoints(self) -> list[Path]:
        """The checkpoints that no later one replaces, in the order of their steps."""
        return sorted(self.checkpoints.glob("step_*.pt"), key=lambda path: int(path.stem.removeprefix("step_")))

    @property
    def last_checkpoint(self) -> Path | None:
        """The checkpoint that the run goes on from; None where it has none."""
        return next((path for path in (self.latest, self.previous) if path.exists()), None)

    def checkpoint(self, name: str) -> Path:
        """Return the checkpoint that 'best', 'latest' or a path means.

        Raises:
            UserError: it is not there.
        """
        path = {"best": self.best, "latest": self.latest}.get(name, Path(name))
        if not path.is_file():
            there = ", ".join(file.name for file in sorted(self.checkpoints.glob("*.pt"))) or "none yet"
            raise UserError(f"there is no checkpoint {path} (this run has: {there})")
        return path

    def _append(self, log: Path, record: Mapping[str, Any]) -> None:
        with self._holding_logs():
            append_line(log, record)

    def _holding_logs(self) -> FileLock:
        """Wait until no other process changes the logs: a training rewrites them, and `evaluate` adds to them."""
        return FileLock(self.path / ".logs.lock")


def find_runs(paths: Iterable[Path]) -> list[RunFolder]:
    """Return the runs at, or anywhere below, the paths given; each once, in the order of their names.

    Below a run there may be others: `--seeds` trains into seed-N below the folder of a single training.

    Raises:
        UserError: there is none at or below one of the paths.
    """
    found: dict[Path, None] = {}
    problems = []
    for path in paths:
        here = sorted(file.parent for file in path.rglob("config.yaml"))
        if not here:
            problems.append(f"{path}: there is no run here, no folder with a config.yaml")
        found |= dict.fromkeys(here)
    if problems:
        raise UserError(problems)
    return [RunFolder(path) for path in found]
