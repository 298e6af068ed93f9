"""Curves as SVG for a page: no script, no font, no link; and the colours that stand for groups in all of them."""

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ganmix.config.gan import Mixup
from ganmix.report.groups import Group
from ganmix.report.scores import Column, Row

# Paul Tol's "muted": nine colours that the colour-blind tell apart, in an order that keeps neighbours unlike.
PALETTE = ("#332288", "#CC6677", "#117733", "#88CCEE", "#AA4499", "#999933", "#882255", "#44AA99", "#DDCC77")
DASHES = {(): "", ("FR",): "6 2.5", ("FR", "FF"): "1.6 1.8", ("FF",): "6 2 1.6 2"}
MOST_POINTS = 200  # of a line
LOG_SPAN = 10  # values that span more than this factor get a logarithmic axis


@dataclass(frozen=True)
class Style:
    """A group's colour and dashes (SVG's stroke-dasharray, in points)."""

    colour: str
    dashes: str


@dataclass(frozen=True)
class Line:
    """A group's values over steps, with the band from the least to the greatest seed."""

    style: Style
    steps: Sequence[int]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def styles(groups: Sequence[Group]) -> dict[Group, Style]:
    """Give each group a colour, and dashes that tell what is mixed: none solid, FR dashed, FR+FF dotted."""
    return {
        group: Style(PALETTE[place % len(PALETTE)], _dashes(group.config.mixup)) for place, group in enumerate(groups)
    }


def score_lines(rows: Sequence[Row], column: Column, style: Mapping[Group, Style]) -> list[Line]:
    """Return a score's curves; none unless some group has it at two steps or more."""
    lines = []
    for row in rows:
        history = row.history.get(column.name, {})
        values = [list(by_seed.values()) for by_seed in history.values()]
        lines.append(_line(style[row.group], list(history), values))
    return lines if any(len(line.steps) > 1 for line in lines) else []


def logit_lines(groups: Sequence[Group], style: Mapping[Group, Style]) -> list[Line]:
    """Return how far apart D holds real and fake images: its logits' difference, for the seeds that got farthest."""
    lines = []
    for group in groups:
        farthest = max(run.steps_done for run in group.runs)
        by_run = [
            {line["step"]: line["logit/real"] - line["logit/fake"] for line in run.metrics if "logit/real" in line}
            for run in group.runs
            if run.metrics and run.steps_done == farthest
        ]
        steps = sorted(set.intersection(*map(set, by_run))) if by_run else []
        chunk = -(-len(steps) // MOST_POINTS)
        parts = [steps[at : at + chunk] for at in range(0, len(steps), chunk)] if steps else []
        values = [[fmean(by_step[step] for step in part) for by_step in by_run] for part in parts]
        lines.append(_line(style[group], [part[-1] for part in parts], values))
    return lines if any(len(line.steps) > 1 for line in lines) else []


def draw(lines: Sequence[Line], name: str, label: str, *, bands: bool = True, may_be_log: bool = False) -> str:
    """Draw lines over training steps.

    Args:
        name: a word that no other figure of the page has; it goes before the ids in the SVG.
        label: of the vertical axis, and what a screen reader says.
        bands: whether to show the least and the greatest seed.
        may_be_log: a logarithmic axis where the values span much.

    Returns:
        an <svg> element that takes the width it is given.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(4.6, 3.0), layout="constrained")
        axes = figure.add_subplot()
        for line in lines:
            dashes = [float(length) for length in line.style.dashes.split()]
            pattern = (0, dashes) if dashes else "solid"
            marker = "o" if len(line.steps) < 15 else ""
            axes.plot(line.steps, line.mean, color=line.style.colour, linestyle=pattern, marker=marker, markersize=2.8)
            if bands and line.low != line.high:
                axes.fill_between(line.steps, line.low, line.high, color=line.style.colour, alpha=0.14, linewidth=0)
        values = [value for line in lines for value in (*line.low, *line.high)]
        if may_be_log and min(values) > 0 and max(values) > LOG_SPAN * min(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=(1, 2, 2.5, 5, 10)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlabel("step")
        axes.set_title(label.replace("$", r"\$"), loc="left")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _embedded(buffer.getvalue(), name, label)


_LOOK: Any = {  # matplotlib types its keys as a literal of several hundred
    "svg.hashsalt": "ganmix",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": "#333333",
    "axes.titlecolor": "#111111",
    "xtick.color": "#888888",
    "ytick.color": "#888888",
    "xtick.labelcolor": "#333333",
    "ytick.labelcolor": "#333333",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.scale_dashes": False,
    "lines.dash_capstyle": "butt",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def _line(style: Style, steps: Sequence[int], values: Sequence[Sequence[float]]) -> Line:
    return Line(style, steps, list(map(fmean, values)), list(map(min, values)), list(map(max, values)))


def _dashes(mixup: Mixup | None) -> str:
    pairs = () if mixup is None else mixup.pairs
    return DASHES.get(tuple(sorted(pairs, reverse=True)), "")


def _embedded(svg: str, name: str, label: str) -> str:
    """Make a matplotlib file an element of a page: without a head and fixed size, with ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    return svg.strip()
