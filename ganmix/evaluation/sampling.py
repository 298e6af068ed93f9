"""Images from a generator, for scores and grids, without leaving a trace in the training."""

import torch
from torch import Tensor, nn

from ganmix.data import to_uint8

CHUNK = 256  # images at once; fixed, so that no score depends on a setting for it


@torch.no_grad()
def generate(generator: nn.Module, noise: Tensor) -> Tensor:
    """Return the images of noise [N, z], float [N, C, R, R] on the generator's device.

    Batch norm uses its running statistics; every module's mode is put back afterwards.
    """
    training = [module for module in generator.modules() if module.training]
    generator.eval()
    try:
        device = next(generator.parameters()).device
        return torch.cat([generator(part.to(device)) for part in noise.split(CHUNK)])
    finally:
        for module in training:
            module.training = True


def sample_images(generator: nn.Module, num: int, noise_size: int, seed: int) -> Tensor:
    """Draw `num` images, uint8 [num, C, R, R] on the CPU, rounded; the same for a seed."""
    noise = torch.randn(num, noise_size, generator=torch.Generator().manual_seed(seed))
    return torch.cat([to_uint8(generate(generator, part)).cpu() for part in noise.split(CHUNK)])
