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
    rows = []
    print(f"{hardware(device)}; torch {torch.__version__}; batch {batch_size}, n_dis {n_dis}, {rounds} rounds")
    print(
        f"{'setting':<18}{'way':<20}{'D step s':>10}{'G step s':>10}{'iteration s':>13}{'x textbook':>12}{'GFLOP':>9}"
    )
    for name, pairs, k in settings:
        if only and name not in only:
            continue
        mixup = Mixup(alpha=0.2, stages=(k,), pairs=pairs) if pairs else None  # type: ignore[arg-type]
        setting_config = config.model_copy(update={"mixup": mixup, "penalty": None})
        variants = [_textbook(setting_config, data, device, name)]
        variants += [_ours(setting_config, data, device, name, way) for way in ways]
        for row in _measure(variants, n_dis, rounds, device):
            rows.append(row)
            print(
                f"{row['setting']:<18}{row['way']:<20}{row['d_step']:>10.4f}{row['g_step']:>10.4f}"
                f"{row['iteration']:>13.4f}{row['speedup']:>12.2f}{row['gflop']:>9.1f}",
                flush=True,
            )
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


def _measure(variants: list[Variant], n_dis: int, rounds: int, device: torch.device) -> list[dict[str, Any]]:
    d_times: dict[str, list[float]] = {variant.way: [] for variant in variants}
    g_times: dict[str, list[float]] = {variant.way: [] for variant in variants}
    for variant in variants * (1 + rounds):
        variant.prepare()
        d_times[variant.way].append(_seconds(variant.discriminator_step, device))
        g_times[variant.way].append(_seconds(variant.generator_step, device))
    for times in (*d_times.values(), *g_times.values()):
        del times[0]  # it compiled and allocated
    iterations = {way: [n_dis * d + g for d, g in zip(d_times[way], g_times[way], strict=True)] for way in d_times}
    rows = []
    for variant in variants:
        way = variant.way
        pairs = zip(iterations["textbook"], iterations[way], strict=True)
        gflop = n_dis * _gflop(variant.discriminator_step) + _gflop(variant.generator_step)
        rows.append(
            {
                "setting": variant.setting,
                "way": way,
                "d_step": statistics.median(d_times[way]),
                "g_step": statistics.median(g_times[way]),
                "iteration": statistics.median(iterations[way]),
                "speedup": statistics.median(theirs / ours for theirs, ours in pairs),
                "gflop": gflop,
            }
        )
    return rows


def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _gflop(work: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9
