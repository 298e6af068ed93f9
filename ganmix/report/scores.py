"""The scores of groups by one protocol: their step, their seeds and their format."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import Literal

import numpy as np

from ganmix.engine.scores import Measurement, Score
from ganmix.report.groups import Group
from ganmix.report.protocols import Protocol


@dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    Args:
        better: the better values; None: neither, for example of a check.
        title: its title, with {} for `Score.at`; None: `Score.name`.
        percent: whether values are per cent and get two decimals.
        paper_decimals: the fewest decimals in the paper.
        deformation: whether it is an accuracy on deformed images, which go into a mean.
    """

    better: Literal["lower", "higher"] | None
    title: str | None = None
    percent: bool = False
    paper_decimals: int = 2
    deformation: bool = False


MEAN = "mean of deformations"
_DEFORMED = Metric("higher", percent=True, deformation=True)
METRICS = {  # in the order of the columns; an unknown metric comes last and is not judged
    "IS": Metric("higher"),
    "FID": Metric("lower", paper_decimals=1),
    "KID": Metric("lower"),
    "precision": Metric("higher"),
    "recall": Metric("higher"),
    "accuracy": Metric("higher", percent=True),
    "nll": Metric("lower", title="NLL", paper_decimals=3),
    "ece": Metric("lower", title="ECE"),
    "brier": Metric("lower", title="Brier score"),
    "FGSM": Metric("higher", percent=True),
    "PGD": Metric("higher", percent=True),
    "unbounded PGD": Metric(None, percent=True),  # above 0, gradients are masked
    MEAN: Metric("higher", title="mean of {} deformations", percent=True),
    "rotation": replace(_DEFORMED, title="rotation ±{}°"),
    "shear": replace(_DEFORMED, title="shear ±{}°"),
    "zoom in": replace(_DEFORMED, title="zoom in to {} %"),
    "zoom out": replace(_DEFORMED, title="zoom out to {} %"),
    "mixed nll": Metric("lower", title="NLL at {}"),
}
UNKNOWN = Metric(None)
MAIN = ("FID", "IS")  # the first of these that a table has is its main score; else its first column
DIGITS = 3  # significant digits of a typical value that is not per cent
MOST_COLUMNS = 8  # a table with more scores has a row for each score

SeedValues = Mapping[int, float]  # by seed


@dataclass(frozen=True)
class Column:
    """A score of a table, and the decimals to write it with; the value in `score` does not matter."""

    score: Score
    decimals: int

    @property
    def key(self) -> str:
        """The key of its values in a row: "digits-FID"."""
        return self.score.label

    @property
    def metric(self) -> Metric:
        return METRICS.get(self.score.metric, UNKNOWN)

    @property
    def title(self) -> str:
        """The title without the extractor: "FID", "NLL at layer1"."""
        return self.score.name if self.metric.title is None else self.metric.title.format(self.score.at)

    @property
    def unit(self) -> str:
        return "%" if self.metric.percent else ""

    @property
    def arrow(self) -> str:
        return {None: "", "lower": "↓", "higher": "↑"}[self.metric.better]

    @property
    def label(self) -> str:
        """The title with the extractor: "digits-FID"."""
        return self.score.prefix + self.title

    @property
    def head(self) -> str:
        """The heading: "digits-FID ↓", "accuracy, % ↑"."""
        return f"{self.label}{', %' if self.unit else ''} {self.arrow}".rstrip()

    def in_paper(self, *values: float) -> "Column":
        """Return the column with as many decimals as the paper has for these values or differences."""
        decimals = [len(f"{value:.6f}".rstrip("0").partition(".")[2]) for value in values]
        return replace(self, decimals=max([self.metric.paper_decimals, *decimals]))

    def show(self, value: float, sign: str = "-") -> str:
        """Write a value with the column's decimals; `sign` as in format()."""
        text = f"{value:{sign}z.{self.decimals}f}"
        return (text if float(text) else text.lstrip("+")).replace("-", "\N{MINUS SIGN}")

    def show_spread(self, mean: float, std: float | None) -> str:
        return self.show(mean) if std is None else f"{self.show(mean)} ± {self.show(std)}"


@dataclass(frozen=True)
class PaperValue:
    """The paper's value and ± of a score."""

    value: float
    spread: float | None

    def show(self, column: Column) -> str:
        values = [self.value] if self.spread is None else [self.value, self.spread]
        return column.in_paper(*values).show_spread(self.value, self.spread)


