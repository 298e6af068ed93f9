"""Each group's scores by one protocol: at which step, of which seeds, and how to write them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ganmix.evaluation.protocol import protocol_key
from ganmix.report.collect import finite_scores
from ganmix.report.groups import Group
from ganmix.report.protocols import Protocol
from ganmix.report.statistics import mean_and_std


@dataclass(frozen=True)
class Kind:
    """What is known of a score by its name.

    Args:
        digits: significant digits of a typical value.
        paper: the key of `paper:` in the config that has the paper's value.
    """

    lower_is_better: bool
    digits: int = 3
    paper: str | None = None


KINDS = {  # in the order of the columns; a score of another name comes after them, and is not judged
    "IS": Kind(lower_is_better=False, paper="inception"),
    "FID": Kind(lower_is_better=True, paper="fid"),
    "KID": Kind(lower_is_better=True),
    "precision": Kind(lower_is_better=False),
    "recall": Kind(lower_is_better=False),
    "accuracy": Kind(lower_is_better=False, digits=4),
    "nll": Kind(lower_is_better=True),
}
MAIN = ("FID", "IS")  # what a comparison is told by first, where it is there

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
        return KINDS.get(self.base)

    @property
    def arrow(self) -> str:
        return "" if self.kind is None else "↓" if self.kind.lower_is_better else "↑"

    def show(self, value: float, sign: str = "-") -> str:
        """Write a value with the column's decimals; `sign` as in format()."""
        text = f"{value:{sign}z.{self.decimals}f}"
        return (text if float(text) else text.lstrip("+")).replace("-", "\N{MINUS SIGN}")

    def show_spread(self, mean: float, std: float | None) -> str:
        """Write a mean with the standard deviation, where there is one."""
        return self.show(mean) if std is None else f"{self.show(mean)} ± {self.show(std)}"


@dataclass(frozen=True, eq=False)
class Row:
    """A group in a table.

    Args:
        step: the step that its values are of.
        values: of each score at that step, by seed.
        missing: seeds of the group that lack it.
        history: of each score at each step that all of `seeds` were scored at, by seed.
    """

    group: Group
    step: int
    values: Mapping[str, SeedValues]
    missing: tuple[int, ...]
    history: Mapping[str, Mapping[int, SeedValues]]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for values in self.values.values() for seed in values})

    @property
    def is_final(self) -> bool:
        return self.step == self.group.steps

    def mean_and_std(self, score: str) -> tuple[float, float | None] | None:
        """Return mean and standard deviation over the seeds; None where the row lacks the score."""
        values = self.values.get(score)
        return mean_and_std(list(values.values())) if values else None


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """The groups that one protocol has scored, and those that it has not."""

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


def score_table(protocol: Protocol, groups: Sequence[Group]) -> ScoreTable:
    """Gather what one protocol says of groups."""
    rows = [row for row in (_row(protocol, group) for group in groups) if row is not None]
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    names = [name for name in names if not (name.endswith("_std") and name.removesuffix("_std") in names)]
    order = list(KINDS)
    names.sort(key=lambda name: order.index(base) if (base := name.rpartition("-")[2]) in order else len(order))
    columns = [Column(name, _decimals(name, rows)) for name in names]
    scored = [row.group for row in rows]
    return ScoreTable(protocol, columns, rows, [group for group in groups if group not in scored])


def paper_value(group: Group, column: Column) -> float | None:
    """Return the paper's value of a score in the row that the group repeats."""
    key = column.kind.paper if column.kind is not None else None
    return None if key is None or group.config.paper is None else getattr(group.config.paper, key)


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
    scored: dict[int, dict[int, dict[str, float]]] = {}  # by seed, by step
    for run in group.runs:
        for line in run.scores:
            if protocol_key(line["protocol"]) == protocol.key and finite_scores(line):
                scored.setdefault(run.seed, {})[line["step"]] = line["scores"]
    if not scored:
        return None
    step = choose_step(scored)

    def at(step: int) -> dict[str, dict[int, float]]:
        values: dict[str, dict[int, float]] = {}
        for seed, lines in scored.items():
            for name, value in lines.get(step, {}).items():
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
    return Row(group, step, values, missing, history)


def _decimals(name: str, rows: Sequence[Row]) -> int:
    """Decimals by which a typical mean has its kind's significant digits; one more where it takes that to show +-."""
    found = [pair for row in rows if (pair := row.mean_and_std(name)) is not None]
    means = [abs(mean) for mean, _ in found if mean]
    stds = [std for _, std in found if std]
    kind = KINDS.get(name.rpartition("-")[2])
    digits = 3 if kind is None else kind.digits
    decimals = max(0, digits - 1 - _magnitude(means)) if means else digits
    return min(6, max(decimals, min(decimals + 1, -_magnitude(stds)))) if stds else min(6, decimals)


def _magnitude(values: Sequence[float]) -> int:
    return math.floor(math.log10(median(values)))
