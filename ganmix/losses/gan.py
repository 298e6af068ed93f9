"""Adversarial losses as functions of logits. A new one is an entry of `GAN_LOSSES`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class GanLoss:
    """Three functions from logits [N] to losses [N].

    Args:
        real, fake: the discriminator's, for a logit that ought to be called real or fake.
        generator: the generator's, for the logit of a generated image.
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]

    def soft(self, logits: Tensor, label: Tensor) -> Tensor:
        """The discriminator's loss for a label in [0, 1], 1 real: linear in it, as cross-entropy is (eq. 1)."""
        return label * self.real(logits) + (1 - label) * self.fake(logits)


GAN_LOSSES: dict[str, GanLoss] = {
    # Goodfellow et al. 2014, on logits: softplus(-f) is -log sigmoid(f) without its overflow
    "non_saturating": GanLoss(
        real=lambda logits: F.softplus(-logits),
        fake=F.softplus,
        generator=lambda logits: F.softplus(-logits),
    ),
    # Lim & Ye 2017, Miyato et al. 2018
    "hinge": GanLoss(
        real=lambda logits: F.relu(1 - logits),
        fake=lambda logits: F.relu(1 + logits),
        generator=lambda logits: -logits,
    ),
    # Arjovsky et al. 2017; wants a penalty or spectral norm to keep the discriminator Lipschitz
    "wasserstein": GanLoss(
        real=lambda logits: -logits,
        fake=lambda logits: logits,
        generator=lambda logits: -logits,
    ),
}
