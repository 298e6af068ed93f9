"""Networks by name. A new one is a file here, a line in a table, and its section in config/gan.py."""

import math
from collections.abc import Callable
from functools import partial

from ganmix.networks.classifier import ConvClassifier
from ganmix.networks.conv import ConvDiscriminator, ConvGenerator
from ganmix.networks.resnet import ResNetDiscriminator, ResNetGenerator
from ganmix.networks.staged import Staged, is_affine, resolve_stages, staged

# name -> (resolution, image_channels, **keys of the config's section) -> noise [N, z] to images [N, C, R, R]
GENERATORS: dict[str, Callable[..., Staged]] = {
    "sngan": partial(ResNetGenerator, conv_shortcut=True, residual_gain=math.sqrt(2)),
    "authors": partial(ResNetGenerator, conv_shortcut=False, residual_gain=1.0),
    "conv": ConvGenerator,
}

# name -> the same -> images [N, C, R, R] to logits [N]
DISCRIMINATORS: dict[str, Callable[..., Staged]] = {
    "sngan": partial(ResNetDiscriminator, pool="sum", stem=0, residual_gain=math.sqrt(2)),
    "authors": partial(ResNetDiscriminator, pool="mean", residual_gain=1.0),
    "conv": ConvDiscriminator,
}

CLASSIFIERS: dict[str, Callable[..., ConvClassifier]] = {"conv": ConvClassifier}

__all__ = [
    "CLASSIFIERS",
    "DISCRIMINATORS",
    "GENERATORS",
    "ConvClassifier",
    "Staged",
    "is_affine",
    "resolve_stages",
    "staged",
]
