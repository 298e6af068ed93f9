"""Did mixup help? Compares each group with its baseline, seed by seed, and judges by the number of seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ganmix.report.groups import Group
from ganmix.report.scores import Column, Row, ScoreTable, mean_and_std

FEWEST = 3  # seeds for an outcome: 2 agree by chance half the time
FEWEST_TO_RESAMPLE = 6  # seeds; the bootstrap interval of fewer is about their range
RESAMPLES = 10_000
LEVELS = (0.025, 0.975)

Outcome = Literal["better", "worse", "open"]


@dataclass(frozen=True, eq=False)
class Difference:
    """A score of a group minus that of its baseline, for each seed that both have.

    Args:
        steps: of the group and of its baseline.
        both_final: whether both steps are the last of their trainings.
        paper: the paper's difference, where both groups repeat a row of it.
    """

    column: Column
    by_seed: Mapping[int, float]
    steps: tuple[int, int]
    both_final: bool
    paper: float | None = None

    @property
    def num(self) -> int:
        return len(self.by_seed)

    @property
    def mean(self) -> float:
        return mean_and_std(list(self.by_seed.values()))[0]

    @property
    def interval(self) -> tuple[float, float] | None:
        return interval_of(list(self.by_seed.values()))

    @property
    def better_in(self) -> int:
        return sum(self.is_better(value) for value in self.by_seed.values())

    @property
    def outcome(self) -> Outcome:
        """Open unless the groups are comparable, there are enough seeds and the interval excludes 0."""
        if self.num < FEWEST or not self.comparable or not self.excludes_0:
            return "open"
        return "better" if self.is_better(self.mean) else "worse"

    @property
    def excludes_0(self) -> bool:
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def comparable(self) -> bool:
        """Whether both were trained for the same number of steps, or both to their ends."""
        return self.steps[0] == self.steps[1] or self.both_final

    def is_better(self, value: float) -> bool:
        return value < 0 if self.column.metric.better == "lower" else value > 0

    def show(self, value: float, sign: str = "+") -> str:
        """Write a difference with the column's decimals, and up to two more where all seeds' differences are small."""
        least = self.column.decimals
        reach = max(map(abs, self.by_seed.values()))
        needed = 1 - math.floor(math.log10(reach)) if reach else least
        return replace(self.column, decimals=min(max(least, needed), least + 2)).show(value, sign)

    def show_paper(self) -> str | None:
        """Write the paper's difference with as many decimals as the paper."""
        return None if self.paper is None else self.column.in_paper(self.paper).show(self.paper, "+")


@dataclass(frozen=True, eq=False)
class Comparison:
    """A group beside its baseline.

    Args:
        differences: of the scores that both have; empty if the baseline was not scored.
        only_here, only_there: the scored seeds of the group that its baseline lacks, and the other way round.
    """

    row: Row
    baseline: Group
    differences: list[Difference]
    only_here: list[int]
    only_there: list[int]

    def of(self, column: Column) -> Difference | None:
        return next((difference for difference in self.differences if difference.column == column), None)


def compare(table: ScoreTable) -> list[Comparison]:
    """Compare each group of a table with its baseline, by the scores that have a better direction."""
    comparisons = []
    judged = [column for column in table.columns if column.metric.better is not None]
    for row in table.rows if judged else ():
        baseline = row.group.baseline
        if baseline is None:
            continue
        base = table.row(baseline)
        differences = []
        if base is not None:
            both = [column for column in judged if column.key in row.values.keys() & base.values]
            differences = [_difference(table, row, base, column) for column in both]
        ours, theirs = set(row.seeds), set(base.seeds if base is not None else [])
        comparisons.append(Comparison(row, baseline, differences, sorted(ours - theirs), sorted(theirs - ours)))
    return comparisons


def interval_of(values: Sequence[float]) -> tuple[float, float] | None:
    """Return an interval for the mean of a few seeds' values; None for fewer than two.

    It is the range of fewer than `FEWEST_TO_RESAMPLE` values. Of more values it is the 95 % percentile bootstrap
    interval with `RESAMPLES` resamples from a fixed seed; its bounds are means of resamples, without interpolation.
    """
    if len(values) < 2:
        return None
    if len(values) < FEWEST_TO_RESAMPLE:
        return min(values), max(values)
    picks = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    means = np.asarray(values, dtype=float)[picks].mean(axis=1)
    low, high = np.quantile(means, LEVELS, method="inverted_cdf")
    return float(low), float(high)


def _difference(table: ScoreTable, row: Row, base: Row, column: Column) -> Difference:
    ours, theirs = row.values[column.key], base.values[column.key]
    by_seed = {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs)}
    mixed, plain = table.paper(row.group, column), table.paper(base.group, column)
    paper = mixed.value - plain.value if mixed is not None and plain is not None else None
    return Difference(column, by_seed, (row.step, base.step), row.is_final and base.is_final, paper)
