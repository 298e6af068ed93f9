"""The report as one HTML file that needs nothing beside it: no network, no script, no font."""

from collections.abc import Mapping
from datetime import UTC, datetime

from ganmix.config.reader import dump_config
from ganmix.report import prose
from ganmix.report.comparisons import Difference
from ganmix.report.contents import Chapter, Report
from ganmix.report.figures import (
    STRIP_WIDTH,
    Strip,
    Style,
    dashes_in_words,
    draw,
    lambda_lines,
    logit_lines,
    pictures,
    score_lines,
    strips,
    styles,
)
from ganmix.report.groups import Group
from ganmix.report.machines import duration


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
    style = styles(report.groups)
    curves = [(chapter.title, _curves(chapter, style, place)) for place, chapter in enumerate(report.chapters)]
    logits = logit_lines(report.groups, style)
    environment.globals |= {
        "report": report,
        "prose": prose,
        "duration": duration,
        "dump_config": dump_config,
        "STRIP_WIDTH": STRIP_WIDTH,
        "style": style,
        "strips": {key: strip for chapter in report.chapters for key, strip in _strips(chapter).items()},
    }
    return environment.get_template("page.html.j2").render(
        curves=[(title, drawn) for title, drawn in curves if drawn],
        logits=draw(logits, "logits", "D's logits: real minus fake", bands=False) if logits else None,
        dashes=dashes_in_words(report.groups),
        pictures=list(pictures(report.groups)),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _strips(chapter: Chapter) -> dict[Difference, Strip]:
    found: dict[Difference, Strip] = {}
    for column in chapter.table.columns:
        found |= strips([each for comparison in chapter.comparisons if (each := comparison.of(column)) is not None])
    return found


def _curves(chapter: Chapter, style: Mapping[Group, Style], place: int) -> list[str]:
    """Draw the scores over the steps, where there are several, and the curves over lambda."""
    figures = []
    for number, column in enumerate(chapter.table.columns):
        lines = score_lines(chapter.table.rows, column, style)
        if lines:
            may_be_log = column.metric.better == "lower"
            figures.append(draw(lines, f"scores{place}-{number}", column.head, may_be_log=may_be_log))
    for number, (boundary, lines) in enumerate(lambda_lines(chapter.table.rows, style).items()):
        label = f"NLL of mixes at {boundary} ↓"
        figures.append(draw(lines, f"lambda{place}-{number}", label, over="lambda"))
    return figures
