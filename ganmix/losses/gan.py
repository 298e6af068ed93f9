"""Adversarial losses of all logits of a step. A new one is an entry of `GAN_LOSSES`."""

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
        discriminator: (logits, labels in [0, 1] with 1 for real) -> the terms of D's loss by group, [N] each.
        generator: logits -> G's loss, [N].
        paired: True: `generator` needs the logits of real images too.
    """

    discriminator: Callable[[ByGroup, ByGroup], dict[str, Tensor]]
    generator: Callable[[ByGroup], Tensor]
    paired: bool = False


def unary(*, real: Unary, fake: Unary, generator: Unary) -> GanLoss:
    """Return the loss of which each term sees one group of logits.

    Args:
        real, fake: D's loss at labels 1 and 0; in between it is linear in the label, as cross-entropy is (eq. 1).
        generator: G's loss on logits of generated images.
    """

    def discriminator(logits: ByGroup, labels: ByGroup) -> dict[str, Tensor]:
        return {name: labels[name] * real(f) + (1 - labels[name]) * fake(f) for name, f in logits.items()}

    return GanLoss(discriminator, lambda logits: generator(logits["fake"]))


GAN_LOSSES: dict[str, GanLoss] = {
    # Goodfellow et al. 2014: softplus(-f) is -log sigmoid(f) without its overflow.
    "non_saturating": unary(real=lambda f: F.softplus(-f), fake=F.softplus, generator=lambda f: F.softplus(-f)),
    # Lim and Ye 2017, Miyato et al. 2018.
    "hinge": unary(real=lambda f: F.relu(1 - f), fake=lambda f: F.relu(1 + f), generator=lambda f: -f),
    # Arjovsky et al. 2017. A penalty or spectral norm must keep D Lipschitz.
    "wasserstein": unary(real=lambda f: -f, fake=lambda f: f, generator=lambda f: -f),
}
