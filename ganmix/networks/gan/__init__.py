"""Generators and discriminators by name. A new one needs a file, a table entry, and its section in config/gan.py."""

import math
from collections.abc import Callable
from functools import partial

from ganmix.networks.gan.conv import ConvDiscriminator, ConvGenerator
from ganmix.networks.gan.resnet import ResNetDiscriminator, ResNetGenerator
from ganmix.networks.staged import Staged

# name -> (channels, resolution, **keys of the config's section) -> noise [N, z] to images [N, C, R, R]
GENERATORS: dict[str, Callable[..., Staged]] = {
    "sngan": partial(ResNetGenerator, conv_shortcut=True, residual_gain=math.sqrt(2)),
    "authors": partial(ResNetGenerator, conv_shortcut=False, residual_gain=1.0),
    "conv": ConvGenerator,
}

# name -> the same -> images [N, C, R, R] to logits [N]
DISCRIMINATORS: dict[str, Callable[..., Staged]] = {
    "sngan": partial(
        ResNetDiscriminator, pool="sum", stem=0, flat_bypass=False, residual_gain=math.sqrt(2), shortcut_gain=1.0
    ),
    "authors": partial(ResNetDiscriminator, pool="mean", residual_gain=1.0, shortcut_gain=math.sqrt(2)),
    "conv": ConvDiscriminator,
}

__all__ = ["DISCRIMINATORS", "GENERATORS"]
