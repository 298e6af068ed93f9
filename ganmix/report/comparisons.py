"""Did mixup help? Each group against its baseline, seed by seed, with what so few seeds can tell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ganmix.report.groups import Group
from ganmix.report.scores import Column, Row, ScoreTable, mean_and_std

FEWEST = 3  # seeds that an outcome takes: 2 agree by chance half the time
FEWEST_TO_RESAMPLE = 6  # seeds; the bootstrap interval of fewer is about their range, and of 2 or 3 exactly
RESAMPLES = 10_000
LEVELS = (0.025, 0.975)

Outcome = Literal["better", "worse", "open"]


@dataclass(frozen=True, eq=False)
class Difference:
    """A score of a group minus that of its baseline, for each seed that both have.

    Args:
        column: the score.
        by_seed: the differences.
        steps: of the group and of its baseline.
        both_final: whether these are the ends of their trainings.
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
        """See `interval_of`."""
        return interval_of(list(self.by_seed.values()))

    @property
    def better_in(self) -> int:
        """The number of seeds in which the group is better than its baseline."""
        return sum(self.is_better(value) for value in self.by_seed.values())

    @property
    def outcome(self) -> Outcome:
        """Better or worse where the groups compare, there are enough seeds and the interval lacks 0; else open."""
        if self.num < FEWEST or not self.comparable or not self.excludes_0:
            return "open"
        return "better" if self.is_better(self.mean) else "worse"

    @property
    def excludes_0(self) -> bool:
        """Whether there is an interval, and all of it lies on one side of 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def comparable(self) -> bool:
        """Whether both were trained for the same number of steps, or each to its end."""
        return self.steps[0] == self.steps[1] or self.both_final

    def is_better(self, value: float) -> bool:
        """Tell whether a difference is an improvement."""
        return value < 0 if self.column.metric.better == "lower" else value > 0

    def show(self, value: float, sign: str = "+") -> str:
        """Write a difference with the column's decimals, and up to two more where all seeds' are small."""
        least = self.column.decimals
        reach = max(map(abs, self.by_seed.values()))
        needed = 1 - math.floor(math.log10(reach)) if reach else least
        return replace(self.column, decimals=min(max(least, needed), least + 2)).show(value, sign)

    def show_paper(self) -> str | None:
        """Write the paper's difference as its tables are written."""
        return None if self.paper is None else self.column.in_paper(self.paper).show(self.paper, "+")


@dataclass(frozen=True, eq=False)
class Comparison:
    """A group beside its baseline.

    Args:
        row: the group's.
        baseline: the group it is compared with.
        differences: of the scores that both have; empty where the baseline was not scored.
        only_here, only_there: seeds that only the group, or only its baseline, was scored with.
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
        if row.group.baseline is None:
            continue
        base = table.row(row.group.baseline)
        if base is None:
            comparisons.append(Comparison(row, row.group.baseline, [], row.seeds, []))
            continue
        both = [column for column in judged if column.key in row.values.keys() & base.values]
        differences = [_difference(table, row, base, column) for column in both]
        only_here, only_there = sorted(set(row.seeds) - set(base.seeds)), sorted(set(base.seeds) - set(row.seeds))
        comparisons.append(Comparison(row, base.group, differences, only_here, only_there))
    return comparisons


def interval_of(values: Sequence[float]) -> tuple[float, float] | None:
    """Return an interval for the mean of a few seeds' values; None for fewer than two.

    Below `FEWEST_TO_RESAMPLE` values it is their range. From there on it is the 95 % percentile bootstrap interval of
    `RESAMPLES` resamples, always the same ones; its bounds are means of resamples, without interpolation.
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
    papers = table.paper(row.group, column), table.paper(base.group, column)
    return Difference(
        column,
        {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs)},
        (row.step, base.step),
        row.is_final and base.is_final,
        papers[0].value - papers[1].value if papers[0] is not None and papers[1] is not None else None,
    )
