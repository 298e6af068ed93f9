"""Run folders read for a report: nothing is locked or written, and a run may still be training."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ganmix.config.gan import GanConfig
from ganmix.engine.old_run_folder import read_lines
from ganmix.errors import UserError
from ganmix.report.classifiers import ClassifierRun, told_scores
from ganmix.report.gans import GanRun
from ganmix.report.kinds import Run
from ganmix.tasks.load import find_runs, read_either_run_config


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """Read the runs at or below the paths, each once.

    Raises:
        UserError: there is no run, or a config or log cannot be read.
    """
    folders = {path.resolve(): path for path in reversed(find_runs(paths))}
    runs, problems = [], []
    for path in reversed(folders.values()):
        try:
            runs.append(read_run(path))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return runs


def read_run(path: Path) -> Run:
    """Read one run's folder.

    Raises:
        UserError: its config or a log cannot be read.
    """
    config = read_either_run_config(path)
    metrics, scores, sessions = (_log(path / f"{name}.jsonl") for name in ("metrics", "scores", "sessions"))
    if isinstance(config, GanConfig):
        return GanRun(path, config, metrics, scores, sessions)
    told = told_scores(scores)
    return ClassifierRun(path, config, metrics, told, sessions, num_old=len(scores) - len(told))


def finite_scores(line: dict[str, Any]) -> bool:
    """Tell whether all scores of a line of scores.jsonl are numbers, as those of a diverged run need not be."""
    return all(math.isfinite(value) for value in line["scores"].values())


def _log(path: Path) -> list[dict[str, Any]]:
    return sorted(
        read_lines(path), key=lambda line: line["step"]
    )  # stable: of two scores at a step the last written is last
