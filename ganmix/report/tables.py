"""The report as Markdown and as CSV."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from ganmix.report.comparisons import Comparison
from ganmix.report.contents import Chapter, Report
from ganmix.report.machines import duration
from ganmix.report.scores import Column, Row, ScoreTable
from ganmix.report.words import INTERVAL_NOTE, span

CSV_COLUMNS = (
    *("group", "label", "protocol", "protocol_digest", "dataset", "extractor", "num_fake", "num_real", "score", "unit"),
    *("n_seeds", "step", "training_steps", "mean", "std_over_seeds", "min", "max", "values_by_seed"),
    *("baseline", "n_pairs", "difference", "ci_low", "ci_high", "better_in", "paper_value", "paper_spread"),
)
NONE = "\N{EN DASH}"


def to_csv(report: Report) -> str:
    """Return one line for each group, protocol and score; full precision, empty where there is nothing."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for chapter in report.chapters:
        comparisons = {comparison.row.group: comparison for comparison in chapter.comparisons}
        for row in chapter.table.rows:
            for column in chapter.table.columns:
                if column.name in row.values:
                    writer.writerow(_record(chapter, row, column, comparisons.get(row.group)))
    return text.getvalue()


def _record(chapter: Chapter, row: Row, column: Column, comparison: Comparison | None) -> dict[str, object]:
    protocol = chapter.table.protocol
    values = row.values[column.name]
    mean, std = row.mean_and_std(column.name) or (None, None)
    paper = chapter.table.paper(row.group, column)
    record: dict[str, object] = {
        "group": row.group.name,
        "label": row.group.label,
        "protocol": protocol.name,
        "protocol_digest": protocol.digest,
        "dataset": row.group.config.data.name,
        "extractor": protocol.parts.get("extractor"),
        "num_fake": protocol.parts.get("num_fake"),
        "num_real": protocol.num_images,
        "score": column.name,
        "unit": column.unit,
        "n_seeds": len(values),
        "step": row.step,
        "training_steps": row.group.steps,
        "mean": mean,
        "std_over_seeds": std,
        "min": min(values.values()),
        "max": max(values.values()),
        "values_by_seed": " ".join(f"{seed}:{value}" for seed, value in sorted(values.items())),
        "paper_value": paper.value if paper else None,
        "paper_spread": paper.spread if paper else None,
    }
    difference = comparison.of(column) if comparison else None
    if comparison is not None:
        record["baseline"] = comparison.baseline.name
    if difference is not None:
        record["n_pairs"] = difference.num
    if difference is not None and difference.num:
        low, high = difference.interval or (None, None)
        record |= {"difference": difference.mean, "ci_low": low, "ci_high": high, "better_in": difference.better_in}
    return record


def to_markdown(report: Report) -> str:
    """Return the tables and sentences, without figures and images."""
    parts = [f"# {report.title}"]
    for lead in report.leads:
        parts.append((f"**{_plain(lead.subject)}.** " if lead.subject else "") + _plain(lead.text))
        parts += [_list(f"{title}. {found}" for title, found in lead.others)] if lead.others else []
    for chapter in report.chapters:
        parts += _chapter(chapter)
    if report.notes:
        parts += ["## Notes", _list(report.notes)]
    if report.config_differences:
        parts.append("## What differs between the configs")
    for groups, differences in report.config_differences:
        header = ["key", *(_code(group.name) for group in groups)]
        parts.append(_table(header, [[_code(key), *map(_plain, values)] for key, values in differences]))
    parts += ["## Time and machine", _timings(report), _list(f"{name}: {text}" for name, text in report.machines.facts)]
    if report.machines.warnings:
        parts.append(_list(f"Warning: {text}" for text in report.machines.warnings))
    return "\n\n".join(parts) + "\n"


