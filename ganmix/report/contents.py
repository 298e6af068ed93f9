"""The contents of a report, in no format yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ganmix.errors import UserError
from ganmix.report.comparisons import Comparison, compare
from ganmix.report.groups import Group, config_differences, group_runs
from ganmix.report.machines import Machines, Timing, machines, timing
from ganmix.report.prose import footnotes, lead, listed, notes, pairing_notes, result
from ganmix.report.protocols import Protocol, differing_parts, find_protocols
from ganmix.report.runs import read_runs
from ganmix.report.scores import ScoreTable, score_table


@dataclass(frozen=True, eq=False)
class Chapter:
    """The scores by one protocol.

    Args:
        warnings: shown before the numbers.
        explains_intervals: whether this is the first chapter with comparisons.
    """

    title: str
    warnings: list[str]
    table: ScoreTable
    footnotes: list[str]
    comparisons: list[Comparison]
    pairing_notes: list[str]
    explains_intervals: bool


@dataclass(frozen=True)
class Lead:
    """The results of a subject, which is None where the report has only one.

    Args:
        text: a paragraph on the first chapter.
        others: the other measures: title of the chapter and result.
    """

    subject: str | None
    text: str
    others: list[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Report:
    """The contents of a report.

    Args:
        leads: one for each subject.
        chapters: one for each protocol.
        notes: what is missing or unusual.
        config_differences: for each kind of run, its groups and `config_differences` of them.
    """

    groups: list[Group]
    title: str
    leads: list[Lead]
    chapters: list[Chapter]
    notes: list[str]
    config_differences: list[tuple[list[Group], list[tuple[str, list[str]]]]]
    timings: list[Timing]
    machines: Machines


def gather(paths: Sequence[Path], baseline: str | None = None) -> Report:
    """Read the runs at or below the paths, and gather the contents of a report; see `write_report`."""
    runs = read_runs(paths)
    groups = group_runs(runs, baseline)
    tables = [table for protocol in find_protocols(runs) if (table := score_table(protocol, groups)).rows]
    if not tables:
        where = " ".join(map(str, paths))
        raise UserError(
            f"no run here has a score yet ({len(runs)} runs); python -m ganmix evaluate {where} scores them"
        )
    titles = _titles([table.protocol for table in tables])
    chapters: list[Chapter] = []
    for table, title in zip(tables, titles, strict=True):
        found, warnings = compare(table), _warnings(table, tables)
        first = bool(found) and not any(chapter.comparisons for chapter in chapters)
        chapters.append(Chapter(title, warnings, table, footnotes(table), found, pairing_notes(found), first))
    asks = baseline is None and any(group.baseline is not None for group in groups)
    kinds = sorted({group.words.kind for group in groups})
    by_kind = [[group for group in groups if group.words.kind == kind] for kind in kinds]
    return Report(
        groups,
        "Did mixup help?" if asks else f"Scores of {listed(kinds)} runs",
        _leads(groups, chapters),
        chapters,
        notes(groups, dict(zip(titles, tables, strict=True))),
        [(some, rows) for some in by_kind if (rows := config_differences(some))],
        [timing(group) for group in groups],
        machines(runs),
    )


def _titles(protocols: Sequence[Protocol]) -> list[str]:
    """Title chapters by what they measure, with the subject and a number where titles would be equal."""
    several = len({protocol.subject for protocol in protocols}) > 1
    titles = [f"{each.title} ({each.subject})" if several else each.title for each in protocols]
    return [
        f"{title}, protocol {titles[:place].count(title) + 1} of {num}" if (num := titles.count(title)) > 1 else title
        for place, title in enumerate(titles)
    ]


def _warnings(table: ScoreTable, tables: Sequence[ScoreTable]) -> list[str]:
    own = table.protocol
    alike = [p for p in (each.protocol for each in tables) if (p.title, p.subject) == (own.title, own.subject)]
    several = (
        f"These runs were scored by {len(alike)} protocols. Numbers of different protocols do not compare. The "
        f"protocols differ in: {', '.join(differing_parts(alike))}."
    )
    return [*([several] if len(alike) > 1 else []), *([own.warning] if own.warning else [])]


def _leads(groups: Sequence[Group], chapters: Sequence[Chapter]) -> list[Lead]:
    subjects: dict[str, list[Chapter]] = {}
    for chapter in chapters:
        subjects.setdefault(chapter.table.protocol.subject, []).append(chapter)
    leads = []
    for subject, own in subjects.items():
        first, title = own[0], own[0].table.protocol.title
        num_alike = sum(chapter.table.protocol.title == title for chapter in own)
        its_groups = [group for group in groups if group.words.subject == subject]
        text = lead(its_groups, first.table, first.comparisons, num_alike)
        others = [
            (chapter.title, f"{found} {chapter.table.protocol.warning}".rstrip())
            for chapter in own
            if chapter.table.protocol.title != title
            and not chapter.table.protocol.on_validation
            and (found := result(chapter.table, chapter.comparisons))
        ]
        leads.append(Lead(subject if len(subjects) > 1 else None, text, others))
    return leads
