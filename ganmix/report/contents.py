"""All that a report says, before it is written in any format."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ganmix.errors import UserError
from ganmix.report.collect import read_runs
from ganmix.report.comparisons import Comparison, compare
from ganmix.report.configs import config_differences
from ganmix.report.groups import Group, group_runs
from ganmix.report.machines import Machines, Timing, machines, timing
from ganmix.report.notes import notes, pairing_notes
from ganmix.report.protocols import differing_parts, find_protocols
from ganmix.report.scores import ScoreTable, score_table
from ganmix.report.words import lead


@dataclass(frozen=True, eq=False)
class Chapter:
    """What one protocol says: nothing in it is of another."""

    table: ScoreTable
    comparisons: list[Comparison]
    pairing_notes: list[str]

    @property
    def has_paper(self) -> bool:
        return any(row.group.config.paper is not None for row in self.table.rows)


@dataclass(frozen=True, eq=False)
class Report:
    """The contents of a report.

    Args:
        lead: the paragraph that alone says what came out.
        chapters: one for each protocol.
        differing_parts: in what the protocols differ.
        notes: what is missing or not as it should be.
        config_differences: dotted keys with the value of each group.
    """

    groups: list[Group]
    title: str
    lead: str
    chapters: list[Chapter]
    differing_parts: list[str]
    notes: list[str]
    config_differences: list[tuple[str, list[str]]]
    timings: list[Timing]
    machines: Machines


def gather(paths: Sequence[Path], baseline: str | None = None) -> Report:
    """Read the runs at or below the paths, and work out what they say.

    Raises:
        UserError: there is no run, nothing is scored, a seed is there twice, or no group is called `baseline`.
    """
    runs, classifiers = read_runs(paths)
    groups = group_runs(runs, baseline)
    chapters = []
    for protocol in find_protocols(runs):
        table = score_table(protocol, groups)
        if table.rows:
            comparisons = compare(table)
            chapters.append(Chapter(table, comparisons, pairing_notes(comparisons)))
    if not chapters:
        where = " ".join(map(str, paths))
        raise UserError(f"no run here has a score yet ({len(runs)} runs); python -m ganmix evaluate {where} gives some")
    tables = [chapter.table for chapter in chapters]
    asks = baseline is None and any(group.baseline is not None for group in groups)
    return Report(
        groups,
        "Did mixup help?" if asks else "Scores of GAN runs",
        lead(groups, tables[0], chapters[0].comparisons, len(chapters)),
        chapters,
        differing_parts([table.protocol for table in tables]),
        notes(groups, tables, classifiers),
        config_differences(groups),
        [timing(group) for group in groups],
        machines(runs),
    )
