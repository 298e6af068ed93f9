"""From a batch of images to a classifier's logits and loss: what both classifier trainers compute."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.engine.device import autocast, compiled
from ganmix.losses import smooth
from ganmix.mixup import MixPlan
from ganmix.networks.classifier.base import Classifier
from ganmix.networks.classifier.layers import Dropout


@dataclass(eq=False)
class ClassifierPass:
    """The computation of logits and loss from a batch of images, mixed or not.

    Args:
        noise: standard deviation of Gaussian noise on the prepared images.
        generator: on the device; draws the noise and the network's dropout.
        loss_function: of `CLASSIFICATION_LOSSES`.
        bf16, compile: see `gan.GanSettings`.
    """

    network: Classifier
    _: KW_ONLY
    noise: float
    generator: torch.Generator
    loss_function: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    label_smoothing: float = 0.0
    bf16: bool = False
    compile: bool = False

    def __post_init__(self) -> None:
        self._forward: Callable[..., Tensor] = compiled(self.network) if self.compile else self.network
        for module in self.network.modules():
            if isinstance(module, Dropout):
                module.generator = self.generator

    def inputs(self, images: Tensor) -> Tensor:
        """Return the input of the network's stage 0 for images [N, C, R, R] in [-1, 1]."""
        prepared: Tensor = self.network.prepare(images)
        if not self.noise:
            return prepared
        noise = torch.randn(prepared.shape, generator=self.generator, device=prepared.device)
        return prepared + self.noise * noise

    def logits(self, inputs: Tensor, plan: MixPlan | None) -> Tensor:
        """Return the logits [N, K] of prepared images, or of their mixes, in float32."""
        with autocast(self.generator.device, self.bf16):
            return self._forward(inputs, plan).float()

    def loss(self, logits: Tensor, targets: Tensor, plan: MixPlan | None) -> Tensor:
        """Return the loss of logits; `targets` are those of the unmixed images, int64 [N] or float [N, K]."""
        if plan is not None or self.label_smoothing:
            targets = targets if targets.ndim == 2 else F.one_hot(targets, logits.shape[1]).float()
            targets = smooth(targets, self.label_smoothing)
        return self.loss_function(logits, targets if plan is None else plan.mixes(targets))
