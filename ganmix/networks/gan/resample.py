"""Up- and downsampling folded into a convolution next to it: the same function for less than half the work.

Nearest x2 upsampling then a 3x3 convolution is a 4x4 transposed convolution of stride 2; a 3x3 convolution then 2x2
mean pooling is a 4x4 convolution of stride 2; both with the 3x3 kernel convolved with a 2x2 box. Per pixel of the
small image, 16 multiplications replace 36. The parameters stay those of the 3x3 convolution.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def spread(weight: Tensor) -> Tensor:
    """Convolve 3x3 kernels [O, I, 3, 3] with a 2x2 box of ones: [O, I, 4, 4]."""
    columns = F.pad(weight, (0, 1)) + F.pad(weight, (1, 0))
    return F.pad(columns, (0, 0, 0, 1)) + F.pad(columns, (0, 0, 1, 0))


class UpsampleConv2d(nn.Conv2d):
    """`Conv2d(3x3, padding 1)` of the nearest-neighbour upsampled input: [N, I, H, W] -> [N, O, 2H, 2W]."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # A transposed convolution reads its kernel mirrored, and input channels first.
        kernel = spread(self.weight.flip(2, 3)).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


class ConvDownsample2d(nn.Conv2d):
    """`Conv2d(3x3, padding 1)`, then 2x2 mean pooling: [N, I, 2H, 2W] -> [N, O, H, W]."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, spread(self.weight) / 4, self.bias, stride=2, padding=1)


class UpsampleShortcut(nn.Module):
    """Nearest x2 upsampling, after the 1x1 convolution `conv` if any; they commute, so it runs on the small image."""

    def __init__(self, conv: nn.Module | None):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x if self.conv is None else self.conv(x), scale_factor=2.0)


class DownsampleShortcut(nn.Module):
    """2x2 mean pooling, then the 1x1 convolution `conv`; they commute, so it runs on the small image."""

    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.avg_pool2d(x, 2))
