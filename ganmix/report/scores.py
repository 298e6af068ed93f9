"""Each group's scores by one protocol: at which step, of which seeds, and how to write them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from ganmix.report.collect import finite_scores
from ganmix.report.groups import Group
from ganmix.report.kinds import Paper, Protocol
from ganmix.report.protocols import report_key
from ganmix.report.statistics import mean_and_std


@dataclass(frozen=True)
class Kind:
    """What is known of a score by its name.

    Args:
        lower_is_better: None where neither is, as of a check.
        digits: significant digits of a typical value, where it is no per cent.
        percent: whether values are per cent, which get two decimals.
        paper_decimals: the fewest that a value of the paper is written with.
        title: what it is called, where not by its name; {} is the end of a name of which the table has the beginning.
    """

    lower_is_better: bool | None
    digits: int = 3
    percent: bool = False
    paper_decimals: int = 2
    title: str | None = None


_PERCENT = Kind(lower_is_better=False, percent=True)

# In the order of the columns. A name that ends in a space is the beginning of many; a score of another name comes after
# them, and is not judged.
KINDS = {
    "IS": Kind(lower_is_better=False),
    "FID": Kind(lower_is_better=True, paper_decimals=1),
    "KID": Kind(lower_is_better=True),
    "precision": Kind(lower_is_better=False),
    "recall": Kind(lower_is_better=False),
    "accuracy": _PERCENT,
    "nll": Kind(lower_is_better=True, paper_decimals=3, title="NLL"),
    "ece": Kind(lower_is_better=True, title="ECE"),
    "brier": Kind(lower_is_better=True, title="Brier score"),
    "FGSM": _PERCENT,
    "PGD": _PERCENT,
    "unbounded PGD": Kind(lower_is_better=None, percent=True),  # above 0, gradients are masked
    "mean of ": replace(_PERCENT, title="mean of {}"),
    "rotation ": replace(_PERCENT, title="rotation ±{}°"),
    "shear ": replace(_PERCENT, title="shear ±{}°"),
    "zoom in ": replace(_PERCENT, title="zoom in to {} %"),
    "zoom out ": replace(_PERCENT, title="zoom out to {} %"),
    "nll at ": Kind(lower_is_better=True, title="NLL at {}"),
}
MAIN = ("FID", "IS")  # what a comparison is told by first, where it is there; else the first column
MOST_COLUMNS = 8  # of scores; more of them go down, and the methods across

SeedValues = Mapping[int, float]  # by seed


@dataclass(frozen=True)
class Column:
    """A score of a table: "digits-FID" is FID, seen by the classifier that the prefix "digits-" names."""

    name: str
    decimals: int

    @property
    def prefix(self) -> str:
        return self.name.removesuffix(self.base)

    @property
    def base(self) -> str:
        return self.name.rpartition("-")[2]

    @property
    def kind(self) -> Kind | None:
        return KINDS.get(_known(self.base))

    @property
    def title(self) -> str:
        """What it is called without its prefix: "NLL at layer1"."""
        if self.kind is None or self.kind.title is None:
            return self.base
        return self.kind.title.format(self.base.removeprefix(_known(self.base)))

    @property
    def unit(self) -> str:
        return "%" if self.kind is not None and self.kind.percent else ""

    @property
    def arrow(self) -> str:
        """Where better is; nothing where that is not known."""
        return {None: "", True: "↓", False: "↑"}[None if self.kind is None else self.kind.lower_is_better]

    @property
    def label(self) -> str:
        return self.prefix + self.title

    @property
    def head(self) -> str:
        """All that a head says of it: "digits-FID ↓", "accuracy, % ↑"."""
        return f"{self.label}{', %' if self.unit else ''} {self.arrow}".rstrip()

    def in_paper(self, *values: float) -> "Column":
        """Return the column with as many decimals as the paper has for these values, or differences of them."""
        least = 2 if self.kind is None else self.kind.paper_decimals
        return Column(self.name, max([least, *(len(f"{value:.6f}".rstrip("0").partition(".")[2]) for value in values)]))

    def show(self, value: float, sign: str = "-") -> str:
        """Write a value with the column's decimals; `sign` as in format()."""
        text = f"{value:{sign}z.{self.decimals}f}"
        return (text if float(text) else text.lstrip("+")).replace("-", "\N{MINUS SIGN}")

    def show_spread(self, mean: float, std: float | None) -> str:
        """Write a mean with the standard deviation, where there is one."""
        return self.show(mean) if std is None else f"{self.show(mean)} ± {self.show(std)}"


