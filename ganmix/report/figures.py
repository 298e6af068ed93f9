"""The figures of a page: curves as SVG, and sample grids."""

import base64
import html
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ganmix.report.groups import Group
from ganmix.report.scores import Column, Row

if TYPE_CHECKING:
    from PIL import Image

# Paul Tol's "muted": nine colours that the colour-blind tell apart, in an order that keeps neighbours unlike.
PALETTE = ("#332288", "#CC6677", "#117733", "#88CCEE", "#AA4499", "#999933", "#882255", "#44AA99", "#DDCC77")
SOLID = ("solid", "")
DASHES = (  # how they look, and SVG's stroke-dasharray in points
    ("dashed", "6 2.5"),
    ("dotted", "1.6 1.8"),
    ("dash-dotted", "6 2 1.6 2"),
    ("long dashes", "11 3"),
    ("dash-dot-dotted", "6 2 1.6 2 1.6 2"),
)
MOST_POINTS = 200  # of a line
LOG_SPAN = 10  # values that span more than this factor get a logarithmic axis
SIDE = 400  # pixels of a sample grid
LARGE_PNG = 160_000  # bytes; a larger image becomes a JPEG


@dataclass(frozen=True)
class Style:
    """A group's colour and dashes: how they look, and SVG's stroke-dasharray in points."""

    colour: str
    look: str
    dashes: str


@dataclass(frozen=True)
class Line:
    """A group's mean and range over seeds; x is steps or lambdas."""

    style: Style
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def styles(groups: Sequence[Group]) -> dict[Group, Style]:
    """Give each group a colour, and each kind of mixing its dashes; no figure shows both GANs and classifiers."""
    dashes: dict[tuple[str, str | None], tuple[str, str]] = {}
    for kind, mixes in dict.fromkeys((group.words.kind, group.words.mixes) for group in groups):
        place = sum(kind == other and mixed is not None for other, mixed in dashes)
        dashes[kind, mixes] = SOLID if mixes is None else DASHES[place % len(DASHES)]
    return {
        group: Style(PALETTE[place % len(PALETTE)], *dashes[group.words.kind, group.words.mixes])
        for place, group in enumerate(groups)
    }


def dashes_in_words(style: Mapping[Group, Style]) -> str:
    """Explain the dashes of groups: "Solid: no mixup; dashed: FR"."""
    meanings: dict[str, dict[str, None]] = {}
    for group, each in style.items():
        meanings.setdefault(each.look, {})[group.words.mixes or "no mixup"] = None
    text = "; ".join(f"{look}: {', '.join(mixes)}" for look, mixes in meanings.items())
    return text[0].upper() + text[1:]


def score_lines(rows: Sequence[Row], column: Column, style: Mapping[Group, Style]) -> list[Line]:
    """Return a score's curves; none unless a group has the score at two steps or more."""
    lines = []
    for row in rows:
        history = row.history.get(column.key, {})
        every = max(1, math.ceil(len(history) / MOST_POINTS))
        steps = list(history)[::-every][::-1]  # always the last one
        lines.append(_line(style[row.group], steps, [list(history[step].values()) for step in steps]))
    return lines if any(len(line.x) > 1 for line in lines) else []


def lambda_lines(rows: Sequence[Row], style: Mapping[Group, Style]) -> dict[str, list[Line]]:
    """Return the loss over lambda for each boundary where a network was mixed (Figure 1)."""
    found: dict[str, list[Line]] = {}
    for row in rows:
        by_seed = [each.curves for each in row.measurements.values()]
        for name in by_seed[0]:
            values = list(zip(*(curves[name] for curves in by_seed), strict=True))
            lambdas = [at / (len(values) - 1) for at in range(len(values))]
            found.setdefault(name, []).append(_line(style[row.group], lambdas, values))
    return found


def logit_lines(groups: Sequence[Group], style: Mapping[Group, Style]) -> list[Line]:
    """Return the mean logit of real images minus that of fakes, over the seeds with the most steps."""
    lines = []
    for group in groups:
        farthest = max(run.steps_done for run in group.runs)
        by_run = [
            {line["step"]: line["logit/real"] - line["logit/fake"] for line in run.metrics if "logit/real" in line}
            for run in group.runs
            if run.metrics and run.steps_done == farthest
        ]
        steps = sorted(set.intersection(*map(set, by_run))) if by_run else []
        chunk = max(1, math.ceil(len(steps) / MOST_POINTS))
        parts = [steps[at : at + chunk] for at in range(0, len(steps), chunk)]
        values = [[fmean(by_step[step] for step in part) for by_step in by_run] for part in parts]
        lines.append(_line(style[group], [part[-1] for part in parts], values))
    return lines if any(len(line.x) > 1 for line in lines) else []


