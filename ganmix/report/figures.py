"""What a page draws: curves as SVG, with a colour for each group; sample grids; a comparison in one line of a table."""

import base64
import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ganmix.report.comparisons import Difference
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
LARGE_PNG = 160_000  # bytes; a colour image above it becomes a JPEG
STRIP_WIDTH, STRIP_MARGIN = 120.0, 6.0  # in the drawing's own units


@dataclass(frozen=True)
class Style:
    """A group's colour and dashes (SVG's stroke-dasharray, in points)."""

    colour: str
    dashes: str


@dataclass(frozen=True)
class Line:
    """A group's values over x, which are steps or lambdas, with the range over seeds."""

    style: Style
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def styles(groups: Sequence[Group]) -> dict[Group, Style]:
    """Give each group a colour, and dashes that tell what is mixed."""
    dashes = _dashes(groups)
    return {
        group: Style(PALETTE[place % len(PALETTE)], dashes[group.words.kind, group.words.mixes][1])
        for place, group in enumerate(groups)
    }


def dashes_in_words(groups: Sequence[Group]) -> str:
    """Say what the dashes of groups mean: "Solid: no mixup; dashed: FR"."""
    meanings: dict[str, dict[str, None]] = {}
    for (_, mixes), (look, _) in _dashes(groups).items():
        meanings.setdefault(look, {})[mixes or "no mixup"] = None
    text = "; ".join(f"{look}: {', '.join(mixes)}" for look, mixes in meanings.items())
    return text[0].upper() + text[1:]


def _dashes(groups: Sequence[Group]) -> dict[tuple[str, str | None], tuple[str, str]]:
    """Give each kind of mixing a pattern; GANs and classifiers, which no figure shows together, share them."""
    found: dict[tuple[str, str | None], tuple[str, str]] = {}
    for kind, mixes in dict.fromkeys((group.words.kind, group.words.mixes) for group in groups):
        place = sum(kind == other and mixed is not None for other, mixed in found)
        found[kind, mixes] = SOLID if mixes is None else DASHES[place % len(DASHES)]
    return found


def score_lines(rows: Sequence[Row], column: Column, style: Mapping[Group, Style]) -> list[Line]:
    """Return a score's curves; none unless a group has it at two steps or more."""
    lines = []
    for row in rows:
        history = row.history.get(column.key, {})
        steps = list(history)[:: -max(1, -(-len(history) // MOST_POINTS))][::-1]  # the last one always
        lines.append(_line(style[row.group], steps, [list(history[step].values()) for step in steps]))
    return lines if any(len(line.x) > 1 for line in lines) else []


def lambda_lines(rows: Sequence[Row], style: Mapping[Group, Style]) -> dict[str, list[Line]]:
    """Return the curves over lambda by name: the loss at each boundary where a network was mixed (Figure 1)."""
    found: dict[str, list[Line]] = {}
    for row in rows:
        by_seed = [each.curves for each in row.measurements.values()]
        for name in by_seed[0]:
            values = list(zip(*(curves[name] for curves in by_seed), strict=True))
            lambdas = [at / (len(values) - 1) for at in range(len(values))]
            found.setdefault(name, []).append(_line(style[row.group], lambdas, values))
    return found


def logit_lines(groups: Sequence[Group], style: Mapping[Group, Style]) -> list[Line]:
    """Return the mean logit of real images minus that of fakes, over the seeds that were trained farthest."""
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
        name: of no other figure on the page; the ids in the SVG begin with it.
        label: the title, which screen readers say, too.
        over: what x is.
        bands: whether to show the range of the seeds.
        may_be_log: whether values that span much get a logarithmic axis.

    Returns:
        an <svg> element as wide as the place it is in.
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
    """Make a page's element from matplotlib's file: no head, no fixed size, and ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    return svg.strip()


@dataclass(frozen=True)
class Picture:
    """A grid of images with its caption; `uri` is None where there is none."""

    title: str
    caption: str
    uri: str | None


def pictures(groups: Sequence[Group]) -> Iterator[Picture]:
    """Yield real images of each GAN data set, then what the lowest seed of each group of GANs generated last."""
    gans = [(group.title, group.first) for group in groups if group.words.kind == "GAN"]
    shown = []
    for _, run in gans:
        grid = run.folder.samples / "reals.png"
        if grid.is_file() and run.config.data not in shown:
            shown.append(run.config.data)
            yield Picture("Real images", run.words.trained_on, data_uri(grid))
    for title, run in gans:
        grids = {int(path.stem.rpartition("_")[2]): path for path in run.folder.samples.glob("fakes_*.png")}
        if grids:
            step, path = max(grids.items())
            yield Picture(title, f"seed {run.seed}, step {step:,}", data_uri(path))
        else:
            yield Picture(title, f"seed {run.seed}: no samples", None)


def data_uri(path: Path) -> str | None:
    """Return an image, at most `SIDE` pixels wide and high, as a data URI; None where it cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError:
        return None
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    red, green, blue = (channel.tobytes() for channel in image.split())
    is_grey = red == green == blue
    data = _encoded(image.convert("L") if is_grey else image, "png", optimize=True)
    kind = "png"
    if len(data) > LARGE_PNG and not is_grey:
        data, kind = _encoded(image, "jpeg", quality=90, subsampling=0), "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(image: "Image.Image", kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@dataclass(frozen=True)
class Strip:
    """A comparison on a horizontal axis of STRIP_WIDTH.

    Args:
        zero: the place of no difference.
        dots: each seed's place, and whether it is an improvement.
        bar: start and length of the interval; None: one seed has none.
    """

    zero: float
    dots: list[tuple[float, bool]]
    bar: tuple[float, float] | None


def strips(differences: Sequence[Difference]) -> dict[Difference, Strip]:
    """Draw the differences of one score, those that are comparable, on one scale with 0 in the middle."""
    shown = [each for each in differences if each.num and each.comparable]
    reach = max((abs(value) for each in shown for value in each.by_seed.values()), default=0) or 1

    def place(value: float) -> float:
        return round(STRIP_WIDTH / 2 + value / reach * (STRIP_WIDTH / 2 - STRIP_MARGIN), 1)

    def strip(difference: Difference) -> Strip:
        dots = [(place(value), difference.is_better(value)) for value in difference.by_seed.values()]
        if difference.interval is None:
            return Strip(place(0), dots, None)
        low, high = map(place, difference.interval)
        return Strip(place(0), dots, (low, round(high - low, 1)))

    return {each: strip(each) for each in shown}