@dataclass(frozen=True)
class PaperValue:
    """What the paper has for a score; `spread_of` says what its own +- is over."""

    value: float
    spread: float | None
    spread_of: str

    def show(self, column: Column) -> str:
        """Write it as the paper does."""
        values = [self.value] if self.spread is None else [self.value, self.spread]
        return column.in_paper(*values).show_spread(self.value, self.spread)


@dataclass(frozen=True, eq=False)
class Row:
    """A group in a table.

    Args:
        step: the step that its values are of.
        values: of each score at that step, by seed.
        lines: of scores.jsonl at that step, by seed.
        missing: seeds of the group that lack it.
        history: of each score at each step that all of `seeds` were scored at, by seed.
    """

    group: Group
    step: int
    values: Mapping[str, SeedValues]
    lines: Mapping[int, Mapping[str, Any]]
    missing: tuple[int, ...]
    history: Mapping[str, Mapping[int, SeedValues]]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for values in self.values.values() for seed in values})

    @property
    def is_final(self) -> bool:
        return self.step == self.group.steps

    @property
    def chosen_steps(self) -> list[int]:
        """The steps whose networks were scored, where they were chosen."""
        return [line["checkpoint_step"] for line in self.lines.values() if "checkpoint_step" in line]

    def mean_and_std(self, score: str) -> tuple[float, float | None] | None:
        """Return mean and standard deviation over the seeds; None where the row lacks the score."""
        values = self.values.get(score)
        return mean_and_std(list(values.values())) if values else None


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The groups that one protocol has scored, and those of its subject that it has not."""

    protocol: Protocol
    columns: list[Column]
    rows: list[Row]
    unscored: list[Group]

    def row(self, group: Group | None) -> Row | None:
        return next((row for row in self.rows if row.group is group), None)

    @property
    def main(self) -> Column:
        """The score that a comparison is told by first."""
        found = {column.base: column for column in self.columns}
        return next((found[base] for base in MAIN if base in found), self.columns[0])

    @property
    def scores_go_down(self) -> bool:
        """Whether scores are so many that methods go across."""
        return len(self.columns) > MOST_COLUMNS

    @property
    def scores_head(self) -> str:
        """The head of the scores where they go down: "accuracy, %" where all are per cent."""
        return "accuracy, %" if all(column.unit for column in self.columns) else "score"

    @property
    def paper_columns(self) -> list[Column]:
        """The scores that the paper has for a row."""
        return [column for column in self.columns if any(self.paper(row.group, column) for row in self.rows)]

    @property
    def paper_heading(self) -> str:
        """What stands over the paper's values: "paper: Table 1", or "paper" where they are of several tables."""
        headings = {paper.heading for _, paper in self.papers}
        return f"paper: {', '.join(headings)}" if len(headings) == 1 else "paper"

    def paper_spread(self, column: Column) -> str:
        """Say what the paper's +- is: "± over splits"; nothing where it has none."""
        found = [self.paper(row.group, column) for row in self.rows]
        return "; ".join(dict.fromkeys(f"± {value.spread_of}" for value in found if value and value.spread is not None))

    @property
    def papers(self) -> list[tuple[Group, Paper]]:
        """The groups that the paper has a score of this table for, each with its row."""
        found = [(row.group, paper) for row in self.rows if (paper := row.group.paper) is not None]
        return [(group, paper) for group, paper in found if any(self.paper(group, column) for column in self.columns)]

    def paper(self, group: Group, column: Column) -> PaperValue | None:
        """Return the paper's value of a score in the row that the group repeats."""
        paper = group.paper if self.protocol.repeats_paper else None
        if paper is None or column.base not in paper.values:
            return None
        return PaperValue(paper.values[column.base], paper.spreads.get(column.base), paper.spread_of)


