"""Seconds, FLOPs and memory of D and G steps, ours and the textbook's, measured in turns."""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ganmix.benchmark.textbook import TextbookTrainer
from ganmix.config.gan import GanConfig, Mixup
from ganmix.data import ImageData
from ganmix.errors import UserError
from ganmix.runs.gan import build_trainer
from ganmix.training.checkpoint import write_atomically
from ganmix.training.device import find_device, hardware, keep_freed_memory
from ganmix.training.gan import GanTrainer

PAIRS: tuple[tuple[str, ...], ...] = ((), ("FR",), ("FR", "FF"))


@dataclass(frozen=True)
class Variant:
    """One way to compute one setting: its steps, and what it is called.

    Args:
        way: 'textbook', 'float32', 'bfloat16', 'compiled' ...
        setting: 'none', 'FR at input', ...
    """

    way: str
    setting: str
    discriminator_step: Callable[[], Any]
    generator_step: Callable[[], Any]

    def prepare(self) -> None:
        """Give each way the memory allocator it has in practice."""
        keep_freed_memory(self.way != "textbook")


def run_benchmark(
    config: GanConfig,
    *,
    ways: list[str],
    only: list[str] | None,
    rounds: int,
    resolution: int,
    channels: int,
    output: Path | None,
) -> None:
    """Print a table of all settings and ways, and write it as JSON.

    Args:
        ways: of 'float32', 'bfloat16', 'compiled-float32', 'compiled-bfloat16'; the textbook is always there.
        only: the settings to time, as the table calls them; None: all.
        rounds: timed repetitions of every variant, one after the other in turns; the medians are reported.
        resolution, channels: of the made images.
        output: the JSON file.
    """
    device = find_device(config.device.name)
    batch_size, n_dis = config.training.batch_size, config.training.n_dis
    pixels = torch.randint(
        256, (4 * batch_size, channels, resolution, resolution), generator=torch.Generator().manual_seed(0)
    )
    data = ImageData(pixels.to(torch.uint8), None, "made", "train")
    boundaries = build_trainer(config.model_copy(update={"mixup": None}), data, device).discriminator.boundaries
    settings = [("none", (), 0)] + [
        (f"{'+'.join(pairs)} at {name}", pairs, k) for pairs in PAIRS[1:] for k, name in enumerate(boundaries)
    ]
    if unknown := set(only or ()) - {name for name, _, _ in settings}:
        known = ", ".join(repr(name) for name, _, _ in settings)
        raise UserError(f"--settings: {sorted(unknown)[0]!r} is not one of {known}")
    chosen = [setting for setting in settings if only is None or setting[0] in only]
    variants = []
    gflop = {}
    for name, pairs, k in chosen:
        mixup = Mixup(alpha=0.2, stages=(k,), pairs=pairs) if pairs else None  # type: ignore[arg-type]
        setting_config = config.model_copy(update={"mixup": mixup, "penalty": None})
        textbook = _textbook(setting_config, data, device, name)
        variants += [textbook, *(_ours(setting_config, data, device, name, way) for way in ways)]
        gflop["textbook", name] = _gflop(textbook, n_dis)
        # Precision changes no count, and compiled code hides its operations from the counter.
        ours = _gflop(_ours(setting_config, data, device, name, "float32"), n_dis)
        gflop |= {(way, name): ours for way in ways}
    variants.sort(key=lambda variant: ["textbook", *ways].index(variant.way))
    rows = _rows(_measure(variants, rounds, device), n_dis, gflop)
    print(f"{hardware(device)}; torch {torch.__version__}; batch {batch_size}, n_dis {n_dis}, {rounds} rounds")
    head = ["setting", "way", "D step s", "G step s", "iteration s", "x textbook", "x none", "GFLOP", "x none"]
    keys = ["setting", "way", "d_step", "g_step", "iteration", "speedup", "cost", "gflop", "gflop_cost"]
    formats = ["<16", "<18", ">9.3f", ">9.3f", ">12.3f", ">11.2f", ">8.3f", ">9.1f", ">8.3f"]
    print(" ".join(f"{name:{form.split('.')[0]}}" for name, form in zip(head, formats, strict=True)))
    for row in rows:
        print(" ".join(f"{row[key]:{form}}" for key, form in zip(keys, formats, strict=True)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 1024**3
    print(f"peak memory {peak:.2f} GiB")
    if output is not None:
        report = {
            "hardware": hardware(device),
            "torch": torch.__version__,
            "batch_size": batch_size,
            "n_dis": n_dis,
            "rounds": rounds,
            "config": config.model_dump(),
            "peak_memory_gib": peak,
            "rows": rows,
        }
        write_atomically(output, (json.dumps(report, indent=2) + "\n").encode())
        print(f"written to {output}", file=sys.stderr)


def _ours(config: GanConfig, data: ImageData, device: torch.device, setting: str, way: str) -> Variant:
    settings = config.device.model_copy(
        update={"bf16": way.endswith("bfloat16"), "compile": way.startswith("compiled")}
    )
    trainer: GanTrainer = build_trainer(config.model_copy(update={"device": settings}), data, device)
    real, _ = trainer.batches.next()
    return Variant(way, setting, lambda: trainer.discriminator_step(real), lambda: trainer.generator_step(real))


def _textbook(config: GanConfig, data: ImageData, device: torch.device, setting: str) -> Variant:
    ours = build_trainer(config, data, device)
    real, _ = ours.batches.next()
    plain = TextbookTrainer(
        ours.generator, ours.discriminator, ours.loss, lr=config.training.lr, betas=config.training.betas
    )
    draw = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(len(real), config.generator.z, device=device)

    def discriminator_step() -> None:
        mixup, num = ours.mixup, len(real)
        plan = mixup.plan(num, draw, device) if mixup else None
        plain.discriminator_step(real, noise(), plan)

    return Variant("textbook", setting, discriminator_step, lambda: plain.generator_step(noise()))


Times = dict[tuple[str, str], list[tuple[float, float]]]


def _measure(variants: list[Variant], rounds: int, device: torch.device) -> Times:
    """Return the seconds of a D and a G step of each (way, setting), a pair a round, all variants in turns."""
    times: Times = {(variant.way, variant.setting): [] for variant in variants}
    previous = None
    for i in range(1 + rounds):
        for variant in variants:
            if variant.way != previous:
                previous = variant.way
                variant.prepare()
                # What the allocator gave back is faulted in anew: not in the time of the steps to compare.
                variant.discriminator_step()
                variant.generator_step()
            pair = _seconds(variant.discriminator_step, device), _seconds(variant.generator_step, device)
            if i > 0:  # the first round compiles and allocates
                times[variant.way, variant.setting].append(pair)
        print(f"round {i} of {rounds}" if i else "warm", file=sys.stderr)
    return times


def _rows(times: Times, n_dis: int, gflop: dict[tuple[str, str], float]) -> list[dict[str, Any]]:
    """Return medians, and medians of the ratios within each round."""
    iterations = {key: [n_dis * d + g for d, g in pairs] for key, pairs in times.items()}
    rows = []
    for (way, setting), pairs in times.items():
        ours = iterations[way, setting]
        row = {
            "setting": setting,
            "way": way,
            "d_step": statistics.median(d for d, _ in pairs),
            "g_step": statistics.median(g for _, g in pairs),
            "iteration": statistics.median(ours),
            "speedup": _ratio(iterations["textbook", setting], ours),
            "cost": _ratio(ours, iterations.get((way, "none"), [])),
            "gflop": gflop[way, setting],
            "gflop_cost": gflop[way, setting] / gflop.get((way, "none"), float("nan")),
        }
        rows.append(row)
    return rows


def _ratio(a: list[float], b: list[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True)) if b else float("nan")


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _gflop(variant: Variant, n_dis: int) -> float:
    """Return the counted FLOPs of an iteration, in 1e9."""
    counts = []
    for work in (variant.discriminator_step, variant.generator_step):
        with FlopCounterMode(display=False) as counter:
            work()
        counts.append(counter.get_total_flops())
    return (n_dis * counts[0] + counts[1]) / 1e9
