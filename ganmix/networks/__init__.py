"""Networks by name. A new one is a file here, a line in a table, and its section in config/."""

import math
from collections.abc import Callable
from functools import partial

from ganmix.networks.bottleneck_mlp import BottleneckMLP
from ganmix.networks.classifier import Classifier
from ganmix.networks.conv import ConvDiscriminator, ConvGenerator
from ganmix.networks.conv_classifier import ConvClassifier
from ganmix.networks.preact_resnet import PreActResNet
from ganmix.networks.prepare import PREPARATIONS, prepare_for
from ganmix.networks.resnet import ResNetDiscriminator, ResNetGenerator
from ganmix.networks.staged import Staged, is_affine, resolve_stages, staged
from ganmix.networks.wide_resnet import WideResNet

# name -> (resolution, image_channels, **keys of the config's section) -> noise [N, z] to images [N, C, R, R]
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

# name -> (resolution, channels, num_classes, prepare, **keys of the config's section) -> images to logits [N, K]
CLASSIFIERS: dict[str, Callable[..., Classifier]] = {
    network.name: network for network in (ConvClassifier, PreActResNet, WideResNet, BottleneckMLP)
}

__all__ = [
    "CLASSIFIERS",
    "DISCRIMINATORS",
    "GENERATORS",
    "PREPARATIONS",
    "Classifier",
    "ConvClassifier",
    "Staged",
    "is_affine",
    "prepare_for",
    "resolve_stages",
    "staged",
]
