"""Gradient penalties on the discriminator. A new one is an entry of `PENALTIES`."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Penalty:
    """A penalty and how it is applied.

    Args:
        function: of `PENALTIES`, with its options bound.
        weight: > 0.
        every: compute it in one of so many D steps, with so many times its weight (lazy regularisation, Karras et al.
            2020).
        own_step: True: D descends it in a step of its own, after the step of its loss; False: it is a term of D's loss.
    """

    function: Callable[..., Tensor]
    weight: float
    every: int = 1
    own_step: bool = False

    def __call__(self, discriminator: nn.Module, real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
        """Return what D descends, 0-d."""
        return self.weight * self.every * self.function(discriminator, real, fake, generator=generator)


def zero_centred_real(
    discriminator: nn.Module, real: Tensor, fake: Tensor, *, of: str, generator: torch.Generator
) -> Tensor:
    """E ||grad_x f(x)||^2 over the real images [N, C, H, W] (R1 without its 1/2, Mescheder et al. 2018).

    Args:
        of: f is the 'logit', or its 'sigmoid' as in the Manifold Mixup authors' code.
    """
    output = discriminator if of == "logit" else lambda images: discriminator(images).sigmoid()
    return _squared_input_gradient(output, real).mean()


def interpolate(discriminator: nn.Module, real: Tensor, fake: Tensor, *, generator: torch.Generator) -> Tensor:
    """E (||grad_x D(x)|| - 1)^2 over points between real and fake images [N, C, H, W] (Gulrajani et al. 2017).

    `generator` is on the CPU and draws the points.
    """
    weight = torch.rand(len(real), 1, 1, 1, generator=generator).to(real, non_blocking=True)
    squared_norm = _squared_input_gradient(discriminator, torch.lerp(fake, real, weight))
    # The square root has no derivative at 0, which a dead discriminator reaches.
    return ((squared_norm + 1e-12).sqrt() - 1).square().mean()


def _squared_input_gradient(outer: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return ||grad_x outer(x)||^2 for each image [N], differentiable once more."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(outer(images).sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(1)


PENALTIES: dict[str, Callable[..., Tensor]] = {"zero_centred_real": zero_centred_real, "interpolate": interpolate}
