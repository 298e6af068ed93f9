"""A small convolutional pair in the style of DCGAN (Radford et al. 2015) that a CPU can train."""

from torch import nn

from ganmix.networks.gan.layers import FromNoise, ToImage, initialise, num_doublings, spectrally_normalise
from ganmix.networks.gan.resample import UpsampleConv2d
from ganmix.networks.staged import Staged


class UpStage(nn.Sequential):
    """BN, ReLU, upsample, conv: [N, I, H, W] -> [N, O, 2H, 2W]."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = UpsampleConv2d(in_channels, out_channels)


class ConvStage(nn.Sequential):
    """Conv, LeakyReLU 0.1: 4x4 of stride 2, [N, I, 2H, 2W] -> [N, O, H, W], or 3x3 that keeps the size.

    There is no mean pooling, which would halve the little signal that spectral norm lets through.
    """

    def __init__(self, in_channels: int, out_channels: int, *, down: bool):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 4 if down else 3, 2 if down else 1, padding=1)
        self.activation = nn.LeakyReLU(0.1, inplace=True)


class FlatLogit(nn.Sequential):
    """Linear over all pixels: [N, C, 4, 4] -> logits [N]."""

    def __init__(self, channels: int):
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(channels * 16, 1)
        self.join = nn.Flatten(0)  # [N, 1] -> [N]


class ConvGenerator(Staged):
    """Noise [N, z] -> images [N, C, R, R] in [-1, 1]; channels halve as pixels double, down to `width`."""

    def __init__(self, channels: int, resolution: int, *, z: int, width: int, spectral_norm: bool):
        widths = [width << i for i in reversed(range(num_doublings(resolution) + 1))]
        ups = {f"up{i + 1}": UpStage(*widths[i : i + 2]) for i in range(len(widths) - 1)}
        super().__init__({"noise": FromNoise(z, widths[0]), **ups, "image": ToImage(width, channels)})
        initialise(self)
        if spectral_norm:
            spectrally_normalise(self)


class ConvDiscriminator(Staged):
    """Images [N, C, R, R] -> logits [N]; channels double from `width` as pixels halve to 4.

    The CNN of SN-GAN (Miyato et al. 2018, table 3) with one convolution for each size.
    """

    def __init__(self, channels: int, resolution: int, *, width: int, spectral_norm: bool):
        widths = [channels, *(width << i for i in range(num_doublings(resolution)))]
        stages = {f"down{i + 1}": ConvStage(*widths[i : i + 2], down=True) for i in range(len(widths) - 1)}
        stages["flat"] = ConvStage(widths[-1], 2 * widths[-1], down=False)
        super().__init__({**stages, "head": FlatLogit(2 * widths[-1])})
        initialise(self)
        if spectral_norm:
            spectrally_normalise(self)
