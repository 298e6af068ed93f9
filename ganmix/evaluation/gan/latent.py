"""Noise for a trained generator: drawn, truncated (Brock et al. 2019), and along great circles (White 2016)."""

import math

import torch
from torch import Tensor

from ganmix.evaluation.gan.features import PASS
from ganmix.evaluation.gan.sampling import draw_noise

PARALLEL = 1e-6  # sine of an angle too small to divide by


def draw_latents(num: int, noise_size: int, seed: int, truncation: float | None = None) -> Tensor:
    """Return noise float32 [num, noise_size] on the CPU; the first rows are the same whatever `num`.

    Args:
        truncation: T > 0 restricts the standard normal distribution to [-T, T]; None: no restriction.

    Source: Brock et al. 2019, section 3.1. They redraw the values outside; the inverse distribution function gives
        the same distribution in one draw.
    """
    if truncation is None:
        return draw_noise(num, noise_size, seed)
    whole = -(-num // PASS) * PASS
    draw = torch.Generator().manual_seed(seed)
    uniform = torch.rand(whole, noise_size, generator=draw, dtype=torch.float64)[:num]
    inside = math.erf(truncation / math.sqrt(2))  # probability of [-T, T]
    noise = math.sqrt(2) * torch.erfinv((2 * uniform - 1) * inside)
    return noise.float().clamp(-truncation, truncation)


def slerp(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """Interpolate along great circles, so that the points between are as long as Gaussian noise.

    Args:
        start, end: [..., z].
        weight: 0 gives `start`, 1 gives `end`; broadcasts with [..., 1].

    Returns:
        [..., z]; between parallel vectors, points on the straight line.

    Source: White 2016, "Sampling Generative Networks", section 2.1.
    """
    first, last, t = start.double(), end.double(), weight.double()
    angle = torch.cosine_similarity(first, last, dim=-1).clamp(-1, 1).acos().unsqueeze(-1)
    sine = angle.sin()
    arc = (((1 - t) * angle).sin() * first + (t * angle).sin() * last) / sine
    return torch.where(sine < PARALLEL, first.lerp(last, t), arc).to(start.dtype)


def paths(starts: Tensor, ends: Tensor, num: int) -> Tensor:
    """Return `num` >= 2 evenly spaced points from each start [N, z] to its end [N, z], including both: [N, num, z]."""
    weight = torch.linspace(0, 1, num, dtype=torch.float64).view(1, num, 1)
    return slerp(starts.unsqueeze(1), ends.unsqueeze(1), weight)


def loop(stops: Tensor, num: int) -> Tensor:
    """Return a closed path through `stops` [K, N, z], with `num` points a leg, denser near the stops: [K * num, N, z].

    It begins at the first stop and ends one point before it.
    """
    even = torch.arange(num, dtype=torch.float64) / num
    weight = (1 - torch.cos(math.pi * even)) / 2
    legs = slerp(stops.unsqueeze(1), stops.roll(-1, 0).unsqueeze(1), weight.view(1, num, 1, 1))
    return legs.flatten(0, 1)
