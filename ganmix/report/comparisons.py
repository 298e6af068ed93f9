"""Did mixup help? Each group against its baseline, seed by seed, in numbers and in words."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ganmix.report.groups import Group
from ganmix.report.scores import MOST_COLUMNS, Column, Row, ScoreTable
from ganmix.report.statistics import bootstrap_interval, mean_and_std

FEWEST = 3  # seeds that an outcome takes: 2 agree by chance half the time, an interval of theirs lacks 0 as often

Outcome = Literal["better", "worse", "open"]


@dataclass(frozen=True, eq=False)
class Difference:
    """A score of a group less that of its baseline, for each seed that both have.

    Args:
        by_seed: the differences.
        steps: at which the group and its baseline were scored.
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
        return bootstrap_interval(list(self.by_seed.values()))

    @property
    def better_in(self) -> int:
        """Seeds in which the group is better than its baseline."""
        return sum(self.is_better(value) for value in self.by_seed.values())

    @property
    def outcome(self) -> Outcome:
        """Better or worse where the groups are comparable, seeds not too few, and the interval says so; else open."""
        if self.num < FEWEST or not self.comparable or self.interval is None:
            return "open"
        if self.interval[0] <= 0 <= self.interval[1]:
            return "open"
        return "better" if self.is_better(self.mean) else "worse"

    def is_better(self, value: float) -> bool:
        """Tell whether a difference is an improvement."""
        return value < 0 if self.column.arrow == "↓" else value > 0

    @property
    def comparable(self) -> bool:
        """Whether both were trained equally long, or each to its end."""
        return self.steps[0] == self.steps[1] or self.both_final

    def show(self, value: float, sign: str = "+") -> str:
        """Write a difference with the column's decimals, or up to two more where all seeds' are small."""
        least = self.column.decimals
        reach = max(map(abs, self.by_seed.values()))
        needed = 1 - math.floor(math.log10(reach)) if reach else least
        return Column(self.column.name, min(max(least, needed), least + 2)).show(value, sign)

    def show_paper(self) -> str | None:
        """Write the paper's difference as its tables are written."""
        return None if self.paper is None else self.column.in_paper(self.paper).show(self.paper, "+")

    def sentence(self, *, brief: bool = False) -> str:
        """Say what the seeds tell, and no more.

        Args:
            brief: leave out the words that a sentence before has said.
        """
        base = self.column.title
        if not self.num:
            return f"{base}: no seed in common with its baseline, cannot tell"
        points = " points" if self.column.unit else ""
        amount = f"{'lower' if self.mean < 0 else 'higher'} by {self.show(abs(self.mean), '-')}{points}"
        better, interval, seeds = self.better_in, "" if brief else "95% bootstrap interval ", "" if brief else " seeds"
        if self.interval is None:
            text = f"{base} {amount} in it" if brief else f"{base}: one seed, cannot tell (in it, {amount})"
        elif self.interval[0] <= 0 <= self.interval[1]:
            low, high = map(self.show, self.interval)
            found = f"{self.show(self.mean)}, {interval}{low} to {high}, better in {better} of {self.num}{seeds}"
            text = f"{base}: no difference that {self.num} seeds can tell ({found})"
        else:
            near, far = (self.show(bound, "-") for bound in sorted(map(abs, self.interval)))
            worse = sum(value != 0 for value in self.by_seed.values()) - better
            counted = f"better in {better}" if self.is_better(self.mean) else f"worse in {worse}"
            text = f"{base} {amount} ({interval}{near} to {far}, {counted} of {self.num}{seeds})"
            text += ", and 2 seeds agree by chance half the time" if self.num < FEWEST and not brief else ""
        if self.steps[0] == self.steps[1] or (brief and not self.comparable):
            return text
        return f"{text}, but at step {self.steps[0]:,} against step {self.steps[1]:,} of its baseline"


@dataclass(frozen=True, eq=False)
class Comparison:
    """A group beside its baseline.

    Args:
        row: the group's.
        baseline: it is compared with.
        differences: of the scores that both have; none where the baseline was not scored.
        only_here, only_there: seeds that were scored of the group, or of its baseline, alone.
    """

    row: Row
    baseline: Group
    differences: list[Difference]
    only_here: list[int]
    only_there: list[int]

    def sentences(self, main: Column) -> list[str]:
        """Return a sentence for each score, the main one first and at length; of very many others, their count."""
        first = [each.sentence() for each in self.differences if each.column == main]
        others = [each for each in self.differences if each.column != main]
        if len(others) < MOST_COLUMNS:
            return first + [each.sentence(brief=bool(first)) for each in others]
        found = Counter(each.outcome for each in others)
        told = f"{found['better']} better, {found['worse']} worse, {found['open']} not to be told apart"
        return [*first, f"Of the {len(others)} others, {told}"]

    @property
    def has_paper(self) -> bool:
        """Whether the paper has a difference for any score."""
        return any(each.paper is not None for each in self.differences)

    def of(self, column: Column) -> Difference | None:
        return next((difference for difference in self.differences if difference.column == column), None)


def compare(table: ScoreTable) -> list[Comparison]:
    """Compare each group of a table that has a baseline with it, by the scores of which is known what is better."""
    comparisons = []
    judged = [column for column in table.columns if column.arrow]
    for row in table.rows if judged else ():
        base = table.row(row.group.baseline)
        if row.group.baseline is None:
            continue
        if base is None:
            comparisons.append(Comparison(row, row.group.baseline, [], row.seeds, []))
            continue
        both = [column for column in judged if column.name in row.values.keys() & base.values]
        differences = [_difference(table, row, base, column) for column in both]
        only_here, only_there = sorted(set(row.seeds) - set(base.seeds)), sorted(set(base.seeds) - set(row.seeds))
        comparisons.append(Comparison(row, base.group, differences, only_here, only_there))
    return comparisons


def _difference(table: ScoreTable, row: Row, base: Row, column: Column) -> Difference:
    ours, theirs = row.values[column.name], base.values[column.name]
    papers = table.paper(row.group, column), table.paper(base.group, column)
    return Difference(
        column,
        {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs)},
        (row.step, base.step),
        row.is_final and base.is_final,
        papers[0].value - papers[1].value if papers[0] is not None and papers[1] is not None else None,
    )
