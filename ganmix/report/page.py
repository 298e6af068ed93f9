"""The report as one HTML file that loads nothing: no network, no script, no font."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ganmix.config.reader import dump_config
from ganmix.report import figures, prose
from ganmix.report.comparisons import Difference
from ganmix.report.contents import Chapter, Report
from ganmix.report.groups import Group
from ganmix.report.machines import duration

HALF_STRIP = 54  # units from the middle of a strip, where a difference is 0, to the outermost dot


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
    style = figures.styles(report.groups)
    curves = [(chapter.title, _curves(chapter, style, place)) for place, chapter in enumerate(report.chapters)]
    logits = figures.logit_lines(report.groups, style)
    if logits:
        curves.append(("Training", [figures.draw(logits, "logits", "D's logits: real minus fake", bands=False)]))
    return environment.get_template("page.html.j2").render(
        report=report,
        prose=prose,
        duration=duration,
        dump_config=dump_config,
        style=style,
        dashes=figures.dashes_in_words(style),
        scales={difference: scale for chapter in report.chapters for difference, scale in _scales(chapter).items()},
        curves=[(title, drawn) for title, drawn in curves if drawn],
        pictures=list(figures.pictures(report.groups)),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _scales(chapter: Chapter) -> dict[Difference, float]:
    """Return the units of a strip for a difference of 1; the strips of a score share it, so their dots compare."""
    scales: dict[Difference, float] = {}
    for column in chapter.table.columns:
        found = [difference for each in chapter.comparisons if (difference := each.of(column)) is not None]
        shown = [each for each in found if each.num and each.comparable]
        reach = max((abs(value) for each in shown for value in each.by_seed.values()), default=0) or 1
        scales |= dict.fromkeys(shown, HALF_STRIP / reach)
    return scales


def _curves(chapter: Chapter, style: Mapping[Group, figures.Style], place: int) -> list[str]:
    """Draw the scores over the steps, where there are several, and the curves over lambda."""
    drawn = []
    for number, column in enumerate(chapter.table.columns):
        lines = figures.score_lines(chapter.table.rows, column, style)
        if lines:
            may_be_log = column.metric.better == "lower"
            drawn.append(figures.draw(lines, f"scores{place}-{number}", column.head, may_be_log=may_be_log))
    for number, (boundary, lines) in enumerate(figures.lambda_lines(chapter.table.rows, style).items()):
        label = f"NLL of mixes at {boundary} ↓"
        drawn.append(figures.draw(lines, f"lambda{place}-{number}", label, over="lambda"))
    return drawn
