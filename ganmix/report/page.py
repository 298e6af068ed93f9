"""The report as one HTML file that needs nothing beside it: no network, no script, no font."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ganmix.config.reader import dump_config
from ganmix.report.comparisons import Comparison, Difference
from ganmix.report.contents import Chapter, Report
from ganmix.report.figures import Style, dashes_in_words, draw, lambda_lines, logit_lines, score_lines, styles
from ganmix.report.gans import GanRun
from ganmix.report.groups import Group
from ganmix.report.images import data_uri
from ganmix.report.machines import duration
from ganmix.report.strips import WIDTH, Strip, strips
from ganmix.report.tables import cell, chosen_mark, step_mark
from ganmix.report.words import INTERVAL_NOTE, span


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
        "chosen_mark": chosen_mark,
        "duration": duration,
        "span": span,
        "dump_config": dump_config,
        "INTERVAL_NOTE": INTERVAL_NOTE,
        "STRIP_WIDTH": WIDTH,
    }
    style = styles(report.groups)
    figures = [_figures(chapter, style, place) for place, chapter in enumerate(report.chapters, start=1)]
    return environment.get_template("page.html.j2").render(
        report=report,
        style=style,
        strips=[_strips(chapter) for chapter in report.chapters],
        curves=[(chapter.title, drawn) for chapter, drawn in zip(report.chapters, figures, strict=True) if drawn],
        dashes=dashes_in_words(report.groups),
        logits=_logits(report.groups, style),
        pictures=_pictures(report.groups),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


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
    """Draw the scores over the steps, where they are known at several, and what is known over lambda."""
    figures = []
    for number, column in enumerate(chapter.table.columns):
        lines = score_lines(chapter.table.rows, column, style)
        if lines:
            figures.append(draw(lines, f"scores{place}-{number}", column.head, may_be_log=column.arrow == "↓"))
    for number, (boundary, lines) in enumerate(lambda_lines(chapter.table.rows, style).items()):
        label = f"NLL of mixes at {boundary} ↓"
        figures.append(draw(lines, f"lambda{place}-{number}", label, over="lambda"))
    return figures


def _logits(groups: Sequence[Group], style: Mapping[Group, Style]) -> str | None:
    lines = logit_lines(groups, style)
    return draw(lines, "logits", "D's logits: real minus fake", bands=False) if lines else None


def _pictures(groups: Sequence[Group]) -> list[Picture]:
    """Show real images of each data set of GANs, then what the first seed of each group generates at last."""
    pictures, seen = [], []
    gans = [(group, group.first) for group in groups if isinstance(group.first, GanRun)]
    for _, run in gans:
        grid = run.real_grid()
        if grid is not None and run.config.data not in seen:
            seen.append(run.config.data)
            pictures.append(Picture("Real images", run.trained_on, data_uri(grid)))
    for group, run in gans:
        found = run.sample_grid()
        if found is None:
            pictures.append(Picture(group.title, f"seed {run.seed}: no samples", None))
        else:
            step, grid = found
            pictures.append(Picture(group.title, f"seed {run.seed}, step {step:,}", data_uri(grid)))
    return pictures
