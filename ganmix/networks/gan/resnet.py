"""The residual pair of SN-GAN (Miyato et al. 2018, arXiv 1802.05957, table 3), and its relatives."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from ganmix.networks.gan.layers import FromNoise, ToImage, initialise, num_doublings, spectrally_normalise
from ganmix.networks.gan.resample import ConvDownsample2d, DownsampleShortcut, UpsampleConv2d, UpsampleShortcut
from ganmix.networks.staged import Staged


class UpBlock(nn.Module):
    """BN, ReLU, upsample, conv, BN, ReLU, conv; the shortcut upsamples, with or without a 1x1 convolution."""

    def __init__(self, channels: int, conv_shortcut: bool):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = UpsampleConv2d(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.shortcut = UpsampleShortcut(nn.Conv2d(channels, channels, 1) if conv_shortcut else None)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.relu(self.bn1(x), inplace=True))
        return self.shortcut(x) + self.conv2(F.relu(self.bn2(h), inplace=True))


class DownBlock(nn.Module):
    """ReLU, conv, ReLU, conv, pool; without the first ReLU if `first`, without the pooling unless `down`.

    The shortcut pools and has a 1x1 convolution. Without pooling it is the identity, or with `flat_bypass` that
    convolution. The first ReLU is not in place: the shortcut, and a mix at this boundary, still need the input.
    """

    def __init__(self, in_channels: int, channels: int, *, first: bool, down: bool, flat_bypass: bool):
        super().__init__()
        self.first = first
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.conv2 = ConvDownsample2d(channels, channels) if down else nn.Conv2d(channels, channels, 3, padding=1)
        bypass = nn.Conv2d(in_channels, channels, 1) if down or flat_bypass else nn.Identity()
        self.shortcut = DownsampleShortcut(bypass) if down else bypass

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x if self.first else F.relu(x))
        return self.shortcut(x) + self.conv2(F.relu(h, inplace=True))


class PooledLogit(nn.Module):
    """ReLU, sum or mean over the pixels, linear: [N, C, H, W] -> logits [N]."""

    def __init__(self, channels: int, pool: str):
        super().__init__()
        self.pool = pool
        self.linear = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(x)
        return self.linear(h.sum((2, 3)) if self.pool == "sum" else h.mean((2, 3))).squeeze(1)


class ResNetGenerator(Staged):
    """Noise [N, z] -> images [N, C, R, R] in [-1, 1]; one `UpBlock` for each doubling from 4 pixels.

    Args:
        channels, resolution: C and R of the images; R is a power of two from 8 to 128.
        width: channels of every block.
        conv_shortcut: put a 1x1 convolution on the shortcuts.
        residual_gain: of the blocks' 3x3 convolutions (Glorot uniform); the rest has gain 1.
        spectral_norm: on every weight.
    """

    def __init__(
        self,
        channels: int,
        resolution: int,
        *,
        z: int,
        width: int,
        conv_shortcut: bool,
        residual_gain: float,
        spectral_norm: bool,
    ):
        blocks = {f"block{i + 1}": UpBlock(width, conv_shortcut) for i in range(num_doublings(resolution))}
        super().__init__({"noise": FromNoise(z, width), **blocks, "image": ToImage(width, channels)})
        initialise(self, {".conv1": residual_gain, ".conv2": residual_gain})
        if spectral_norm:
            spectrally_normalise(self)


class ResNetDiscriminator(Staged):
    """Images [N, C, R, R] -> logits [N]; `DownBlock`s to 8 pixels (one at least), then two that keep the size.

    Args:
        channels, resolution, width, residual_gain, spectral_norm: see `ResNetGenerator`.
        pool: 'sum' or 'mean' over the last pixels.
        stem: channels of a 3x3 convolution before the first block; 0: none. Its output is an affine image of the
            input, so mixing there is input mixup.
        flat_bypass: put a 1x1 convolution on the shortcuts of the blocks that keep the size too, as in the Manifold
            Mixup authors' model_resnet.py: PyTorch initialises it, and it has no spectral norm.
        shortcut_gain: of the 1x1 convolutions of the blocks that pool.
    """

    def __init__(
        self,
        channels: int,
        resolution: int,
        *,
        width: int,
        pool: str,
        stem: int,
        flat_bypass: bool,
        residual_gain: float,
        shortcut_gain: float,
        spectral_norm: bool,
    ):
        stages: dict[str, nn.Module] = {"conv": nn.Conv2d(channels, stem, 3, padding=1)} if stem else {}
        num_down = max(1, num_doublings(resolution) - 1)
        for i in range(num_down + 2):
            in_channels = width if i else stem or channels
            down = i < num_down
            stages[f"block{i + 1}"] = DownBlock(in_channels, width, first=i == 0, down=down, flat_bypass=flat_bypass)
        super().__init__({**stages, "head": PooledLogit(width, pool)})
        # PyTorch's default is Glorot's with gain 1 / sqrt(3) where a layer keeps the number of channels.
        flat_gain = 1 / math.sqrt(3)
        gains = {".conv1": residual_gain, ".conv2": residual_gain, ".shortcut.conv": shortcut_gain}
        initialise(self, gains | {".shortcut": flat_gain})
        if spectral_norm:
            spectrally_normalise(self, but=(".shortcut",))
