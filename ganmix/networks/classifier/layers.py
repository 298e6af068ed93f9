"""Layers that the classifiers share: the pre-activation block (He et al. 2016, arXiv 1603.05027), dropout, pooling."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """In training mode, set each value to 0 with probability p in [0, 1), and divide the rest by 1 - p.

    The trainer sets `generator`, on the device of the values: checkpoints do not hold the global generator's state.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.p:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * kept.div_(1 - self.p)


class BasicBlock(nn.Module):
    """BN, activation, conv 3x3, twice, plus the shortcut: [N, I, H, W] -> [N, O, H / stride, W / stride].

    The shortcut is a 1x1 convolution where the shape changes, else the identity. No operation changes x in place: the
    boundary and the shortcut still need it.

    Args:
        stride: of the first convolution.
        slope: of the activation below 0; 0 is ReLU.
        activate_shortcut: feed the 1x1 convolution x after the first BN and activation; False: x itself.
        dropout: probability of dropping a value between the first convolution and the second BN.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        slope: float = 0.0,
        activate_shortcut: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.activate_shortcut = activate_shortcut
        self.activation = nn.LeakyReLU(slope, inplace=True)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.dropout = Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = conv_shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(h if self.activate_shortcut else x)
        h = self.activation(self.bn2(self.dropout(self.conv1(h))))
        return self.conv2(h).add_(shortcut)


class MeanPool(nn.Module):
    """Mean over the pixels: [N, C, H, W] -> [N, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def conv_shortcut(in_channels: int, channels: int, stride: int) -> nn.Conv2d | None:
    """Return the 1x1 convolution of a shortcut whose shape changes, or None where it stays."""
    if stride == 1 and in_channels == channels:
        return None
    return nn.Conv2d(in_channels, channels, 1, stride, bias=False)


def residual_stages(
    channels: int, widths: Sequence[int], num_blocks: Sequence[int], blocks: Sequence[Callable[..., nn.Module]]
) -> dict[str, nn.Module]:
    """Make 'layer1', 'layer2' ...: groups of blocks. The first has a 3x3 stem, every other one begins with stride 2.

    Args:
        channels: of the images.
        widths: channels of the stem, then of each group.
        num_blocks: of each group.
        blocks: for each group, (in_channels, channels, stride) -> block.
    """
    stages: dict[str, nn.Module] = {}
    for i, block in enumerate(blocks):
        stem = {} if i else {"conv": nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)}
        first = {"block1": block(widths[i], widths[i + 1], 2 if i else 1)}
        rest = {f"block{j + 1}": block(widths[i + 1], widths[i + 1], 1) for j in range(1, num_blocks[i])}
        stages[f"layer{i + 1}"] = nn.Sequential(OrderedDict(stem | first | rest))
    return stages
