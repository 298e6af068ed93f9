"""A small convolutional classifier; the shipped feature extractors (evaluation/weights) are of this kind."""

from typing import Unpack

from torch import nn

from ganmix.networks.classifier.base import Classifier, Shared
from ganmix.networks.classifier.layers import MeanPool

# downsample -> for each convolution its stride, and whether pooling follows
DOWNSAMPLING = {
    "stride": ((1, False), (2, False), (2, False)),
    "max_pool": ((1, True), (1, True), (1, False)),
}


class ConvStage(nn.Sequential):
    """Conv 3x3 of stride 1 or 2, BN, ReLU; with `pool`, then the maximum of each 2x2 pixels."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, pool: bool):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        if pool:
            self.pool = nn.MaxPool2d(2)


class ConvClassifier(Classifier):
    """Three convolutions; mean over the pixels.

    Args:
        width: channels of the first convolution; the next two have 2 and 4 times as many.
        downsample: "stride": the second and third convolution have stride 2; "max_pool": max pooling follows the first
            and second. Both need the same number of multiplications.
    """

    name = "conv"

    def __init__(self, channels: int, resolution: int, *, width: int, downsample: str, **shared: Unpack[Shared]):
        first, second, third = DOWNSAMPLING[downsample]
        stages = {
            "conv1": ConvStage(channels, width, *first),
            "conv2": ConvStage(width, 2 * width, *second),
            "conv3": ConvStage(2 * width, 4 * width, *third),
            "pool": MeanPool(),
        }
        super().__init__(stages, 4 * width, channels, resolution, {"width": width, "downsample": downsample}, **shared)
