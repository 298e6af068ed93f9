"""Classifiers by name. A new one needs a file, an entry of `CLASSIFIERS`, and its section in config/classifier.py."""

from collections.abc import Callable

from ganmix.networks.classifier.base import Classifier
from ganmix.networks.classifier.bottleneck_mlp import BottleneckMLP
from ganmix.networks.classifier.conv import ConvClassifier
from ganmix.networks.classifier.preact_resnet import PreActResNet
from ganmix.networks.classifier.prepare import PREPARATIONS, prepare_for
from ganmix.networks.classifier.wide_resnet import WideResNet

# name -> (channels, resolution, num_classes, prepare, **keys of the config's section) -> images to logits [N, K]
CLASSIFIERS: dict[str, Callable[..., Classifier]] = {
    network.name: network for network in (ConvClassifier, PreActResNet, WideResNet, BottleneckMLP)
}

__all__ = ["CLASSIFIERS", "PREPARATIONS", "Classifier", "ConvClassifier", "prepare_for"]
