"""Gradient penalties on the discriminator, unweighted. A new one is an entry of `PENALTIES`."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

Penalty = Callable[..., Tensor]


def zero_centred_real(
    discriminator: nn.Module, real: Tensor, fake: Tensor, *, of: str, generator: torch.Generator
) -> Tensor:
    """E ||grad_x f(x)||^2 over the real images (R1 without its 1/2, Mescheder et al. 2018).

    Args:
        real: images [N, C, H, W]; `fake` is not used.
        of: f is the 'logit', or its 'sigmoid' as in the Manifold Mixup authors' code.
    """
    output = discriminator if of == "logit" else lambda images: discriminator(images).sigmoid()
    return _squared_input_gradient(output, real).mean()


def interpolate(discriminator: nn.Module, real: Tensor, fake: Tensor, *, generator: torch.Generator) -> Tensor:
    """E (||grad_x D(x)|| - 1)^2 over random points between real and fake images (Gulrajani et al. 2017).

    Args:
        real, fake: images [N, C, H, W], as many of each.
        generator: on the CPU, for the points.
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


PENALTIES: dict[str, Penalty] = {"zero_centred_real": zero_centred_real, "interpolate": interpolate}