def _chapter(chapter: Chapter) -> list[str]:
    protocol = chapter.table.protocol
    name = f"Protocol '{protocol.name}': " if protocol.names else ""
    parts = [f"## {chapter.title}", *(f"**{_plain(warning)}**" for warning in chapter.warnings)]
    parts.append(_plain(f"{name}{'; '.join(protocol.in_words())}."))
    parts.append(_table(*_score_table(chapter.table)))
    parts.append(_list(chapter.footnotes))
    if chapter.comparisons:
        parts.append("### Against the baseline, seed by seed")
        parts.append(_list(verdict(chapter, each) for each in chapter.comparisons if each.differences))
        if chapter.pairing_notes:
            parts.append(_list(chapter.pairing_notes))
        parts += [_plain(INTERVAL_NOTE)] if chapter.explains_intervals else []
    return parts


def verdict(chapter: Chapter, comparison: Comparison) -> str:
    """Return what all scores say of a comparison."""
    said = ". ".join(comparison.sentences(chapter.table.main))
    return f"{comparison.row.group.title} against {comparison.baseline.title}: {said}."


def _score_table(table: ScoreTable) -> tuple[list[str], list[list[str]]]:
    methods = [_method(row) for row in table.rows]
    if table.scores_go_down:
        scores = [
            [_plain(f"{column.label} {column.arrow}"), *(_with_paper(table, row, column) for row in table.rows)]
            for column in table.columns
        ]
        return [table.scores_head, *methods], [*scores, ["seeds", *(str(len(row.seeds)) for row in table.rows)]]
    paper_columns = table.paper_columns
    header = ["method", *(_plain(column.head) for column in table.columns), "seeds"]
    heading = table.paper_heading.removeprefix("paper").removeprefix(": ")
    abouts = ["; ".join(filter(None, [heading, table.paper_spread(column)])) for column in paper_columns]
    header += [
        _plain(f"paper's {column.title}" + (f" ({about})" if about else ""))
        for column, about in zip(paper_columns, abouts, strict=True)
    ]
    rows = []
    for method, row in zip(methods, table.rows, strict=True):
        papers = [paper.show(column) if (paper := table.paper(row.group, column)) else NONE for column in paper_columns]
        rows.append([method, *(cell(row, column) for column in table.columns), str(len(row.seeds)), *papers])
    return header, rows


def _method(row: Row) -> str:
    group = row.group
    name = f" ({_code(group.name)})" if group.label != group.name else ""
    marks = "".join(f" *{mark}*" for mark in (step_mark(row), chosen_mark(row)) if mark)
    return _plain(group.label) + name + marks


def _with_paper(table: ScoreTable, row: Row, column: Column) -> str:
    paper = table.paper(row.group, column)
    return cell(row, column) + (f" (paper: {paper.show(column)})" if paper else "")


def cell(row: Row, column: Column) -> str:
    """Write a group's score as mean and spread over its seeds, with their number where it is not the row's."""
    values = row.values.get(column.name)
    if not values:
        return NONE
    found = column.show_spread(*(row.mean_and_std(column.name) or (0, None)))
    return found if len(values) == len(row.seeds) else f"{found} ({len(values)} of {len(row.seeds)} seeds)"


def step_mark(row: Row) -> str | None:
    """Say at which step a group was scored that was not scored at its last."""
    return None if row.is_final else f"at step {row.step:,} of {row.group.steps:,}"


def chosen_mark(row: Row) -> str | None:
    """Say which steps' networks were scored, where they were chosen."""
    return f"step {span(row.chosen_steps)} of {row.group.steps:,} chosen" if row.chosen_steps else None


def _timings(report: Report) -> str:
    rows = [
        [
            _code(timing.group.name),
            f"{span(timing.steps)} of {timing.group.steps:,}",
            NONE if timing.seconds is None else duration(timing.seconds),
            NONE if timing.speed is None else f"{timing.speed:,.0f}",
        ]
        for timing in report.timings
    ]
    return _table(["group", "steps", "training time, mean over seeds", "images/s, median"], rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(item)}" for item in items)


def _plain(text: str) -> str:
    """Keep Markdown from reading marks into names."""
    # An underscore within a word, as names have it, is no mark.
    return re.sub(r"[\\`*\[\]<>|]|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split()))


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")
