"""Adversarial losses as functions of all logits of a step. A new one is an entry of `GAN_LOSSES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

ByGroup = Mapping[str, Tensor]  # "real", "fake" or the name of a pair -> [N]
Unary = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GanLoss:
    """A discriminator's and a generator's loss.

    Args:
        discriminator: from logits, and labels in [0, 1], 1 real, to the terms of D's loss, [N] each, under the name of
            the group that each is about.
        generator: from logits to G's loss, [N].
        paired: True: `generator` needs the logits of real images beside those of generated ones.
    """

    discriminator: Callable[[ByGroup, ByGroup], dict[str, Tensor]]
    generator: Callable[[ByGroup], Tensor]
    paired: bool = False


def unary(*, real: Unary, fake: Unary, generator: Unary) -> GanLoss:
    """Return the loss whose terms see one group of logits each.

    Args:
        real, fake: D's, for logits that it ought to call real or fake; in between linear in the label, as cross-entropy
            is (eq. 1).
        generator: G's, for the logits of generated images.
    """

    def discriminator(logits: ByGroup, labels: ByGroup) -> dict[str, Tensor]:
        return {name: labels[name] * real(f) + (1 - labels[name]) * fake(f) for name, f in logits.items()}

    return GanLoss(discriminator, lambda logits: generator(logits["fake"]))


GAN_LOSSES: dict[str, GanLoss] = {
    # Goodfellow et al. 2014, on logits: softplus(-f) is -log sigmoid(f) without its overflow
    "non_saturating": unary(
        real=lambda logits: F.softplus(-logits),
        fake=F.softplus,
        generator=lambda logits: F.softplus(-logits),
    ),
    # Lim & Ye 2017, Miyato et al. 2018
    "hinge": unary(
        real=lambda logits: F.relu(1 - logits),
        fake=lambda logits: F.relu(1 + logits),
        generator=lambda logits: -logits,
    ),
    # Arjovsky et al. 2017; wants a penalty or spectral norm to keep the discriminator Lipschitz
    "wasserstein": unary(
        real=lambda logits: -logits,
        fake=lambda logits: logits,
        generator=lambda logits: -logits,
    ),
}
