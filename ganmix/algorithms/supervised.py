"""Supervised training with mixup: the step, and nothing else. Manifold Mixup (arXiv 1806.05236 v1), algorithm 2."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.algorithms.optimise import Descent
from ganmix.data import ImageBatches
from ganmix.engine.device import autocast, compiled
from ganmix.engine.streams import restore
from ganmix.losses import CLASSIFICATION_LOSSES, smooth
from ganmix.mixup import MixPlan, classifier_plan
from ganmix.networks.classifier.base import Classifier
from ganmix.networks.classifier.layers import Dropout


@dataclass(frozen=True)
class MixupSettings:
    """How a batch is mixed; the drawing is `mixup.classifier_plan`, whose arguments these are.

    Args:
        block_gradients: True: the layers below the mix stand still in that step, since torch's zero_grad leaves them
            no gradient at all: neither momentum nor weight decay moves them; see `MixPlan`.
    """

    stages: tuple[int, ...]
    alpha: float
    lam_per: str = "batch"
    block_gradients: bool = False

    def plan(self, num: int, generator: torch.Generator, device: torch.device) -> MixPlan:
        """Draw the plan of one batch of `num` images."""
        return classifier_plan(
            num,
            stages=self.stages,
            alpha=self.alpha,
            generator=generator,
            lam_per=self.lam_per,
            block_gradients=self.block_gradients,
        ).to(device)


class ClassifierPass:
    """A network's way from a batch of images, mixed or not, to logits and a loss: what both trainers do.

    Args:
        noise: standard deviation of Gaussian noise on the prepared images.
        generator: on the device, for the noise and the network's dropout.
        loss: a key of `CLASSIFICATION_LOSSES`.
        bf16, compile: see `training.gan.GanTrainer`.
    """

    def __init__(
        self,
        network: Classifier,
        *,
        noise: float,
        generator: torch.Generator,
        loss: str = "cross_entropy",
        label_smoothing: float = 0.0,
        bf16: bool = False,
        compile: bool = False,
    ):
        self.network = network
        self._noise = noise
        self._generator = generator
        self._loss = CLASSIFICATION_LOSSES[loss]
        self._smoothing = label_smoothing
        self._forward: Callable[..., Tensor] = compiled(network) if compile else network
        self._autocast = partial(autocast, generator.device, bf16)
        for module in network.modules():
            if isinstance(module, Dropout):
                module.generator = generator

    def inputs(self, images: Tensor) -> Tensor:
        """Return what the network's stage 0 gets of images [N, C, R, R] in [-1, 1]."""
        prepared: Tensor = self.network.prepare(images)
        if not self._noise:
            return prepared
        noise = torch.randn(prepared.shape, generator=self._generator, device=prepared.device)
        return prepared + self._noise * noise

    def logits(self, inputs: Tensor, plan: MixPlan | None) -> Tensor:
        """Return the logits [N, K] of prepared images, or of their mixes, in float32."""
        with self._autocast():
            return self._forward(inputs, plan).float()

    def loss(self, logits: Tensor, targets: Tensor, plan: MixPlan | None) -> Tensor:
        """Return the loss of logits.

        Args:
            targets: int64 [N] or float [N, K], of the images before the plan mixed them.
        """
        if plan is not None or self._smoothing:
            targets = targets if targets.ndim == 2 else F.one_hot(targets, logits.shape[1]).float()
            targets = smooth(targets, self._smoothing)
        return self._loss(logits, targets if plan is None else plan.mixes(targets))


class SupervisedTrainer:
    """Trains a classifier on labelled images, with mixup, CutMix or neither.

    Args:
        network_pass: of the network that `descent` trains.
        batches: `next()` returns (images, labels); its state is saved with the trainer's.
        mixup: input mixup is that of stage 0.
        cutmix_alpha: of CutMix, which takes the place of mixup.
        generator: on the device, of the augmentation and noise. plan_generator: on the CPU, of the mixing.
    """

    def __init__(
        self,
        network_pass: ClassifierPass,
        batches: ImageBatches,
        descent: Descent,
        *,
        mixup: MixupSettings | None = None,
        cutmix_alpha: float | None = None,
        generator: torch.Generator,
        plan_generator: torch.Generator,
    ):
        self.batches = batches
        self.mixup = mixup
        self.generator = generator
        self.plan_generator = plan_generator
        self.descent = descent
        self.last_plan: MixPlan | None = None
        self._pass = network_pass
        self._cutmix = cutmix(cutmix_alpha, network_pass.network.num_classes) if cutmix_alpha else None

    @property
    def steps_done(self) -> int:
        return self.descent.steps_done

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step."""
        return self.descent.current_lr

    def step(self) -> dict[str, Tensor]:
        """Take one step; return the loss, and the accuracy on the batch where its images are not mixed."""
        images, labels = self.batches.next()
        assert labels is not None
        targets = labels
        if self._cutmix is not None:
            images, targets = self._cutmix(images, labels, self.plan_generator)
        plan = self.mixup.plan(len(images), self.plan_generator, images.device) if self.mixup else None
        logits = self._pass.logits(self._pass.inputs(images), plan)
        loss = self._pass.loss(logits, targets, plan)
        self.descent.step(loss)
        self.last_plan = plan
        record = {"loss": loss.detach()}
        if plan is None and self._cutmix is None:
            record["accuracy"] = 100 * (logits.argmax(1) == labels).float().mean()
        return record

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "generator": self.generator.get_state(),
            "plan_generator": self.plan_generator.get_state(),
            "batches": self.batches.state_dict(),
            **self.descent.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called."""
        restore(self.generator, state["generator"])
        restore(self.plan_generator, state["plan_generator"])
        self.batches.load_state_dict(state["batches"])
        self.descent.load_state_dict(state)


def cutmix(alpha: float, num_classes: int) -> Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]:
    """Return torchvision's CutMix: from images, labels and a generator on the CPU to mixes and their soft labels."""
    from torchvision.transforms.v2 import CutMix

    mix = CutMix(alpha=alpha, num_classes=num_classes)

    def draw(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):  # it draws from the CPU's global generator
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the GPUs' too
            mixed: tuple[Tensor, Tensor] = mix(images, labels)
        return mixed

    return draw
