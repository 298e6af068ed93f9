"""Supervised training with mixup: the step, and nothing else. Manifold Mixup (arXiv 1806.05236 v1), algorithm 2."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from ganmix.algorithms.classifier_pass import ClassifierPass
from ganmix.algorithms.optimise import Descent
from ganmix.algorithms.trainer import Batches, Trainer
from ganmix.mixup import ClassifierMixup
from ganmix.networks.classifier.base import Classifier

CutMix = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(eq=False)
class SupervisedTrainer(Trainer):
    """Trains a classifier on labelled images, with mixup, CutMix or neither.

    Args:
        network_pass: of the network that `descent` trains.
        batches: of labelled images.
        mixup: stage 0 is input mixup.
        cutmix: see `cutmix`; excludes mixup.
        generator: on the device; draws augmentation and noise. plan_generator: on the CPU; draws the mixing.
    """

    network_pass: ClassifierPass
    batches: Batches
    descent: Descent[Classifier]
    _: KW_ONLY
    generator: torch.Generator
    plan_generator: torch.Generator
    mixup: ClassifierMixup | None = None
    cutmix: CutMix | None = None

    def step(self) -> dict[str, Tensor]:
        """Take one step; return the loss, and the accuracy on the batch if its images are not mixed."""
        images, labels = self.batches.next()
        assert labels is not None
        loss, logits = self.descend(images, labels)
        record = {"loss": loss.detach()}
        if self.mixup is None and self.cutmix is None:
            record["accuracy"] = 100 * (logits.argmax(1) == labels).float().mean()
        return record

    def descend(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Take a step of algorithm 2 on images [N, C, R, R] and their classes; return its loss and logits."""
        targets = labels
        if self.cutmix is not None:
            images, targets = self.cutmix(images, labels, self.plan_generator)
        plan = self.mixup.plan(len(images), self.plan_generator).to(images.device) if self.mixup else None
        logits = self.network_pass.logits(self.network_pass.inputs(images), plan)
        loss = self.network_pass.loss(logits, targets, plan)
        self.descent.step(loss)
        self.last_plan = plan
        return loss, logits

    def parts(self) -> dict[str, Any]:
        streams = {"generator": self.generator, "plan_generator": self.plan_generator}
        return {**streams, "batches": self.batches, **self.descent.parts()}


def cutmix(alpha: float, num_classes: int) -> CutMix:
    """Return torchvision's CutMix: (images, labels, a generator on the CPU) -> mixes and their soft labels."""
    from torchvision.transforms import v2

    mix = v2.CutMix(alpha=alpha, num_classes=num_classes)

    def draw(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):  # v2.CutMix draws from the CPU's global generator
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs' too
            mixed: tuple[Tensor, Tensor] = mix(images, labels)
        return mixed

    return draw
