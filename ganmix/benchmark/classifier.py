"""Steps of a classifier config, ours and the authors' way: seconds, what mixup costs, and what the mix alone takes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganmix.algorithms.supervised import ClassifierPass, MixupSettings, SupervisedTrainer
from ganmix.benchmark.textbook import TextbookClassifierTrainer, mix, numpy_draw
from ganmix.benchmark.timing import (
    NONE,
    TEXTBOOK,
    Column,
    Variant,
    check_ways,
    choose_settings,
    compare,
    device_settings,
    made_images,
    measure,
    report,
)
from ganmix.config.classifier import ClassifierConfig
from ganmix.data import NUM_CLASSES, ImageData
from ganmix.engine.device import autocast, find_device
from ganmix.mixup import classifier_plan
from ganmix.networks.classifier import Classifier
from ganmix.tasks.classifier import Images, build_trainer
from ganmix.tasks.data import image_shape

ALPHA = 2.0  # of the mixing, whose time does not depend on it
SGD = {"lr", "momentum", "nesterov", "weight_decay"}
COLUMNS = (
    Column("setting", "setting", "<18"),
    Column("way", "way", "<18"),
    Column("step s", "step", ">9.4f"),
    Column("images/s", "images_per_second", ">9.1f"),
    Column("x textbook", "speedup", ">11.2f"),
    Column("x none", "cost", ">8.3f"),
    Column("quartiles", "cost_quartiles", ">12.3f"),
)
MIX_COLUMNS = (
    Column("the mix alone", "setting", "<18"),
    Column("way", "way", "<18"),
    Column("ms", "milliseconds", ">9.2f"),
    Column("% of step", "percent_of_step", ">9.2f"),
    Column("x textbook", "speedup", ">11.2f"),
)


def benchmark_classifier(
    config: ClassifierConfig, *, ways: Sequence[str], only: Sequence[str] | None, rounds: int, output: Path | None
) -> None:
    """Print a table of all settings and ways, and one of the mix alone, and write them as JSON.

    A step is all of it, from images in memory to the optimiser. CutMix, unlabelled images, L1 and the moving average,
    which the textbook's step has not, are left out.

    Args:
        ways, only, rounds, output: see `gan.benchmark_gan`.

    Raises:
        UserError: a setting is unknown, or the device cannot compute so.
    """
    device = find_device(config.device.name)
    check_ways(ways, device)
    training = config.training.model_copy(update={"decay": "constant", "drops": (), "l1": 0.0, "ema": None})
    changes = {"training": training, "mixup": None, "cutmix": None, "semi_supervised": None}
    config = config.model_copy(update=changes)
    batch_size = config.training.batch_size
    data = made_images(4 * batch_size, *image_shape(config.data), NUM_CLASSES[config.data.name])
    trainers = {way: _trainer(config, data, device, way) for way in ways}
    source = _trainer(config, data, device, "float32")  # of the textbook's weights and batches
    textbook = TextbookClassifierTrainer(_network(source), **config.training.model_dump(include=SGD))
    stages = {f"mixup at {name}": k for k, name in enumerate(textbook.network.boundaries)}
    chosen = choose_settings([NONE, *stages], only)
    variants, mixes = [], []
    for setting in chosen:
        k = stages.get(setting)
        variants.append(Variant(TEXTBOOK, setting, [_textbook_step(textbook, source, config.data.noise, k)]))
        variants += [Variant(way, setting, [_step(trainer, k)]) for way, trainer in trainers.items()]
        if k is not None:
            mixes.append(Variant(TEXTBOOK, setting, [_textbook_mix(textbook, source, k)]))
            # In compiled code there is no mix alone: it is fused with what stands beside it.
            eager = {way: trainer for way, trainer in trainers.items() if not device_settings(way)["compile"]}
            mixes += [Variant(way, setting, [_mix(trainer, k, way)]) for way, trainer in eager.items()]
    rows = _compare(variants, rounds, device)
    for row in rows:
        row["step"] = row.pop("seconds")
        row["images_per_second"] = batch_size / row["step"]
    steps = {row["way"]: row["step"] for row in rows if row["setting"] == NONE}
    mix_rows = _compare(mixes, rounds, device) if mixes else []
    for row in mix_rows:
        seconds = row.pop("seconds")
        row["milliseconds"] = 1000 * seconds
        row["percent_of_step"] = 100 * seconds / steps.get(row["way"], float("nan"))
        del row["cost"], row["cost_quartiles"]
    sizes = {"batch_size": batch_size, "rounds": rounds}
    report(config, device, sizes, {"rows": (COLUMNS, rows), "mixes": (MIX_COLUMNS, mix_rows)}, output)


def _trainer(config: ClassifierConfig, data: ImageData, device: torch.device, way: str) -> SupervisedTrainer:
    settings = config.device.model_copy(update=device_settings(way))
    images = Images(data, data, held_out={})
    trainer = build_trainer(config.model_copy(update={"device": settings}), images, 1, 1, device)
    assert isinstance(trainer, SupervisedTrainer)
    return trainer


def _step(trainer: SupervisedTrainer, k: int | None) -> Callable[[], Any]:
    """Return our step with mixup at stage k; None: without."""
    mixup = None if k is None else MixupSettings(stages=(k,), alpha=ALPHA)

    def step() -> None:
        trainer.mixup = mixup  # one trainer for all settings: one set of weights, the same for each
        trainer.step()

    return step


def _textbook_step(
    textbook: TextbookClassifierTrainer, source: SupervisedTrainer, noise: float, k: int | None
) -> Callable[[], Any]:
    inputs = ClassifierPass(_network(source), noise=noise, generator=source.generator).inputs
    draw = None if k is None else numpy_draw([k], ALPHA, np.random.default_rng(0))

    def step() -> None:
        images, labels = source.batches.next()
        assert labels is not None
        textbook.step(inputs(images), labels, draw)

    return step


def _mix(trainer: SupervisedTrainer, k: int, way: str) -> Callable[[], Any]:
    """Return the mixing of our hidden states at stage k, forward and backward."""
    network, (images, _) = _network(trainer), trainer.batches.next()
    plan = classifier_plan(len(images), stages=(k,), alpha=ALPHA, generator=torch.Generator().manual_seed(0))
    with autocast(images.device, device_settings(way)["bf16"]):
        return _forward_and_backward(plan.to(images.device).mixes, network, images, k)


def _textbook_mix(textbook: TextbookClassifierTrainer, source: SupervisedTrainer, k: int) -> Callable[[], Any]:
    images, _ = source.batches.next()
    _, weight, partner = numpy_draw([k], ALPHA, np.random.default_rng(0))(len(images))
    lam = torch.tensor([weight], dtype=torch.float32, device=images.device)
    return _forward_and_backward(lambda h: mix(h, lam, partner), textbook.network, images, k)


@torch.no_grad()
def _forward_and_backward(
    mixing: Callable[[Tensor], Tensor], network: Classifier, images: Tensor, k: int
) -> Callable[[], Any]:
    h = network.hidden(network.prepare(images), k).requires_grad_(k > 0)  # the input needs no gradient
    gradient = torch.ones_like(h)

    def work() -> None:
        mixed = mixing(h)
        if h.requires_grad:
            torch.autograd.grad(mixed, h, gradient)

    return work


def _compare(variants: Sequence[Variant], rounds: int, device: torch.device) -> list[dict[str, Any]]:
    times = measure(variants, rounds, device)
    return compare({key: [seconds for (seconds,) in turns] for key, turns in times.items()})


def _network(trainer: SupervisedTrainer) -> Classifier:
    network = trainer.descent.shown_network
    assert isinstance(network, Classifier)
    return network
