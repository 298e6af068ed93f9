"""A small convolutional classifier; the shipped feature extractors (evaluation/extractors) are of this kind."""

import torch.nn.functional as F
from torch import Tensor, nn

from ganmix.networks.classifier import Classifier
from ganmix.networks.classifier_layers import MeanPool


class ConvStage(nn.Module):
    """Conv 3x3 of stride 1 or 2, BN, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class ConvClassifier(Classifier):
    """Three convolutions, the last two of stride 2; mean over the pixels.

    Args:
        resolution, channels, num_classes, prepare: see `Classifier`.
        width: channels of the first convolution; then 2 and 4 times as many.
    """

    name = "conv"

    def __init__(
        self, resolution: int, channels: int, *, num_classes: int, prepare: nn.Module | None = None, width: int
    ):
        stages = {
            "conv1": ConvStage(channels, width, 1),
            "conv2": ConvStage(width, 2 * width, 2),
            "conv3": ConvStage(2 * width, 4 * width, 2),
            "pool": MeanPool(),
        }
        keys = {"width": width}
        super().__init__(stages, 4 * width, resolution, channels, num_classes=num_classes, prepare=prepare, keys=keys)
