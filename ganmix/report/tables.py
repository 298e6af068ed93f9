"""The report as Markdown and as CSV."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from ganmix.report.comparisons import Comparison
from ganmix.report.contents import Chapter, Report
from ganmix.report.machines import duration
from ganmix.report.scores import Column, Row, paper_value
from ganmix.report.words import FOOTNOTES, span

CSV_COLUMNS = (
    *("group", "label", "protocol", "protocol_digest", "extractor", "num_fake", "num_real", "score", "n_seeds"),
    *("step", "training_steps", "mean", "std_over_seeds", "min", "max", "values_by_seed"),
    *("baseline", "n_pairs", "difference", "ci_low", "ci_high", "better_in", "paper_value"),
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
    record: dict[str, object] = {
        "group": row.group.name,
        "label": row.group.label,
        "protocol": protocol.name,
        "protocol_digest": protocol.digest,
        "extractor": protocol.parts.get("extractor"),
        "num_fake": protocol.parts.get("num_fake"),
        "num_real": protocol.parts.get("reference", {}).get("num"),
        "score": column.name,
        "n_seeds": len(values),
        "step": row.step,
        "training_steps": row.group.steps,
        "mean": mean,
        "std_over_seeds": std,
        "min": min(values.values()),
        "max": max(values.values()),
        "values_by_seed": " ".join(f"{seed}:{value}" for seed, value in sorted(values.items())),
        "paper_value": paper_value(row.group, column),
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
    parts = [f"# {report.title}", _plain(report.lead)]
    for place, chapter in enumerate(report.chapters, start=1):
        parts += _chapter(report, chapter, place)
    if report.notes:
        parts += ["## Notes", _list(report.notes)]
    if report.config_differences:
        header = ["key", *(_code(group.name) for group in report.groups)]
        rows = [[_code(key), *map(_plain, values)] for key, values in report.config_differences]
        parts += ["## What differs between the configs", _table(header, rows)]
    parts += ["## Time and machine", _timings(report), _list(f"{name}: {text}" for name, text in report.machines.facts)]
    if report.machines.warnings:
        parts.append(_list(f"Warning: {text}" for text in report.machines.warnings))
    return "\n\n".join(parts) + "\n"


def _chapter(report: Report, chapter: Chapter, place: int) -> list[str]:
    table, several = chapter.table, len(report.chapters) > 1
    parts = [f"## Scores, protocol {place} of {len(report.chapters)}" if several else "## Scores"]
    if several:
        parts.append("Numbers of one protocol do not compare with those of another.")
    parts.append(_plain(f"Protocol '{table.protocol.name}': {'; '.join(table.protocol.in_words())}."))
    if table.protocol.few_images:
        parts.append(f"**{FOOTNOTES['few']}**")
    parts.append(_table(*_score_table(chapter)))
    used = ["seeds", "last", *(["paper"] if chapter.has_paper else [])]
    parts.append(_list(FOOTNOTES[name] for name in used))
    if chapter.comparisons:
        parts.append("### Against the baseline, seed by seed")
        parts.append(_list(verdict(chapter, each) for each in chapter.comparisons if each.differences))
        if chapter.pairing_notes:
            parts.append(_list(chapter.pairing_notes))
        parts.append(_plain(FOOTNOTES["interval"]))
    return parts


def verdict(chapter: Chapter, comparison: Comparison) -> str:
    """Return what all scores say of a comparison."""
    said = ". ".join(comparison.sentences(chapter.table.main))
    return f"{comparison.row.group.title} against {comparison.baseline.title}: {said}."


def _score_table(chapter: Chapter) -> tuple[list[str], list[list[str]]]:
    table = chapter.table
    header = ["method", *(_plain(f"{column.name} {column.arrow}") for column in table.columns), "seeds"]
    header += ["paper's IS (CIFAR-10, Inception; ± over splits)", "paper's FID"] if chapter.has_paper else []
    rows = []
    for row in table.rows:
        group, paper = row.group, row.group.config.paper
        method = _plain(group.label) + (f" ({_code(group.name)})" if group.label != group.name else "")
        method += "" if row.is_final else f" *{step_mark(row)}*"
        cells = [method, *(cell(row, column) for column in table.columns), str(len(row.seeds))]
        if chapter.has_paper:
            cells += [f"{paper.inception:.2f} ± {paper.inception_std:.2f}", f"{paper.fid:.1f}"] if paper else [NONE] * 2
        rows.append(cells)
    return header, rows


def cell(row: Row, column: Column) -> str:
    """Write a group's score as mean and spread over its seeds, with their number where it is not the row's."""
    values = row.values.get(column.name)
    if not values:
        return NONE
    found = column.show_spread(*(row.mean_and_std(column.name) or (0, None)))
    return found if len(values) == len(row.seeds) else f"{found} ({len(values)} of {len(row.seeds)} seeds)"


def step_mark(row: Row) -> str:
    """Say at which step a group was scored that was not scored at its last."""
    return f"at step {row.step:,} of {row.group.steps:,}"


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