def draw(
    lines: Sequence[Line], name: str, label: str, *, over: str = "step", bands: bool = True, may_be_log: bool = False
) -> str:
    """Draw lines over training steps or lambda.

    Args:
        name: unique on the page; the ids in the SVG begin with it.
        label: the title, also for screen readers.
        over: what x is, "step" or "lambda".
        bands: whether to show the range of the seeds.
        may_be_log: whether positive values that span more than LOG_SPAN get a logarithmic axis.

    Returns:
        An <svg> element that fills the width of its place.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(4.6, 3.0), layout="constrained")
        axes = figure.add_subplot()
        for line in lines:
            dashes = [float(length) for length in line.style.dashes.split()]
            pattern = (0, dashes) if dashes else "solid"
            marker = "o" if len(line.x) < 15 else ""
            axes.plot(line.x, line.mean, color=line.style.colour, linestyle=pattern, marker=marker)
            if bands and line.low != line.high:
                axes.fill_between(line.x, line.low, line.high, color=line.style.colour, alpha=0.14, linewidth=0)
        values = [value for line in lines for value in (*line.low, *line.high)]
        if may_be_log and min(values) > 0 and max(values) > LOG_SPAN * min(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(6))
        steps = over == "step"
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=steps, steps=(1, 2, 2.5, 5, 10)))
        axes.xaxis.set_major_formatter("{x:,.0f}" if steps else "{x:g}")
        axes.set_xlabel(over)
        axes.set_title(label.replace("$", r"\$"), loc="left")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _embedded(buffer.getvalue(), name, label)


_LOOK: Any = {  # matplotlib types its keys as a literal of several hundred
    "svg.hashsalt": "ganmix",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlecolor": "#111111",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.scale_dashes": False,
    "lines.markersize": 2.8,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), "#888888"),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), "#333333"),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
}


def _line(style: Style, x: Sequence[float], values: Sequence[Sequence[float]]) -> Line:
    return Line(style, x, list(map(fmean, values)), list(map(min, values)), list(map(max, values)))


def _embedded(svg: str, name: str, label: str) -> str:
    """Return matplotlib's SVG as an element of a page: without head and fixed size, with unique ids."""
    attributes, body = svg[svg.index("<svg") + len("<svg") :].split(">", 1)
    attributes = re.sub(r' (width|height)="[^"]*"', "", attributes)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{name}-", body)
    return f'<svg role="img" aria-label="{html.escape(label)}"{attributes}>{body}'.strip()


def pictures(groups: Sequence[Group]) -> Iterator[tuple[str, str, str | None]]:
    """Yield titles, captions and data URIs: real images of each GAN data set, then each GAN group's last samples."""
    gans = [(group.title, group.first) for group in groups if group.words.kind == "GAN"]
    shown = []
    for _, run in gans:
        grid = run.folder.samples / "reals.png"
        if grid.is_file() and run.config.data not in shown:
            shown.append(run.config.data)
            yield "Real images", run.words.trained_on, data_uri(grid)
    for title, run in gans:
        grids = {int(path.stem.rpartition("_")[2]): path for path in run.folder.samples.glob("fakes_*.png")}
        if grids:
            step, path = max(grids.items())
            yield title, f"seed {run.seed}, step {step:,}", data_uri(path)
        else:
            yield title, f"seed {run.seed}: no samples", None


def data_uri(path: Path) -> str | None:
    """Return an image of at most `SIDE` pixels a side as a data URI; None if it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError:
        return None
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    red, green, blue = (channel.tobytes() for channel in image.split())
    if red == green == blue:
        image = image.convert("L")
    kind, data = "png", _encoded(image, "png", optimize=True)
    if len(data) > LARGE_PNG:
        kind, data = "jpeg", _encoded(image, "jpeg", quality=90, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: "Image.Image", kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
