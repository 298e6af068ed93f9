"""GAN steps as most toolkits write them, to measure ours against: the same functions, computed the plain way.

Resampling is done apart from the convolution beside it, each term of D's loss has a pass of its own, and the G step
computes gradients of D's weights that nobody uses.
"""

import copy
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganmix.losses import GanLoss
from ganmix.mixup import MixPlan
from ganmix.networks import Staged
from ganmix.networks.resample import ConvDownsample2d, DownsampleShortcut, UpsampleConv2d, UpsampleShortcut


def _upsample_then_conv(self: UpsampleConv2d, x: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=2.0), self.weight, self.bias, padding=1)


def _conv_then_pool(self: ConvDownsample2d, x: Tensor) -> Tensor:
    return F.avg_pool2d(F.conv2d(x, self.weight, self.bias, padding=1), 2)


def _upsample_then_shortcut(self: UpsampleShortcut, x: Tensor) -> Tensor:
    big = F.interpolate(x, scale_factor=2.0)
    return big if self.conv is None else self.conv(big)


def _shortcut_then_pool(self: DownsampleShortcut, x: Tensor) -> Tensor:
    return F.avg_pool2d(self.conv(x), 2)


PLAIN: dict[type[nn.Module], Callable[..., Tensor]] = {
    UpsampleConv2d: _upsample_then_conv,
    ConvDownsample2d: _conv_then_pool,
    UpsampleShortcut: _upsample_then_shortcut,
    DownsampleShortcut: _shortcut_then_pool,
}


def unfolded(network: Staged) -> Staged:
    """Return a contiguous copy that computes the same function by the textbook's resampling."""
    plain = copy.deepcopy(network).lay_out(torch.contiguous_format)
    for module in plain.modules():
        for kind, forward in PLAIN.items():
            if isinstance(module, kind):
                module.forward = MethodType(forward, module)
    return plain


class TextbookTrainer:
    """D and G steps with the arithmetic of `training.gan.GanTrainer`, in the textbook's way.

    Args:
        generator, discriminator: copied, see `unfolded`.
        loss: of `losses.GAN_LOSSES`; every mix counts as fake.
    """

    def __init__(self, generator: Staged, discriminator: Staged, loss: GanLoss, **adam: Any):
        self.generator = unfolded(generator)
        self.discriminator = unfolded(discriminator)
        self.loss = loss
        self._g_optimizer = torch.optim.Adam(self.generator.parameters(), **adam)
        self._d_optimizer = torch.optim.Adam(self.discriminator.parameters(), **adam)

    def discriminator_step(self, real: Tensor, noise: Tensor, plan: MixPlan | None) -> Tensor:
        """One D step; returns its loss."""
        self._d_optimizer.zero_grad()
        fake = self.generator(noise).detach()
        loss = self.loss.real(self.discriminator(real)).mean() + self.loss.fake(self.discriminator(fake)).mean()
        if plan is not None:
            # Hidden states from passes of their own, then on from the stage they were mixed at.
            h = torch.cat([self.discriminator.hidden(x, plan.stage) for x in (real, fake)])
            for rows in torch.arange(len(plan.a), device=real.device).split(len(real)):
                lam = plan.lam[rows].reshape(-1, *[1] * (h.ndim - 1))
                mixed = lam * h[plan.a[rows]] + (1 - lam) * h[plan.b[rows]]
                for stage in list(self.discriminator.stages.values())[plan.stage :]:
                    mixed = stage(mixed)
                loss = loss + self.loss.fake(mixed).mean()
        loss.backward()
        self._d_optimizer.step()
        return loss.detach()

    def generator_step(self, noise: Tensor) -> Tensor:
        """One G step; returns its loss."""
        self._g_optimizer.zero_grad()
        loss = self.loss.generator(self.discriminator(self.generator(noise))).mean()
        loss.backward()
        self._g_optimizer.step()
        return loss.detach()
