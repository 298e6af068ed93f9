"""What the classifiers share: the pre-activation block (He et al. 2016, arXiv 1603.05027), pooling."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """In training, each value is 0 with probability p, the others are divided by 1 - p.

    Its draws come from `generator`, on the device of the values, which whoever trains the network sets to a stream of
    their own: checkpoints do not keep the global one.

    Args:
        p: in [0, 1).
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
    """BN, activation, conv 3x3, twice, added to the shortcut: [N, I, H, W] -> [N, O, H / stride, W / stride].

    Where the shape changes the shortcut is a 1x1 convolution, else x as it came. In place is only what works on a
    tensor of the block's own: the boundary and the shortcut still need x.

    Args:
        in_channels, channels: I and O.
        stride: of the first convolution.
        slope: of the activation below 0; 0 is ReLU.
        activate_shortcut: the 1x1 convolution sees x after the first BN and activation; False: x as it came.
        dropout: probability by which a value between the first convolution and the second BN is dropped.
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
        self.slope = slope
        self.activate_shortcut = activate_shortcut
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.dropout = Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = conv_shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.bn1(x), self.slope, inplace=True)
        shortcut = x if self.shortcut is None else self.shortcut(h if self.activate_shortcut else x)
        h = F.leaky_relu(self.bn2(self.dropout(self.conv1(h))), self.slope, inplace=True)
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


def block_group(
    block: Callable[[int, int, int], nn.Module], num_blocks: int, in_channels: int, channels: int, stride: int
) -> dict[str, nn.Module]:
    """Make blocks in a row, of which the first changes channels and, by `stride`, the size."""
    first = {"block1": block(in_channels, channels, stride)}
    return first | {f"block{i + 1}": block(channels, channels, 1) for i in range(1, num_blocks)}
