"""The report as one HTML file that needs nothing beside it: no network, no script, no font."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ganmix.config.reader import dump_config
from ganmix.report.comparisons import Comparison, Difference
from ganmix.report.contents import Chapter, Report
from ganmix.report.figures import Style, draw, logit_lines, score_lines, styles
from ganmix.report.groups import Group
from ganmix.report.images import data_uri
from ganmix.report.machines import duration
from ganmix.report.scores import Column
from ganmix.report.strips import WIDTH, Strip, strips
from ganmix.report.tables import cell, step_mark
from ganmix.report.words import FOOTNOTES, data_in_words, span


def to_html(report: Report) -> str:
    """Return the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ganmix.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "cell": cell,
        "step_mark": step_mark,
        "paper_difference": _paper_difference,
        "duration": duration,
        "span": span,
        "dump_config": dump_config,
        "FOOTNOTES": FOOTNOTES,
        "STRIP_WIDTH": WIDTH,
    }
    style = styles(report.groups)
    figures = [_figures(chapter, style, place) for place, chapter in enumerate(report.chapters, start=1)]
    return environment.get_template("page.html.j2").render(
        report=report,
        style=style,
        strips=[_strips(chapter) for chapter in report.chapters],
        curves=[(place, drawn) for place, drawn in enumerate(figures, start=1) if drawn],
        logits=_logits(report.groups, style),
        pictures=_pictures(report.groups),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _paper_difference(difference: Difference) -> str:
    """Write it as the paper's table does: IS with two decimals, FID with one."""
    decimals = 2 if difference.column.base == "IS" else 1
    return Column(difference.column.name, decimals).show(difference.paper or 0.0, "+")


@dataclass(frozen=True)
class Picture:
    """A grid of images with what is said of it; no `uri` where there is none to show."""

    title: str
    caption: str
    uri: str | None


def _strips(chapter: Chapter) -> dict[Comparison, list[tuple[Difference | None, Strip | None]]]:
    """Return a comparison's differences, each with its drawing, in the order of the columns."""
    by_column = []
    for column in chapter.table.columns:
        differences = [comparison.of(column) for comparison in chapter.comparisons]
        by_column.append(list(zip(differences, strips(differences), strict=True)))
    return {comparison: [column[at] for column in by_column] for at, comparison in enumerate(chapter.comparisons)}


def _figures(chapter: Chapter, style: Mapping[Group, Style], place: int) -> list[str]:
    """Draw the scores over the steps, where they are known at several."""
    figures = []
    for number, column in enumerate(chapter.table.columns):
        lines = score_lines(chapter.table.rows, column, style)
        if lines:
            may_be_log = column.kind is not None and column.kind.lower_is_better
            name, label = f"scores{place}-{number}", f"{column.name} {column.arrow}".strip()
            figures.append(draw(lines, name, label, may_be_log=may_be_log))
    return figures


def _logits(groups: Sequence[Group], style: Mapping[Group, Style]) -> str | None:
    lines = logit_lines(groups, style)
    return draw(lines, "logits", "D's logits: real minus fake", bands=False) if lines else None


def _pictures(groups: Sequence[Group]) -> list[Picture]:
    """Show real images of each data set, then what the first seed of each group generates at last."""
    pictures, seen = [], []
    for group in groups:
        grid = group.runs[0].real_grid()
        if grid is not None and group.config.data not in seen:
            seen.append(group.config.data)
            pictures.append(Picture("Real images", data_in_words(group.config.data), data_uri(grid)))
    for group in groups:
        run = group.runs[0]
        found = run.sample_grid()
        if found is None:
            pictures.append(Picture(group.title, f"seed {run.seed}: no samples", None))
        else:
            step, grid = found
            pictures.append(Picture(group.title, f"seed {run.seed}, step {step:,}", data_uri(grid)))
    return pictures
