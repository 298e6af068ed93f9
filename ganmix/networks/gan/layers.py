"""What generators and discriminators share: first and last layers, initialisation and spectral norm."""

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class FromNoise(nn.Sequential):
    """Linear: noise [N, z] -> [N, C, 4, 4]."""

    def __init__(self, z: int, channels: int):
        super().__init__()
        self.linear = nn.Linear(z, channels * 16)
        self.unflatten = nn.Unflatten(1, (channels, 4, 4))


class ToImage(nn.Sequential):
    """BN, ReLU, conv, tanh: [N, C, H, W] -> images in [-1, 1]."""

    def __init__(self, channels: int, image_channels: int):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(channels, image_channels, 3, padding=1)
        self.tanh = nn.Tanh()


def num_doublings(resolution: int) -> int:
    """Return the number of doublings from 4 pixels to `resolution`, a power of two from 8 to 128."""
    if resolution not in (8, 16, 32, 64, 128):
        raise ValueError(f"resolution must be a power of two from 8 to 128, got {resolution}")
    return resolution.bit_length() - 3


def initialise(network: nn.Module, gains: Mapping[str, float] = MappingProxyType({})) -> None:
    """Give every layer zero biases and Glorot uniform weights.

    Args:
        gains: end of a layer's path, such as ".conv1" -> its gain; other layers have gain 1.
    """
    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            gain = next((gain for end, gain in gains.items() if path.endswith(end)), 1.0)
            nn.init.xavier_uniform_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def spectrally_normalise(network: nn.Module, but: tuple[str, ...] = ()) -> None:
    """Divide the weight of every convolution and linear layer by its largest singular value (Miyato et al. 2018).

    Each forward in training mode does one power iteration. A folded convolution (resample.py) is normalised by its 3x3
    weight, as the textbook form is. Layers whose paths end with one of `but` are left out.
    """
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.Conv2d | nn.Linear) and not path.endswith(but):
            spectral_norm(module)
