"""Semi-supervised training with mixup: the step, and nothing else. Manifold Mixup (arXiv 1806.05236 v1), algorithm 1;
algorithm 3 where the only stage is the input."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganmix.algorithms.classifier_pass import ClassifierPass
from ganmix.algorithms.optimise import Descent
from ganmix.algorithms.trainer import Batches, Trainer
from ganmix.mixup import ClassifierMixup
from ganmix.networks.classifier.base import Classifier
from ganmix.networks.modes import batch_norms


@dataclass(eq=False)
class SemiSupervisedTrainer(Trainer):
    """Trains a classifier on labelled images and on the consistency of mixes of unlabelled ones.

    Args:
        network_pass: of the network that `descent` trains.
        mixup: of labelled images; None: they are not mixed.
        unlabelled_mixup: of unlabelled images and their pseudo-labels.
        weight: largest consistency coefficient, pi in the paper.
        ramp_steps: steps over which the coefficient rises to `weight`.
        targets: the outputs to compare: "softmax" (the paper) or "logits" (the authors' code).
        batch_norm: statistics for computing pseudo-labels, "batch" or "running"; see `fixed_statistics`.
        generator: on the device; draws augmentation and noise. plan_generator: on the CPU; draws the mixing.
    """

    network_pass: ClassifierPass
    labelled: Batches
    unlabelled: Batches
    descent: Descent[Classifier]
    _: KW_ONLY
    mixup: ClassifierMixup | None
    unlabelled_mixup: ClassifierMixup
    weight: float
    ramp_steps: int
    targets: str = "softmax"
    batch_norm: str = "batch"
    generator: torch.Generator
    plan_generator: torch.Generator

    def step(self) -> dict[str, Tensor]:
        """Take one step; return its loss, the loss's two terms and the consistency coefficient."""
        supervised, consistency, pi = self.descend()
        return {
            "loss": supervised + pi * consistency,
            "loss/supervised": supervised,
            "loss/consistency": consistency,
            "consistency_coefficient": torch.full_like(consistency, pi),
        }

    def descend(self) -> tuple[Tensor, Tensor, float]:
        """Take a step of algorithm 1; return the labelled loss, the unlabelled loss, and the weight of the latter."""
        images, labels = self.labelled.next()
        assert labels is not None
        plan = self.mixup.plan(len(images), self.plan_generator).to(images.device) if self.mixup else None
        logits = self.network_pass.logits(self.network_pass.inputs(images), plan)
        supervised = self.network_pass.loss(logits, labels, plan)

        images, _ = self.unlabelled.next()
        inputs = self.network_pass.inputs(images)
        with torch.no_grad(), fixed_statistics(self.network_pass.network, self.batch_norm):
            pseudo_labels = self._outputs(self.network_pass.logits(inputs, None))
        self.last_plan = self.unlabelled_mixup.plan(len(images), self.plan_generator).to(images.device)
        outputs = self._outputs(self.network_pass.logits(inputs, self.last_plan))
        consistency = F.mse_loss(outputs, self.last_plan.mixes(pseudo_labels))

        pi = ramp_up(self.weight, self.steps_done, self.ramp_steps)
        self.descent.step(supervised + pi * consistency)
        return supervised.detach(), consistency.detach(), pi

    def parts(self) -> dict[str, Any]:
        streams = {"generator": self.generator, "plan_generator": self.plan_generator}
        return {**streams, "labelled": self.labelled, "unlabelled": self.unlabelled, **self.descent.parts()}

    def _outputs(self, logits: Tensor) -> Tensor:
        return logits.softmax(1) if self.targets == "softmax" else logits


def ramp_up(weight: float, step: int, ramp_steps: int) -> float:
    """Return `weight` * exp(-5 (1 - t)^2), with t = `step` / `ramp_steps`, at most 1 (Tarvainen and Valpola 2017).

    It starts at exp(-5) = 0.0067, which the paper calls 0.
    """
    t = min(1.0, step / ramp_steps)
    return weight * math.exp(-5 * (1 - t) ** 2)


@contextmanager
def fixed_statistics(network: nn.Module, statistics: str) -> Iterator[None]:
    """Keep a network in training mode from updating its running means.

    Args:
        statistics: what batch norm uses: "batch", each batch's own; "running", the running means, as in eval mode.
    """
    norms = batch_norms(network)
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        if statistics == "running":
            norm.eval()
        else:
            norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, (training, track) in zip(norms, before, strict=True):
            norm.train(training)
            norm.track_running_stats = track
