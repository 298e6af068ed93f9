"""Seconds of several ways to compute the same, measured in turns, with the ratios within each turn."""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from ganmix.config.base import Section
from ganmix.data import ImageData
from ganmix.engine.device import check_compiler, hardware, keep_freed_memory
from ganmix.engine.files import write_atomically
from ganmix.errors import UserError

TEXTBOOK = "textbook"  # the way that the others are measured against
NONE = "none"  # the setting without mixup, which the others are measured against


@dataclass(frozen=True)
class Variant:
    """One way to compute one setting, and what it is called.

    Args:
        way: 'textbook', 'float32', 'bfloat16', 'compiled-float32' ...
        setting: 'none', 'FR at input', 'mixup at layer1' ...
        works: what is timed, each on its own: D and G steps, or one step.
    """

    way: str
    setting: str
    works: Sequence[Callable[[], Any]]

    def prepare(self) -> None:
        """Give each way the memory allocator it has in practice."""
        keep_freed_memory(self.way != TEXTBOOK)


class Column(NamedTuple):
    """A column of the printed table: its head, the row's key, and the format of the values."""

    head: str
    key: str
    form: str


Times = dict[tuple[str, str], list[tuple[float, ...]]]


def device_settings(way: str) -> dict[str, bool]:
    """Return the keys of the config's `device` section that make our way: its precision, and whether it is compiled."""
    return {"bf16": way.endswith("bfloat16"), "compile": way.startswith("compiled")}


def check_ways(ways: Sequence[str], device: torch.device) -> None:
    """Raise UserError where one of our ways cannot be had on the device."""
    if any(device_settings(way)["compile"] for way in ways):
        check_compiler(device)


def choose_settings(known: Sequence[str], only: Sequence[str] | None) -> list[str]:
    """Return the settings to time, in the order of `known`; only None: all.

    Raises:
        UserError: one of `only` is not known; the message lists those that are.
    """
    if unknown := [name for name in only or () if name not in known]:
        raise UserError(f"--settings: {unknown[0]!r} is not one of {', '.join(map(repr, known))}")
    return [name for name in known if only is None or name in only]


def made_images(num: int, channels: int, resolution: int, num_classes: int | None = None) -> ImageData:
    """Return images of noise, with labels where there are classes."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (num, channels, resolution, resolution), generator=draw)
    labels = None if num_classes is None else torch.randint(num_classes, (num,), generator=draw)
    return ImageData(pixels.to(torch.uint8), labels, "made", "train")


def measure(variants: Sequence[Variant], rounds: int, device: torch.device) -> Times:
    """Return the seconds of the works of each (way, setting), a tuple a round.

    In each round all variants take their turn, those of one way together.
    """
    ways = list(dict.fromkeys(variant.way for variant in variants))
    in_turns = sorted(variants, key=lambda variant: ways.index(variant.way))
    times: Times = {(variant.way, variant.setting): [] for variant in in_turns}
    previous = None
    for i in range(1 + rounds):
        for variant in in_turns:
            if variant.way != previous:
                previous = variant.way
                variant.prepare()
                # What the allocator gave back is faulted in anew: not in the time of the steps to compare.
                for work in variant.works:
                    work()
            seconds = tuple(_seconds(work, device) for work in variant.works)
            if i > 0:  # the first round compiles and allocates
                times[variant.way, variant.setting].append(seconds)
        print(f"round {i} of {rounds}" if i else "warm", file=sys.stderr)
    return times


def compare(seconds: Mapping[tuple[str, str], Sequence[float]]) -> list[dict[str, Any]]:
    """Return a row for each (way, setting) from its seconds, one a round.

    Returns:
        `way`, `setting`; `seconds`, the median; `speedup`, the textbook's seconds over these, and `cost`, these over
        those of the same way without mixup: medians of the ratios within each round, NaN where there is nothing to
        compare with. `speedup_quartiles` and `cost_quartiles` are the first and third quartile of the same ratios.
    """
    rows = []
    for (way, setting), ours in seconds.items():
        row: dict[str, Any] = {"setting": setting, "way": way, "seconds": statistics.median(ours)}
        textbook, none = seconds.get((TEXTBOOK, setting)), seconds.get((way, NONE))
        for key, over, under in (("speedup", textbook, ours), ("cost", ours, none)):
            row[f"{key}_quartiles"], row[key] = _ratio(over, under)
        rows.append(row)
    return rows


def gflop(work: Callable[[], Any]) -> float:
    """Return the counted FLOPs of `work`, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def report(
    config: Section,
    device: torch.device,
    sizes: Mapping[str, int],
    tables: Mapping[str, tuple[Sequence[Column], Sequence[Mapping[str, Any]]]],
    output: Path | None,
) -> None:
    """Print tables below what they depend on, and write all of it as JSON.

    Args:
        sizes: `batch_size`, `rounds` and the like.
        tables: by the key of their rows in the file.
        output: the JSON file.
    """
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 1024**3
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    numbers = ", ".join(f"{name} {number}" for name, number in sizes.items())
    print(f"{hardware(device)}; torch {torch.__version__}; {numbers}")
    for columns, rows in tables.values():
        if rows:
            _print_table(columns, rows)
    print(f"peak memory {peak:.2f} GiB")
    if output is not None:
        content = {
            "hardware": hardware(device),
            "torch": torch.__version__,
            **sizes,
            "config": config.model_dump(),
            "peak_memory_gib": peak,
            **{name: rows for name, (_, rows) in tables.items()},
        }
        write_atomically(output, (json.dumps(content, indent=2) + "\n").encode())
        print(f"written to {output}", file=sys.stderr)


def _print_table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
    print(" ".join(f"{head:{form[0]}{_width(form)}}" for head, _, form in columns))
    for row in rows:
        print(" ".join(_shown(row[key], form) for _, key, form in columns))


def _shown(value: Any, form: str) -> str:
    if isinstance(value, tuple):  # each by the format's digits, all in its width
        return "-".join(f"{x:{form[form.index('.') :]}}" for x in value).rjust(_width(form))
    return f"{value:{form}}"


def _width(form: str) -> int:
    return int(form[1:].split(".")[0])


def _ratio(a: Sequence[float] | None, b: Sequence[float] | None) -> tuple[tuple[float, float], float]:
    """Return the quartiles and the median of a / b, round by round."""
    if a is None or b is None:
        return (float("nan"), float("nan")), float("nan")
    ratios = torch.tensor(a, dtype=torch.float64) / torch.tensor(b, dtype=torch.float64)
    low, median, high = ratios.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
    return (low, high), median


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    _wait_for(device)
    start = time.perf_counter()
    work()
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
