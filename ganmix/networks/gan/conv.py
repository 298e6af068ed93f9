"""A small convolutional pair in the manner of DCGAN (Radford et al. 2015), which a CPU can train."""

import torch.nn.functional as F
from torch import Tensor, nn

from ganmix.networks.gan.layers import FromNoise, ToImage, initialise, num_doublings, spectrally_normalise
from ganmix.networks.gan.resample import UpsampleConv2d
from ganmix.networks.staged import Staged


class UpStage(nn.Module):
    """BN, ReLU, upsample, conv: [N, I, H, W] -> [N, O, 2H, 2W]."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.conv = UpsampleConv2d(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.bn(x), inplace=True))


class ConvStage(nn.Module):
    """Conv, LeakyReLU 0.1: 4x4 of stride 2, [N, I, 2H, 2W] -> [N, O, H, W], or 3x3 that keeps the size.

    No mean pooling: under spectral norm it would halve what little the layers may pass on.
    """

    def __init__(self, in_channels: int, out_channels: int, *, down: bool):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 4 if down else 3, 2 if down else 1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv(x), 0.1, inplace=True)


class FlatLogit(nn.Module):
    """Linear over all pixels: [N, C, 4, 4] -> logits [N]."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear = nn.Linear(channels * 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)).squeeze(1)


class ConvGenerator(Staged):
    """Noise [N, z] -> images [N, C, R, R] in [-1, 1]; channels halve as pixels double, down to `width`."""

    def __init__(self, resolution: int, image_channels: int, *, z: int, width: int, spectral_norm: bool):
        channels = [width << i for i in reversed(range(num_doublings(resolution) + 1))]
        ups = {f"up{i + 1}": UpStage(*channels[i : i + 2]) for i in range(len(channels) - 1)}
        super().__init__({"noise": FromNoise(z, channels[0]), **ups, "image": ToImage(width, image_channels)})
        initialise(self)
        if spectral_norm:
            spectrally_normalise(self)


class ConvDiscriminator(Staged):
    """Images [N, C, R, R] -> logits [N]; channels double from `width` as pixels halve to 4.

    The CNN of SN-GAN (Miyato et al. 2018, table 3) with one convolution for each size.
    """

    def __init__(self, resolution: int, image_channels: int, *, width: int, spectral_norm: bool):
        channels = [image_channels, *(width << i for i in range(num_doublings(resolution)))]
        stages = {f"down{i + 1}": ConvStage(*channels[i : i + 2], down=True) for i in range(len(channels) - 1)}
        stages["flat"] = ConvStage(channels[-1], 2 * channels[-1], down=False)
        super().__init__({**stages, "head": FlatLogit(2 * channels[-1])})
        initialise(self)
        if spectral_norm:
            spectrally_normalise(self)
