"""Curves as SVG for a page: no script, no font, no link; and the colours that stand for groups in all of them."""

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from ganmix.report.groups import Group
from ganmix.report.scores import Column, Row

# Paul Tol's "muted": nine colours that the colour-blind tell apart, in an order that keeps neighbours unlike.
PALETTE = ("#332288", "#CC6677", "#117733", "#88CCEE", "#AA4499", "#999933", "#882255", "#44AA99", "#DDCC77")
DASHES = {  # by what is mixed (`Run.mixes`): SVG's stroke-dasharray in points, how it looks, and what it means
    "nothing": ("", "solid", "no mixup"),
    "FR": ("6 2.5", "dashed", "FR"),
    "FR+FF": ("1.6 1.8", "dotted", "FR+FF"),
    "FF": ("6 2 1.6 2", "dash-dotted", "FF"),
    "input": ("6 2.5", "dashed", "mixup at the input"),
    "hidden": ("1.6 1.8", "dotted", "mixup at hidden layers too"),
    "blocked": ("6 2 1.6 2", "dash-dotted", "mixup with blocked gradients"),
    "boxes": ("11 3", "long dashes", "CutMix"),
}
MOST_POINTS = 200  # of a line
LOG_SPAN = 10  # values that span more than this factor get a logarithmic axis


@dataclass(frozen=True)
class Style:
    """A group's colour and dashes (SVG's stroke-dasharray, in points)."""

    colour: str
    dashes: str


@dataclass(frozen=True)
class Line:
    """A group's values over x, which are steps or lambdas, with the band from the least to the greatest seed."""

    style: Style
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def styles(groups: Sequence[Group]) -> dict[Group, Style]:
    """Give each group a colour, and dashes that tell what is mixed."""
    return {
        group: Style(PALETTE[place % len(PALETTE)], DASHES[group.first.mixes][0]) for place, group in enumerate(groups)
    }


def dashes_in_words(groups: Sequence[Group]) -> str:
    """Say what the dashes of groups mean: "Solid: no mixup; dashed: FR"."""
    used = {group.first.mixes for group in groups}
    words = "; ".join(f"{look}: {meaning}" for key, (_, look, meaning) in DASHES.items() if key in used)
    return words[0].upper() + words[1:]


def score_lines(rows: Sequence[Row], column: Column, style: Mapping[Group, Style]) -> list[Line]:
    """Return a score's curves; none unless some group has it at two steps or more."""
    lines = []
    for row in rows:
        history = row.history.get(column.name, {})
        steps = list(history)[:: -max(1, -(-len(history) // MOST_POINTS))][::-1]  # the last one always
        lines.append(_line(style[row.group], steps, [list(history[step].values()) for step in steps]))
    return lines if any(len(line.x) > 1 for line in lines) else []


def lambda_lines(rows: Sequence[Row], style: Mapping[Group, Style]) -> dict[str, list[Line]]:
    """Return the loss over lambda at each boundary that the rows' networks were mixed at (the paper's Figure 1)."""
    found: dict[str, list[Line]] = {}
    for row in rows:
        by_seed = [line["curves"] for line in row.lines.values() if "curves" in line]
        for name in by_seed[0] if by_seed else ():
            values = list(zip(*(curves[name] for curves in by_seed), strict=True))
            lambdas = [at / (len(values) - 1) for at in range(len(values))]
            found.setdefault(name, []).append(_line(style[row.group], lambdas, values))
    return found


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
    return lines if any(len(line.x) > 1 for line in lines) else []


def draw(
    lines: Sequence[Line], name: str, label: str, *, over: str = "step", bands: bool = True, may_be_log: bool = False
) -> str:
    """Draw lines over training steps or lambda.

    Args:
        name: a word that no other figure of the page has; it goes before the ids in the SVG.
        label: of the vertical axis, and what a screen reader says.
        over: what x is.
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
            marker = "o" if len(line.x) < 15 else ""
            axes.plot(line.x, line.mean, color=line.style.colour, linestyle=pattern, marker=marker, markersize=2.8)
            if bands and line.low != line.high:
                axes.fill_between(line.x, line.low, line.high, color=line.style.colour, alpha=0.14, linewidth=0)
        values = [value for line in lines for value in (*line.low, *line.high)]
        if may_be_log and min(values) > 0 and max(values) > LOG_SPAN * min(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(6))
        steps = over == "step"
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=steps, steps=(1, 2, 2.5, 5, 10)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if steps else f"{value:g}"))
        axes.set_xlabel(over)
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


def _line(style: Style, x: Sequence[float], values: Sequence[Sequence[float]]) -> Line:
    return Line(style, x, list(map(fmean, values)), list(map(min, values)), list(map(max, values)))


def _embedded(svg: str, name: str, label: str) -> str:
    """Make a matplotlib file an element of a page: without a head and fixed size, with ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    return svg.strip()
