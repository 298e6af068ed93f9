"""Time the steps of a classifier config, ours and the authors'; count what mixup costs and what the mix alone takes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganmix.algorithms.supervised import SupervisedTrainer
from ganmix.benchmark import timing
from ganmix.benchmark.textbook import TextbookClassifierTrainer, mix, numpy_draw
from ganmix.config.classifier import ClassifierConfig
from ganmix.data import DATASETS, ImageData
from ganmix.engine.device import autocast
from ganmix.mixup import ClassifierMixup
from ganmix.networks.classifier import Classifier
from ganmix.tasks.classifier import Images, build_trainer
from ganmix.tasks.data import image_shape

ALPHA = 2.0  # of the mixing, whose time does not depend on it
SGD = {"lr", "momentum", "nesterov", "weight_decay"}
STEP = timing.Column("step s", "step", 9, 4), timing.Column("images/s", "images_per_second", 9, 1)
COLUMNS = (timing.SETTING, timing.WAY, *STEP, timing.SPEEDUP, *timing.COST)
MIX = timing.Column("ms", "milliseconds", 9, 2), timing.Column("% of step", "percent_of_step", 9, 2)
MIX_COLUMNS = (timing.SETTING._replace(head="the mix alone"), timing.WAY, *MIX, timing.SPEEDUP)


def benchmark_classifier(
    config: ClassifierConfig, *, ways: Sequence[str], only: Sequence[str] | None, rounds: int, output: Path | None
) -> None:
    """Print a table of all settings and ways, and one of the mix alone, and write both as JSON to `output`.

    A step goes from images in memory to the optimiser. The textbook's step has no CutMix, unlabelled images, L1 or
    moving average, so ours goes without them. For the arguments see `gan.benchmark_gan`.

    Raises:
        UserError: a setting is unknown, or the device lacks what a way needs.
    """
    device = timing.device_for(config.device, ways)
    training = {"decay": "constant", "drops": (), "l1": 0.0, "ema": None}
    config = timing.changed(config, training=training, mixup=None, cutmix=None, semi_supervised=None)
    batch_size = config.training.batch_size
    data = timing.made_images(4 * batch_size, *image_shape(config.data), DATASETS[config.data.name].num_classes)
    trainers = {way: _trainer(config, data, device, way) for way in ways}
    source = _trainer(config, data, device, "float32")  # of the textbook's weights and batches
    textbook = TextbookClassifierTrainer(source.network_pass.network, **config.training.model_dump(include=SGD))
    stages = {f"mixup at {name}": k for k, name in enumerate(textbook.network.boundaries)}
    steps: dict[timing.Key, timing.Works] = {}
    mixes: dict[timing.Key, timing.Works] = {}
    for setting in timing.choose_settings([timing.NONE, *stages], only):
        k = stages.get(setting)
        steps[timing.TEXTBOOK, setting] = {"step": _textbook_step(textbook, source, k)}
        steps |= {(way, setting): {"step": _step(trainer, k)} for way, trainer in trainers.items()}
        if k is not None:
            mixes[timing.TEXTBOOK, setting] = {"mix": _textbook_mix(textbook, source, k)}
            for way, trainer in trainers.items():
                if not way.startswith("compiled"):  # compiled code fuses the mix with what stands beside it
                    mixes[way, setting] = {"mix": _mix(trainer, k, way)}
    rows = timing.compare(timing.measure(steps, rounds, device), "step")
    for row in rows:
        row["images_per_second"] = batch_size / row["step"]
    step_seconds = {row["way"]: row["step"] for row in rows if row["setting"] == timing.NONE}
    mix_rows = timing.compare(timing.measure(mixes, rounds, device), "mix") if mixes else []
    for row in mix_rows:
        seconds = row.pop("mix")
        del row["cost"], row["cost_quartiles"]  # there is no mix without mixup to compare with
        row["milliseconds"] = 1000 * seconds
        row["percent_of_step"] = 100 * seconds / step_seconds.get(row["way"], float("nan"))
    sizes = {"batch_size": batch_size, "rounds": rounds}
    timing.report(config, device, sizes, {"rows": (COLUMNS, rows), "mixes": (MIX_COLUMNS, mix_rows)}, output)


def _trainer(config: ClassifierConfig, data: ImageData, device: torch.device, way: str) -> SupervisedTrainer:
    images = Images(data, data, held_out={})
    trainer = build_trainer(timing.changed(config, device=timing.device_settings(way)), images, 1, 1, device)
    assert isinstance(trainer, SupervisedTrainer)
    return trainer


def _step(trainer: SupervisedTrainer, k: int | None) -> Callable[[], Any]:
    """Return our step with mixup at stage k; None: without mixup."""
    mixup = None if k is None else ClassifierMixup(stages=(k,), alpha=ALPHA)

    def step() -> None:
        trainer.mixup = mixup  # one trainer for all settings: one set of weights, the same for each
        trainer.step()

    return step


def _textbook_step(textbook: TextbookClassifierTrainer, source: SupervisedTrainer, k: int | None) -> Callable[[], Any]:
    draw = None if k is None else numpy_draw([k], ALPHA, np.random.default_rng(0))

    def step() -> None:
        images, labels = source.batches.next()
        assert labels is not None
        textbook.step(source.network_pass.inputs(images), labels, draw)

    return step


def _mix(trainer: SupervisedTrainer, k: int, way: str) -> Callable[[], Any]:
    """Return the mixing of our hidden states at stage k, forward and backward."""
    network, (images, _) = trainer.network_pass.network, trainer.batches.next()
    plan = ClassifierMixup(stages=(k,), alpha=ALPHA).plan(len(images), torch.Generator().manual_seed(0))
    with autocast(images.device, timing.device_settings(way)["bf16"]):
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
