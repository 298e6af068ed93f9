"""Semi-supervised training with mixup: the step, and nothing else. Manifold Mixup (arXiv 1806.05236 v1), algorithm 1;
algorithm 3 where the only stage is the input."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganmix.algorithms.optimise import Descent
from ganmix.algorithms.supervised import ClassifierPass, MixupSettings
from ganmix.data import ImageBatches
from ganmix.engine.streams import restore
from ganmix.mixup import MixPlan
from ganmix.networks.modes import batch_norms


class SemiSupervisedTrainer:
    """Trains a classifier on labelled images and on the consistency of mixes of unlabelled ones.

    Args:
        network_pass: of the network that `descent` trains.
        labelled, unlabelled: `next()` returns (images, labels or None); their states are saved with the trainer's.
        mixup: of labelled images; None: they are not mixed.
        unlabelled_mixup: of unlabelled images and their pseudo-labels.
        weight: the largest consistency coefficient, pi in the paper.
        ramp_steps: steps over which it rises to that.
        targets: the outputs that agree: "softmax" (the paper), or "logits" (the authors' code).
        batch_norm: statistics of the pseudo-labels' pass: "batch" or "running"; see `fixed_statistics`.
        generator: on the device, of augmentation and noise. plan_generator: on the CPU, of the mixing.
    """

    def __init__(
        self,
        network_pass: ClassifierPass,
        labelled: ImageBatches,
        unlabelled: ImageBatches,
        descent: Descent,
        *,
        mixup: MixupSettings | None,
        unlabelled_mixup: MixupSettings,
        weight: float,
        ramp_steps: int,
        targets: str = "softmax",
        batch_norm: str = "batch",
        generator: torch.Generator,
        plan_generator: torch.Generator,
    ):
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.descent = descent
        self.mixup = mixup
        self.unlabelled_mixup = unlabelled_mixup
        self.weight = weight
        self.ramp_steps = ramp_steps
        self.targets = targets
        self.batch_norm = batch_norm
        self.generator = generator
        self.plan_generator = plan_generator
        self.last_plan: MixPlan | None = None
        self._pass = network_pass

    @property
    def steps_done(self) -> int:
        return self.descent.steps_done

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step."""
        return self.descent.current_lr

    def step(self) -> dict[str, Tensor]:
        """Take one step of algorithm 1; return its terms and the consistency coefficient."""
        images, labels = self.labelled.next()
        assert labels is not None
        plan = self.mixup.plan(len(images), self.plan_generator, images.device) if self.mixup else None
        supervised = self._pass.loss(self._pass.logits(self._pass.inputs(images), plan), labels, plan)

        images, _ = self.unlabelled.next()
        inputs = self._pass.inputs(images)
        with torch.no_grad(), fixed_statistics(self._pass.network, self.batch_norm):
            pseudo_labels = self._outputs(self._pass.logits(inputs, None))
        plan = self.unlabelled_mixup.plan(len(images), self.plan_generator, images.device)
        outputs = self._outputs(self._pass.logits(inputs, plan))
        consistency = F.mse_loss(outputs, plan.mixes(pseudo_labels))

        pi = ramp_up(self.weight, self.steps_done, self.ramp_steps)
        self.descent.step(supervised + pi * consistency)
        self.last_plan = plan
        return {
            "loss": supervised.detach() + pi * consistency.detach(),
            "loss/supervised": supervised.detach(),
            "loss/consistency": consistency.detach(),
            "consistency_coefficient": torch.full_like(consistency.detach(), pi),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "generator": self.generator.get_state(),
            "plan_generator": self.plan_generator.get_state(),
            "labelled": self.labelled.state_dict(),
            "unlabelled": self.unlabelled.state_dict(),
            **self.descent.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called."""
        restore(self.generator, state["generator"])
        restore(self.plan_generator, state["plan_generator"])
        self.labelled.load_state_dict(state["labelled"])
        self.unlabelled.load_state_dict(state["unlabelled"])
        self.descent.load_state_dict(state)

    def _outputs(self, logits: Tensor) -> Tensor:
        return logits.softmax(1) if self.targets == "softmax" else logits


def ramp_up(weight: float, step: int, ramp_steps: int) -> float:
    """Return `weight` * exp(-5 (1 - t)^2), t the share of `ramp_steps` that is done, at most 1.

    Source: Tarvainen and Valpola 2017. It starts at exp(-5) = 0.0067, which the paper calls 0.
    """
    t = min(1.0, step / ramp_steps)
    return weight * math.exp(-5 * (1 - t) ** 2)


@contextmanager
def fixed_statistics(network: nn.Module, statistics: str) -> Iterator[None]:
    """Within, a network in training mode leaves the running means of its batch norms alone.

    Args:
        statistics: "batch": it normalises by each batch's own; "running": by the running means, as in evaluation mode.
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
