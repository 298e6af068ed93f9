"""Time several ways to compute the same in turns; compare them by the ratios within each turn; print the tables."""

import json
import resource  # Unix only, as is the lock of a run folder
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ganmix.config.base import Section
from ganmix.config.common import Device
from ganmix.data import ImageData
from ganmix.engine.device import hardware, keep_freed_memory, prepare_device
from ganmix.engine.files import write_atomically
from ganmix.errors import UserError

TEXTBOOK = "textbook"  # the way to compare the others with
NONE = "none"  # the setting to compare the others with: no mixup

Config = TypeVar("Config", bound=Section)
Key = tuple[str, str]  # way: 'textbook', 'float32', 'compiled-bfloat16' ...; setting: 'none', 'mixup at layer1' ...
Works = Mapping[str, Callable[[], Any]]  # name -> D step, G step, step or mix, of one way in one setting
Times = dict[Key, dict[str, list[float]]]  # key -> name of a work -> its seconds in each round


class Column(NamedTuple):
    """A column of a printed table; `key` is the row's, and None digits mean text."""

    head: str
    key: str
    width: int
    digits: int | None = None

    def cell(self, value: str | float | tuple[float, ...]) -> str:
        """Return the head or a value as wide as the column, the numbers of a tuple joined by hyphens."""
        if not isinstance(value, str):
            numbers = value if isinstance(value, tuple) else (value,)
            value = "-".join(f"{number:.{self.digits}f}" for number in numbers)
        return value.ljust(self.width) if self.digits is None else value.rjust(self.width)


SETTING, WAY = Column("setting", "setting", 18), Column("way", "way", 18)
SPEEDUP = Column("x textbook", "speedup", 11, 2)
COST = Column("x none", "cost", 8, 3), Column("quartiles", "cost_quartiles", 12, 3)


def device_settings(way: str) -> dict[str, bool]:
    """Return the keys of the config's `device` section for one of our ways."""
    return {"bf16": way.endswith("bfloat16"), "compile": way.startswith("compiled")}


def device_for(settings: Device, ways: Sequence[str]) -> torch.device:
    """Return the config's device; raise UserError if it is missing or lacks what one of the ways needs."""
    compiles = any(device_settings(way)["compile"] for way in ways)
    return prepare_device(settings.model_copy(update={"compile": compiles}))


def changed(config: Config, **sections: Any) -> Config:
    """Return a copy of a config with other sections; a dict replaces only some keys of its section."""
    assert sections.keys() <= type(config).model_fields.keys(), f"not all sections of the config: {[*sections]}"
    for name, value in sections.items():
        section = getattr(config, name).model_copy(update=value) if isinstance(value, dict) else value
        config = config.model_copy(update={name: section})
    return config


def choose_settings(known: Sequence[str], only: Sequence[str] | None) -> list[str]:
    """Return the settings of `only` in the order of `known`, or all; raise UserError if one is unknown."""
    if unknown := [name for name in only or () if name not in known]:
        raise UserError(f"--settings: {unknown[0]!r} is not one of {', '.join(map(repr, known))}")
    return [name for name in known if only is None or name in only]


def made_images(num: int, channels: int, resolution: int, num_classes: int | None = None) -> ImageData:
    """Return images of noise, with labels if there are classes."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (num, channels, resolution, resolution), generator=draw)
    labels = None if num_classes is None else torch.randint(num_classes, (num,), generator=draw)
    return ImageData(pixels.to(torch.uint8), labels, "made", "train")


def measure(works: Mapping[Key, Works], rounds: int, device: torch.device) -> Times:
    """Time all works in each round, those of one way together."""
    keys_of = {way: [key for key in works if key[0] == way] for way, _ in works}
    times: Times = {key: {name: [] for name in works[key]} for keys in keys_of.values() for key in keys}
    for i in range(1 + rounds):
        for way, keys in keys_of.items():
            keep_freed_memory(way != TEXTBOOK)  # each way has the memory allocator that it has in practice
            for work in works[keys[0]].values():
                work()  # not timed: what the allocator gave back is faulted in anew
            for key in keys:
                for name, work in works[key].items():
                    seconds = _seconds(work, device)
                    if i > 0:  # the first round compiles and allocates
                        times[key][name].append(seconds)
        print(f"round {i} of {rounds}" if i else "warm", file=sys.stderr)
    return times


def compare(times: Times, total: str) -> list[dict[str, Any]]:
    """Return a row for each way and setting: its median seconds by name, and ratios of the seconds named `total`.

    `speedup` is the textbook's seconds over these, `cost` is these over those of the same way without mixup: medians of
    the ratios within each round, NaN if there is nothing to compare with. `speedup_quartiles` and `cost_quartiles` are
    the first and third quartile of the same ratios.
    """
    rows = []
    for (way, setting), seconds in times.items():
        row = {"setting": setting, "way": way, **{name: statistics.median(each) for name, each in seconds.items()}}
        textbook, none = times.get((TEXTBOOK, setting), {}), times.get((way, NONE), {})
        for key, over, under in (("speedup", textbook, seconds), ("cost", seconds, none)):
            ratios = np.divide(over.get(total, np.nan), under.get(total, np.nan))
            low, row[key], high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
            row[f"{key}_quartiles"] = low, high
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
    """Print tables and what they depend on, and write all of it as JSON to `output`.

    Args:
        sizes: `batch_size`, `rounds` and the like.
        tables: key of the rows in the file -> columns and rows.
    """
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 1024**3
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**3
    machine = {"hardware": hardware(device), "torch": torch.__version__}
    print(f"{machine['hardware']}; torch {machine['torch']}; {', '.join(f'{name} {n}' for name, n in sizes.items())}")
    for columns, rows in tables.values():
        if rows:
            print(" ".join(column.cell(column.head) for column in columns))
        for row in rows:
            print(" ".join(column.cell(row[column.key]) for column in columns))
    print(f"peak memory {peak:.2f} GiB")
    if output is not None:
        content = {**machine, **sizes, "config": config.model_dump(), "peak_memory_gib": peak}
        content |= {name: rows for name, (_, rows) in tables.items()}
        write_atomically(output, (json.dumps(content, indent=2) + "\n").encode())
        print(f"written to {output}", file=sys.stderr)


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    start = now()
    work()
    return now() - start
