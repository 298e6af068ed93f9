"""Images from a generator, for scores and grids, without effect on its training."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganmix.data import to_uint8
from ganmix.evaluation.gan.features import PASS
from ganmix.networks.modes import batch_norms, evaluating

STANDING_PASSES = 100  # batch norm's 'standing' statistics are means over this many passes


@torch.no_grad()
def generate(generator: nn.Module, noise: Tensor) -> Tensor:
    """Return the images of noise [N, z], float [N, C, R, R] on the generator's device.

    Batch norm uses its running statistics; afterwards every module has its own mode again.
    """
    device = next(generator.parameters()).device
    with evaluating(generator), torch.autocast(device.type, enabled=False):
        return torch.cat([generator(part.to(device)) for part in noise.split(PASS)])


def generate_bytes(generator: nn.Module, noise: Tensor) -> Tensor:
    """Return the images of noise [N, z], uint8 [N, C, R, R] on the CPU; each depends only on its own row of noise."""
    # Convolutions round differently for another number of images: fill up the last pass with zeros.
    whole = F.pad(noise, (0, 0, 0, -len(noise) % PASS))
    return torch.cat([to_uint8(generate(generator, part)).cpu() for part in whole.split(PASS)])[: len(noise)]


def draw_noise(num: int, noise_size: int, seed: int) -> Tensor:
    """Return standard normal noise [num, noise_size] on the CPU; the first rows are the same whatever `num`."""
    whole = -(-num // PASS) * PASS  # torch redraws the last 16 numbers where `num` is not a multiple of 16
    return torch.randn(whole, noise_size, generator=torch.Generator().manual_seed(seed))[:num]


def with_batch_norm(generator: nn.Module, mode: str, noise_size: int, seed: int) -> nn.Module:
    """Return the generator, or a copy whose batch norm uses other statistics; call it on PASS noises at a time.

    Args:
        mode: the statistics: 'running', the training's running means; 'batch', each pass's own; 'standing', means over
            `STANDING_PASSES` passes of fresh noise (Brock et al. 2019, appendix). Another mode raises ValueError.
        seed: of the noise for 'standing'.
    """
    if mode == "running":
        return generator
    if mode == "batch":
        sampled = copy.deepcopy(generator).eval()
        for norm in batch_norms(sampled):
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
        return sampled
    if mode == "standing":
        return fitted_to(generator, draw_noise(STANDING_PASSES * PASS, noise_size, seed))
    raise ValueError(f"mode must be running, batch or standing, got {mode!r}")


@torch.no_grad()
def fitted_to(generator: nn.Module, noise: Tensor) -> nn.Module:
    """Return a copy whose batch norm has the statistics of `noise`, or the generator itself without batch norm.

    Images of truncated noise are dim with the statistics of the training's noise.

    Args:
        noise: [N, z], N a multiple of PASS; the statistics are means over passes.

    Source: Brock et al. 2019, "standing statistics"; their published generators have a set for each truncation.
    """
    fitted = copy.deepcopy(generator).eval()
    norms = batch_norms(fitted)
    if not norms:
        return generator
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all passes
        norm.train()
    device = next(fitted.parameters()).device
    with torch.autocast(device.type, enabled=False):
        for part in noise.split(PASS):
            fitted(part.to(device))
    return fitted.eval()