def score_table(protocol: Protocol, groups: Sequence[Group]) -> ScoreTable:
    """Gather what one protocol says of groups."""
    rows = [row for row in (_row(protocol, group) for group in groups) if row is not None]
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    names = [name for name in names if not (name.endswith("_std") and name.removesuffix("_std") in names)]
    order = list(KINDS)
    names.sort(key=lambda name: order.index(known) if (known := _known(Column(name, 0).base)) in order else len(order))
    columns = [Column(name, _decimals(name, rows)) for name in names]
    scored = [row.group for row in rows]
    unscored = [group for group in groups if group.subject == protocol.subject and group not in scored]
    return ScoreTable(protocol, columns, rows, unscored)


def choose_step(scored: Mapping[int, Iterable[int]]) -> int:
    """Choose the step that a group is judged at: never by its scores, which would be picking the best.

    Args:
        scored: the steps that each seed has been scored at, at least one each.

    Returns:
        the largest step that all seeds have, which is the last of a finished training; where they have none in common,
        the largest of those that most have.
    """
    steps = [set(steps) for steps in scored.values()]
    return max(set.union(*steps), key=lambda step: (sum(step in have for have in steps), step))


def _row(protocol: Protocol, group: Group) -> Row | None:
    scored: dict[int, dict[int, dict[str, Any]]] = {}  # by seed, by step
    for run in group.runs:
        for line in run.scores:
            if report_key(line["protocol"]) == protocol.key and finite_scores(line):
                scored.setdefault(run.seed, {})[line["step"]] = line
    if not scored:
        return None
    step = choose_step(scored)

    def at(step: int) -> dict[str, dict[int, float]]:
        values: dict[str, dict[int, float]] = {}
        for seed, lines in scored.items():
            for name, value in lines[step]["scores"].items() if step in lines else ():
                values.setdefault(name, {})[seed] = value
        return values

    values = at(step)
    seeds = [seed for seed, lines in scored.items() if step in lines]
    history: dict[str, dict[int, SeedValues]] = {}
    for each in sorted(set.intersection(*(set(scored[seed]) for seed in seeds))):
        for name, by_seed in at(each).items():
            chosen = {seed: by_seed[seed] for seed in seeds if seed in by_seed}
            if len(chosen) == len(values.get(name, {})):
                history.setdefault(name, {})[each] = chosen
    missing = tuple(run.seed for run in group.runs if run.seed not in seeds)
    return Row(group, step, values, {seed: scored[seed][step] for seed in seeds}, missing, history)


def _known(base: str) -> str:
    """Return the entry of KINDS for a score's name: the name, or the beginning of it that is there."""
    return next((known for known in KINDS if base == known or (known[-1] == " " and base.startswith(known))), base)


def _decimals(name: str, rows: Sequence[Row]) -> int:
    """Decimals by which a typical mean has its kind's significant digits; one more where it takes that to show +-."""
    kind = Column(name, 0).kind
    if kind is not None and kind.percent:
        return 2
    found = [pair for row in rows if (pair := row.mean_and_std(name)) is not None]
    means = [abs(mean) for mean, _ in found if mean]
    stds = [std for _, std in found if std]
    digits = 3 if kind is None else kind.digits
    decimals = max(0, digits - 1 - _magnitude(means)) if means else digits
    return min(6, max(decimals, min(decimals + 1, -_magnitude(stds)))) if stds else min(6, decimals)


def _magnitude(values: Sequence[float]) -> int:
    return math.floor(math.log10(median(values)))
