"""The residual network of the paper's Tables 1 to 5: PreActResNet (He et al. 2016, arXiv 1603.05027)."""

from typing import Unpack

from torch import Tensor, nn

from ganmix.networks.classifier.base import Classifier, Shared
from ganmix.networks.classifier.layers import BasicBlock, MeanPool, conv_shortcut, residual_stages


class Bottleneck(nn.Module):
    """BN, ReLU, conv, three times: 1x1, 3x3 and 1x1 on a fourth of the channels. The rest is as in `BasicBlock`."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        inner = channels // 4
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = conv_shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(h)
        h = self.relu(self.bn2(self.conv1(h)))
        h = self.relu(self.bn3(self.conv2(h)))
        return self.conv3(h).add_(shortcut)


# depth -> block, its output channels in units of the group's width, blocks of each group
DEPTHS: dict[int, tuple[type[BasicBlock | Bottleneck], int, tuple[int, ...]]] = {
    18: (BasicBlock, 1, (2, 2, 2, 2)),
    34: (BasicBlock, 1, (3, 4, 6, 3)),
    152: (Bottleneck, 4, (3, 8, 36, 3)),
}


class PreActResNet(Classifier):
    """A 3x3 stem and four groups of pre-activation blocks, the last three of which begin with stride 2.

    Boundaries 0 to 3 are the paper's eligible layers: the input and the outputs of the first three resblocks. As in
    the authors' code, neither BN nor ReLU lies between the last block and the mean over the pixels, and weights have
    PyTorch's initialisation (uniform within 1 / sqrt(fan-in)); He et al. have both, and He-normal weights.

    Args:
        depth: 18 or 34, of basic blocks; 152, of bottlenecks; another depth raises ValueError.
        width: channels of the stem and, times 1, 2, 4 and 8, of the groups; bottlenecks have 4 times as many.

    Source: https://github.com/vikasverma1077/manifold_mixup, supervised/preact_resnet.py at 8d359f1.
    """

    name = "preact_resnet"

    def __init__(self, channels: int, resolution: int, *, depth: int = 18, width: int = 64, **shared: Unpack[Shared]):
        if depth not in DEPTHS:
            raise ValueError(f"depth must be one of {', '.join(map(str, DEPTHS))}, got {depth}")
        block, expansion, num_blocks = DEPTHS[depth]
        widths = [width, *(expansion * width << i for i in range(4))]
        stages = residual_stages(channels, widths, num_blocks, [block] * 4) | {"pool": MeanPool()}
        super().__init__(stages, widths[-1], channels, resolution, {"depth": depth, "width": width}, **shared)
