"""The report as Markdown and as CSV."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from ganmix.report.comparisons import Comparison
from ganmix.report.contents import Chapter, Report
from ganmix.report.machines import duration
from ganmix.report.prose import INTERVAL_NOTE, NONE, cell, interval_name, selected_mark, sentences, span, step_mark
from ganmix.report.scores import Column, Row, ScoreTable


def to_csv(report: Report) -> str:
    """Return a line for each group, protocol and score, in full precision; a field without a value is empty."""
    records = []
    for chapter in report.chapters:
        comparisons = {comparison.row.group: comparison for comparison in chapter.comparisons}
        for row in chapter.table.rows:
            columns = [column for column in chapter.table.columns if column.key in row.values]
            records += [_record(chapter, row, column, comparisons.get(row.group)) for column in columns]
    text = io.StringIO()
    writer = csv.DictWriter(text, records[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _record(chapter: Chapter, row: Row, column: Column, comparison: Comparison | None) -> dict[str, object]:
    protocol, values = chapter.table.protocol, row.values[column.key]
    mean, std = row.mean_and_std(column) or (None, None)
    difference = comparison.of(column) if comparison else None
    paired = difference if difference and difference.num else None
    interval = paired.interval if paired else None
    paper = chapter.table.paper(row.group, column)
    return {
        "group": row.group.name,
        "label": row.group.label,
        "protocol": protocol.name,
        "protocol_digest": protocol.digest,
        "dataset": row.group.config.data.name,
        "extractor": column.score.extractor,
        "num_fake": protocol.num_generated,
        "num_real": protocol.num_images,
        "score": column.key,
        "unit": column.unit,
        "n_seeds": len(values),
        "step": row.step,
        "training_steps": row.group.steps,
        "mean": mean,
        "std_over_seeds": std,
        "min": min(values.values()),
        "max": max(values.values()),
        "values_by_seed": " ".join(f"{seed}:{value}" for seed, value in sorted(values.items())),
        "baseline": comparison.baseline.name if comparison else None,
        "n_pairs": difference.num if difference else None,
        "difference": paired.mean if paired else None,
        "interval": interval_name(paired.num) if paired and interval else None,
        "low": interval[0] if interval else None,
        "high": interval[1] if interval else None,
        "better_in": paired.better_in if paired else None,
        "paper_value": paper.value if paper else None,
        "paper_spread": paper.spread if paper else None,
    }


def to_markdown(report: Report) -> str:
    """Return the tables and sentences, without figures and images."""
    parts = [f"# {report.title}"]
    for lead in report.leads:
        parts.append((f"**{_plain(lead.subject)}.** " if lead.subject else "") + _plain(lead.text))
        parts.append(_list(f"{title}. {found}" for title, found in lead.others))
    for chapter in report.chapters:
        parts += _chapter(chapter)
    if report.notes:
        parts += ["## Notes", _list(report.notes)]
    if report.config_differences:
        parts.append("## What differs between the configs")
    for groups, differences in report.config_differences:
        header = ["key", *(_code(group.name) for group in groups)]
        parts.append(_table([header, *([_code(key), *map(_plain, values)] for key, values in differences)]))
    parts += ["## Time and machine", _timings(report), _list(f"{name}: {text}" for name, text in report.machines.facts)]
    parts.append(_list(f"Warning: {text}" for text in report.machines.warnings))
    return "\n\n".join(filter(None, parts)) + "\n"


def _chapter(chapter: Chapter) -> list[str]:
    table, protocol = chapter.table, chapter.table.protocol
    name = f"Protocol '{protocol.name}': " if protocol.names else ""
    parts = [f"## {chapter.title}", *(f"**{_plain(warning)}**" for warning in chapter.warnings)]
    parts += [_plain(f"{name}{'; '.join(protocol.details)}."), _scores(table), _list(chapter.footnotes)]
    if chapter.comparisons:
        parts.append("### Against the baseline, seed by seed")
        judged = [each for each in chapter.comparisons if each.differences]
        opponents = [f"{each.row.group.title} against {each.baseline.title}" for each in judged]
        verdicts = [". ".join(sentences(each, table.main)) for each in judged]
        parts.append(_list(f"{pair}: {verdict}." for pair, verdict in zip(opponents, verdicts, strict=True)))
        parts += [_list(chapter.pairing_notes), _plain(INTERVAL_NOTE) if chapter.explains_intervals else ""]
    return parts


def _scores(table: ScoreTable) -> str:
    rows = [["method", *(_plain(column.head) for column in table.columns), "seeds"]]
    for row in table.rows:
        cells = [_with_paper(table, row, column) for column in table.columns]
        rows.append([_method(row), *cells, str(len(row.seeds))])
    return _table(list(zip(*rows, strict=True)) if table.is_transposed else rows)


def _method(row: Row) -> str:
    group = row.group
    name = f" ({_code(group.name)})" if group.label != group.name else ""
    marks = "".join(f" *{mark}*" for mark in (step_mark(row), selected_mark(row)) if mark)
    return _plain(group.label) + name + marks


def _with_paper(table: ScoreTable, row: Row, column: Column) -> str:
    paper = table.paper(row.group, column)
    return cell(row, column) + (f" (paper: {paper.show(column)})" if paper else "")


def _timings(report: Report) -> str:
    rows = [["group", "steps", "training time, mean over seeds", "images/s, median"]]
    for timing in report.timings:
        time = NONE if timing.seconds is None else duration(timing.seconds)
        speed = NONE if timing.speed is None else f"{timing.speed:,.0f}"
        rows.append([_code(timing.group.name), f"{span(timing.steps)} of {timing.group.steps:,}", time, speed])
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Write rows of cells; the first is the head."""
    head, *others = rows
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *others))


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {_plain(item)}" for item in items)


def _plain(text: str) -> str:
    """Escape the marks of Markdown, which does not read an underscore within a word as one."""
    return re.sub(r"[\\`*\[\]<>|]|(?<!\w)_|_(?!\w)", r"\\\g<0>", " ".join(text.split()))


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")
