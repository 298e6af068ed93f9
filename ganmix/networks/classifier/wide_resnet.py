"""The network of the semi-supervised experiments: WRN (Zagoruyko & Komodakis 2016, arXiv 1605.07146)."""

from collections import OrderedDict
from functools import partial
from typing import Unpack

from torch import nn

from ganmix.networks.classifier.base import Classifier, Shared
from ganmix.networks.classifier.layers import BasicBlock, MeanPool, residual_stages


class WideResNet(Classifier):
    """A 3x3 stem of 16 channels and three groups of pre-activation blocks, as in the WRN-28-2 of Oliver et al. 2018.

    Like theirs, it has LeakyReLU and, by default, their slope and no dropout; the 1x1 shortcuts of the second and third
    group take a block's input before its BN and activation. Convolutions start He-normal by fan-out, the last layer
    Glorot-normal, biases at 0. Differs from Oliver et al.: PyTorch's batch norm (eps 1e-5, momentum 0.1; theirs has
    1e-3 and 0.001).

    Args:
        depth: 6 n + 4, for n >= 1 blocks a group; another depth raises ValueError.
        width: k; the groups have 16 k, 32 k and 64 k channels.
        slope: of LeakyReLU below 0; the authors of Manifold Mixup use PyTorch's, 0.01.
        dropout: between the two convolutions of each block; the authors use 0.3.

    Source: https://github.com/brain-research/realistic-ssl-evaluation, lib/networks.py.
    """

    name = "wide_resnet"

    def __init__(
        self,
        channels: int,
        resolution: int,
        *,
        depth: int = 28,
        width: int = 2,
        slope: float = 0.1,
        dropout: float = 0.0,
        **shared: Unpack[Shared],
    ):
        num_blocks, rest = divmod(depth - 4, 6)
        if num_blocks < 1 or rest:
            raise ValueError(f"depth must be 6 n + 4 (10, 16, 22, 28, 34, 40, ...), got {depth}")
        widths = [16, *(16 * width << i for i in range(3))]
        block = partial(BasicBlock, slope=slope, dropout=dropout)
        late_shortcut = partial(block, activate_shortcut=False)
        stages = residual_stages(channels, widths, [num_blocks] * 3, [block, late_shortcut, late_shortcut])
        pool = {"bn": nn.BatchNorm2d(widths[-1]), "activation": nn.LeakyReLU(slope, inplace=True), "mean": MeanPool()}
        stages["pool"] = nn.Sequential(OrderedDict(pool))
        keys = {"depth": depth, "width": width, "slope": slope, "dropout": dropout}
        super().__init__(stages, widths[-1], channels, resolution, keys, **shared)
        for module in self.stages.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)
