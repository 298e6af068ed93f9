"""Time D and G steps of a GAN config, ours and the textbook's; count FLOPs and what mixup costs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ganmix.benchmark import timing
from ganmix.benchmark.textbook import TextbookGanTrainer
from ganmix.config.gan import GanConfig, Mixup
from ganmix.data import ImageData
from ganmix.mixup import no_mixes
from ganmix.tasks.data import image_shape
from ganmix.tasks.gan import build_trainer

PAIRS: tuple[tuple[str, ...], ...] = (("FR",), ("FR", "FF"))
STEPS = timing.Column("D step s", "d_step", 9, 3), timing.Column("G step s", "g_step", 9, 3)
ITERATION = timing.Column("iteration s", "iteration", 12, 3)
FLOPS = timing.Column("GFLOP", "gflop", 9, 1), timing.Column("x none", "gflop_cost", 8, 3)
COLUMNS = (timing.SETTING, timing.WAY, *STEPS, ITERATION, timing.SPEEDUP, *timing.COST, *FLOPS)


def benchmark_gan(
    config: GanConfig, *, ways: Sequence[str], only: Sequence[str] | None, rounds: int, output: Path | None
) -> None:
    """Print a table of all settings and ways, and write it as JSON to `output`.

    The textbook's step has no penalties and no moving average, so ours goes without them.

    Args:
        ways: 'float32', 'bfloat16', 'compiled-float32', 'compiled-bfloat16'; the textbook is always added.
        only: names in the table of the settings to time; None: all.
        rounds: timed repetitions of each way and setting, in turns; the medians are reported.

    Raises:
        UserError: a setting is unknown, or the device lacks what a way needs.
    """
    device = timing.device_for(config.device, ways)
    config = timing.changed(config, training={"ema": None}, penalties=(), mixup=None)
    batch_size, n_dis = config.training.batch_size, config.training.n_dis
    data = timing.made_images(4 * batch_size, *image_shape(config.data))
    boundaries = build_trainer(config, data, device).discriminator.boundaries
    settings: dict[str, Mixup | None] = {timing.NONE: None} | {
        f"{'+'.join(pairs)} at {name}": Mixup(alpha=0.2, stages=(k,), pairs=pairs, weights="paper")  # type: ignore[arg-type]
        for pairs in PAIRS
        for k, name in enumerate(boundaries)
    }
    works: dict[timing.Key, timing.Works] = {}
    flops: dict[timing.Key, float] = {}
    for setting in timing.choose_settings(list(settings), only):
        mixing = timing.changed(config, mixup=settings[setting])
        works[timing.TEXTBOOK, setting] = textbook = _textbook(mixing, data, device)
        works |= {(way, setting): _ours(mixing, data, device, way) for way in ways}
        # Precision changes no count, and compiled code hides its operations from the counter.
        ours = _gflop(_ours(mixing, data, device, "float32"), n_dis)
        flops |= {(timing.TEXTBOOK, setting): _gflop(textbook, n_dis)} | {(way, setting): ours for way in ways}
    times = timing.measure(works, rounds, device)
    for seconds in times.values():
        steps = zip(seconds["d_step"], seconds["g_step"], strict=True)
        seconds["iteration"] = [n_dis * d_step + g_step for d_step, g_step in steps]
    rows = timing.compare(times, "iteration")
    for row in rows:
        row["gflop"] = flops[row["way"], row["setting"]]
        row["gflop_cost"] = row["gflop"] / flops.get((row["way"], timing.NONE), float("nan"))
    sizes = {"batch_size": batch_size, "n_dis": n_dis, "rounds": rounds}
    timing.report(config, device, sizes, {"rows": (COLUMNS, rows)}, output)


def _ours(config: GanConfig, data: ImageData, device: torch.device, way: str) -> timing.Works:
    trainer = build_trainer(timing.changed(config, device=timing.device_settings(way)), data, device)
    real, _ = trainer.batches.next()
    return {
        "d_step": lambda: trainer.record_of(trainer.discriminator_step(real)),
        "g_step": partial(trainer.generator_step, real),
    }


def _textbook(config: GanConfig, data: ImageData, device: torch.device) -> timing.Works:
    ours = build_trainer(config, data, device)
    real, _ = ours.batches.next()
    adam = config.training.model_dump(include={"lr", "betas"})
    plain = TextbookGanTrainer(ours.generator, ours.discriminator, ours.loss, **adam)
    draw = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(len(real), config.generator.z, device=device)

    def discriminator_step() -> None:
        plan = ours.mixup.plan(len(real), draw) if ours.mixup else no_mixes(len(real))
        plain.discriminator_step(real, noise(), plan.to(device))

    return {"d_step": discriminator_step, "g_step": lambda: plain.generator_step(noise())}


def _gflop(works: timing.Works, n_dis: int) -> float:
    """Return the counted FLOPs of an iteration, in 1e9."""
    return n_dis * timing.gflop(works["d_step"]) + timing.gflop(works["g_step"])