@dataclass(frozen=True, eq=False)
class Row:
    """A group in a table.

    Args:
        step: see `choose_step`.
        measurements: at that step, by seed.
        values: of each score at that step, by seed.
        missing: seeds of the group without a score at that step.
        history: of each score, the values at the steps that all of `seeds` share.
    """

    group: Group
    step: int
    measurements: Mapping[int, Measurement]
    values: Mapping[str, SeedValues]
    missing: tuple[int, ...]
    history: Mapping[str, Mapping[int, SeedValues]]

    @property
    def seeds(self) -> list[int]:
        return sorted(self.measurements)

    @property
    def is_final(self) -> bool:
        return self.step == self.group.steps

    @property
    def selected_steps(self) -> list[int]:
        """The steps of the scored checkpoints that a selection chose."""
        return [each.checkpoint for each in self.measurements.values() if "selected_by" in each.protocol]

    def mean_and_std(self, column: Column) -> tuple[float, float | None] | None:
        """Return mean and standard deviation over the seeds; None: the row lacks the score."""
        values = self.values.get(column.key)
        return mean_and_std(list(values.values())) if values else None


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The groups that one protocol has scored, and the unscored groups of its subject."""

    protocol: Protocol
    columns: list[Column]
    rows: list[Row]
    unscored: list[Group]

    def row(self, group: Group | None) -> Row | None:
        return next((row for row in self.rows if row.group is group), None)

    @property
    def main(self) -> Column:
        """The score that leads the comparisons."""
        found = {column.score.metric: column for column in self.columns}
        return next((found[metric] for metric in MAIN if metric in found), self.columns[0])

    @property
    def is_transposed(self) -> bool:
        """Whether there are so many scores that each is a row."""
        return len(self.columns) > MOST_COLUMNS

    def paper(self, group: Group, column: Column) -> PaperValue | None:
        """Return the paper's value of a score, from the row that the group repeats."""
        row = group.config.paper if self.protocol.repeats_paper else None
        if row is None:
            return None
        if column.score.metric == MEAN:
            deformed = [row.values.get(each.score.name) for each in self.columns if each.metric.deformation]
            known = [value for value in deformed if value is not None]
            return PaperValue(round(fmean(known), 2), None) if len(known) == len(deformed) else None
        name = column.score.name
        return PaperValue(row.values[name], row.spreads.get(name)) if name in row.values else None

    @property
    def rows_with_paper(self) -> list[Row]:
        """The rows for which the paper has a score of this table."""
        return [row for row in self.rows if any(self.paper(row.group, column) for column in self.columns)]


def score_table(protocol: Protocol, groups: Sequence[Group]) -> ScoreTable:
    """Gather the groups' scores by one protocol."""
    rows = [row for row in (_row(protocol, group) for group in groups) if row is not None]
    measurements = [each for row in rows for each in row.measurements.values()]
    found = {score.label: score for each in measurements for score in _with_mean(each.scores)}
    scores = sorted(found.values(), key=lambda score: [*METRICS, score.metric].index(score.metric))
    columns = [Column(score, _decimals(Column(score, 0), rows)) for score in scores]
    scored = [row.group for row in rows]
    unscored = [group for group in groups if group.words.subject == protocol.subject and group not in scored]
    return ScoreTable(protocol, columns, rows, unscored)


def choose_step(scored: Mapping[int, Iterable[int]]) -> int:
    """Choose the step to compare a group at, without a look at its scores: that would be a selection.

    Args:
        scored: the steps at which each seed was scored, at least one each.

    Returns:
        The largest step that all seeds have: the last of a finished training. If they share no step, the largest of
        those that most seeds have.
    """
    steps = [set(steps) for steps in scored.values()]
    return max(set.union(*steps), key=lambda step: (sum(step in have for have in steps), step))


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and the sample standard deviation (n - 1) of two values or more."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def _row(protocol: Protocol, group: Group) -> Row | None:
    scored: dict[int, dict[int, Measurement]] = {}  # by seed, by step
    for run in group.runs:
        for each in run.measurements:
            if each.protocol_digest == protocol.digest and each.finite:
                scored.setdefault(run.seed, {})[each.step] = each
    if not scored:
        return None
    step = choose_step(scored)
    measurements = {seed: by_step[step] for seed, by_step in scored.items() if step in by_step}
    values = _values(measurements)
    history: dict[str, dict[int, SeedValues]] = {}
    for shared in sorted(set.intersection(*(set(scored[seed]) for seed in measurements))):
        for key, by_seed in _values({seed: scored[seed][shared] for seed in measurements}).items():
            if by_seed.keys() == values.get(key, {}).keys():
                history.setdefault(key, {})[shared] = by_seed
    missing = tuple(run.seed for run in group.runs if run.seed not in measurements)
    return Row(group, step, measurements, values, missing, history)


def _values(measurements: Mapping[int, Measurement]) -> dict[str, dict[int, float]]:
    values: dict[str, dict[int, float]] = {}
    for seed, measurement in measurements.items():
        for score in _with_mean(measurement.scores):
            values.setdefault(score.label, {})[seed] = score.value
    return values


def _with_mean(scores: Sequence[Score]) -> list[Score]:
    """Add the mean of the accuracies on deformed images, where there are any."""
    deformed = [score.value for score in scores if METRICS.get(score.metric, UNKNOWN).deformation]
    return [*scores, *([Score(MEAN, fmean(deformed), at=str(len(deformed)))] if deformed else [])]


def _decimals(column: Column, rows: Sequence[Row]) -> int:
    """Return the decimals that give a typical mean its digits; one more if ± needs it."""
    if column.metric.percent:
        return 2
    found = [pair for row in rows if (pair := row.mean_and_std(column)) is not None]
    means = [abs(mean) for mean, _ in found if mean]
    stds = [std for _, std in found if std]
    decimals = max(0, DIGITS - 1 - _magnitude(means)) if means else DIGITS
    return min(6, max(decimals, min(decimals + 1, -_magnitude(stds)))) if stds else min(6, decimals)


def _magnitude(values: Sequence[float]) -> int:
    return math.floor(math.log10(median(values)))
