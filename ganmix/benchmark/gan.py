"""D and G steps of a GAN config, ours and the textbook's: seconds, FLOPs, and what mixup costs."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ganmix.benchmark.textbook import TextbookGanTrainer
from ganmix.benchmark.timing import (
    NONE,
    TEXTBOOK,
    Column,
    Variant,
    check_ways,
    choose_settings,
    compare,
    device_settings,
    gflop,
    made_images,
    measure,
    report,
)
from ganmix.config.gan import GanConfig, Mixup
from ganmix.data import ImageData
from ganmix.engine.device import find_device
from ganmix.tasks.data import image_shape
from ganmix.tasks.gan import build_trainer

PAIRS: tuple[tuple[str, ...], ...] = (("FR",), ("FR", "FF"))
COLUMNS = (
    Column("setting", "setting", "<16"),
    Column("way", "way", "<18"),
    Column("D step s", "d_step", ">9.3f"),
    Column("G step s", "g_step", ">9.3f"),
    Column("iteration s", "iteration", ">12.3f"),
    Column("x textbook", "speedup", ">11.2f"),
    Column("x none", "cost", ">8.3f"),
    Column("quartiles", "cost_quartiles", ">12.3f"),
    Column("GFLOP", "gflop", ">9.1f"),
    Column("x none", "gflop_cost", ">8.3f"),
)


def benchmark_gan(
    config: GanConfig, *, ways: Sequence[str], only: Sequence[str] | None, rounds: int, output: Path | None
) -> None:
    """Print a table of all settings and ways, and write it as JSON.

    The penalty and the moving average, which the textbook's step has not, are left out.

    Args:
        ways: of 'float32', 'bfloat16', 'compiled-float32', 'compiled-bfloat16'; the textbook is always there.
        only: the settings to time, as the table calls them; None: all.
        rounds: timed repetitions of every variant, one after the other in turns; the medians are reported.
        output: the JSON file.

    Raises:
        UserError: a setting is unknown, or the device cannot compute so.
    """
    device = find_device(config.device.name)
    check_ways(ways, device)
    config = config.model_copy(update={"training": config.training.model_copy(update={"ema": None})})
    batch_size, n_dis = config.training.batch_size, config.training.n_dis
    data = made_images(4 * batch_size, *image_shape(config.data))
    boundaries = build_trainer(config.model_copy(update={"mixup": None}), data, device).discriminator.boundaries
    settings: dict[str, Mixup | None] = {NONE: None} | {
        f"{'+'.join(pairs)} at {name}": Mixup(alpha=0.2, stages=(k,), pairs=pairs, weights="paper")  # type: ignore[arg-type]
        for pairs in PAIRS
        for k, name in enumerate(boundaries)
    }
    variants, flops = [], {}
    for setting in choose_settings(list(settings), only):
        setting_config = config.model_copy(update={"mixup": settings[setting], "penalty": None})
        textbook = _textbook(setting_config, data, device, setting)
        variants += [textbook, *(_ours(setting_config, data, device, setting, way) for way in ways)]
        flops[TEXTBOOK, setting] = _gflop(textbook, n_dis)
        # Precision changes no count, and compiled code hides its operations from the counter.
        ours = _gflop(_ours(setting_config, data, device, setting, "float32"), n_dis)
        flops |= {(way, setting): ours for way in ways}
    times = measure(variants, rounds, device)
    rows = compare({key: [n_dis * d + g for d, g in pairs] for key, pairs in times.items()})
    for row in rows:
        key = row["way"], row["setting"]
        row["iteration"] = row.pop("seconds")
        row["d_step"] = statistics.median(d for d, _ in times[key])
        row["g_step"] = statistics.median(g for _, g in times[key])
        row["gflop"] = flops[key]
        row["gflop_cost"] = flops[key] / flops.get((row["way"], NONE), float("nan"))
    sizes = {"batch_size": batch_size, "n_dis": n_dis, "rounds": rounds}
    report(config, device, sizes, {"rows": (COLUMNS, rows)}, output)


def _ours(config: GanConfig, data: ImageData, device: torch.device, setting: str, way: str) -> Variant:
    settings = config.device.model_copy(update=device_settings(way))
    trainer = build_trainer(config.model_copy(update={"device": settings}), data, device)
    real, _ = trainer.batches.next()
    return Variant(way, setting, (lambda: trainer.discriminator_step(real), lambda: trainer.generator_step(real)))


def _textbook(config: GanConfig, data: ImageData, device: torch.device, setting: str) -> Variant:
    ours = build_trainer(config, data, device)
    real, _ = ours.batches.next()
    plain = TextbookGanTrainer(
        ours.generator, ours.discriminator, ours.loss, lr=config.training.lr, betas=config.training.betas
    )
    draw = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(len(real), config.generator.z, device=device)

    def discriminator_step() -> None:
        mixup, num = ours.mixup, len(real)
        plan = mixup.plan(num, draw, device) if mixup else None
        plain.discriminator_step(real, noise(), plan)

    return Variant(TEXTBOOK, setting, (discriminator_step, lambda: plain.generator_step(noise())))


def _gflop(variant: Variant, n_dis: int) -> float:
    """Return the counted FLOPs of an iteration, in 1e9."""
    discriminator_step, generator_step = variant.works
    return n_dis * gflop(discriminator_step) + gflop(generator_step)
