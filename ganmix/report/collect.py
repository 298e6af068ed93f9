"""Run folders read for a report: nothing is locked or written, and a run may still be training."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ganmix.config.gan import GanConfig
from ganmix.errors import UserError, first_line
from ganmix.runs.load import find_runs, is_classifiers, read_run_config
from ganmix.training.run_folder import read_lines


@dataclass(frozen=True, eq=False)
class Run:
    """A GAN's run as its folder tells it.

    Args:
        path: the folder.
        config: what it was trained by.
        metrics, scores, sessions: the lines of these logs; a log that is not there has none.
    """

    path: Path
    config: GanConfig
    metrics: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    sessions: list[dict[str, Any]]

    @property
    def seed(self) -> int:
        return self.config.run.seed

    @cached_property
    def steps_done(self) -> int:
        """The last step that metrics or scores tell of."""
        return max((line["step"] for line in (*self.metrics, *self.scores)), default=0)

    @property
    def speeds(self) -> list[float]:
        """Images per second, a value for each interval of the metrics."""
        return [line["images_per_second"] for line in self.metrics if line.get("images_per_second", 0) > 0]

    @property
    def training_seconds(self) -> float | None:
        """Time spent in training steps; None where the metrics do not tell."""
        images_per_step = self.config.training.n_dis * self.config.training.batch_size
        seconds, since = 0.0, 0
        for line in self.metrics:
            if line.get("images_per_second", 0) > 0:
                seconds += (line["step"] - since) * images_per_step / line["images_per_second"]
            since = line["step"]
        return seconds or None

    def sample_grid(self) -> tuple[int, Path] | None:
        """Return the last grid of generated images and its step."""
        grids = {int(path.stem.rpartition("_")[2]): path for path in (self.path / "samples").glob("fakes_*.png")}
        return max(grids.items(), default=None)

    def real_grid(self) -> Path | None:
        """Return the grid of real images."""
        path = self.path / "samples" / "reals.png"
        return path if path.is_file() else None


def read_runs(paths: Iterable[Path]) -> tuple[list[Run], list[Path]]:
    """Read the GANs' runs at or below the paths, each once, and name the classifiers' runs beside them.

    Raises:
        UserError: there is no run, no GAN's run, or a config or log cannot be read.
    """
    folders = {path.resolve(): path for path in reversed(find_runs(paths))}
    runs, classifiers, problems = [], [], []
    for path in reversed(folders.values()):
        try:
            if is_classifiers(path):
                classifiers.append(path)
            else:
                runs.append(read_run(path))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    if not runs:
        raise UserError([f"{path}: a classifier's run, and a report is of GANs' runs" for path in classifiers])
    return runs, classifiers


def read_run(path: Path) -> Run:
    """Read one run's folder.

    Raises:
        UserError: its config or a log cannot be read.
    """
    config = read_run_config(path)
    return Run(path, config, *(_log(path / f"{name}.jsonl") for name in ("metrics", "scores", "sessions")))


def finite_scores(line: dict[str, Any]) -> bool:
    """Tell whether all scores of a line of scores.jsonl are numbers, as those of a diverged GAN need not be."""
    return all(math.isfinite(value) for value in line["scores"].values())


def _log(path: Path) -> list[dict[str, Any]]:
    try:
        lines = read_lines(path)
    except ValueError as error:
        raise UserError(f"{path}: not a log of JSON objects, one a line ({first_line(error)})") from error
    return sorted(lines, key=lambda line: line["step"])  # stable: of two scores at a step the last written is last
