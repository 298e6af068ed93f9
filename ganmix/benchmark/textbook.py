"""Steps as others write them, to measure ours against: the same functions, computed the plain way.

A GAN's as most toolkits have it: resampling is done apart from the convolution beside it, each term of D's loss has a
pass of its own, and the G step computes gradients of D's weights that nobody uses. A classifier's as the authors of
Manifold Mixup have it.
"""

import copy
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganmix.losses import GanLoss
from ganmix.mixup import MixPlan
from ganmix.networks import Staged
from ganmix.networks.classifier import Classifier
from ganmix.networks.gan.resample import ConvDownsample2d, DownsampleShortcut, UpsampleConv2d, UpsampleShortcut

Network = TypeVar("Network", bound=Staged)


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


def plain_copy(network: Network) -> Network:
    """Return a contiguous copy of the same function: resampling unfolded, a classifier's activations not in place."""
    plain = copy.deepcopy(network).lay_out(torch.contiguous_format)
    for module in plain.modules():
        if isinstance(network, Classifier) and isinstance(module, nn.ReLU | nn.LeakyReLU):
            module.inplace = False
        for kind, forward in PLAIN.items():
            if isinstance(module, kind):
                module.forward = MethodType(forward, module)
    return plain


class TextbookGanTrainer:
    """D and G steps with the arithmetic of `algorithms.gan.GanTrainer`, in the textbook's way.

    Args:
        generator, discriminator: copied, see `plain_copy`.
        loss: of `losses.GAN_LOSSES`; every mix counts as fake.
    """

    def __init__(self, generator: Staged, discriminator: Staged, loss: GanLoss, **adam: Any):
        self.generator = plain_copy(generator)
        self.discriminator = plain_copy(discriminator)
        self.loss = loss
        self._g_optimizer = torch.optim.Adam(self.generator.parameters(), **adam)
        self._d_optimizer = torch.optim.Adam(self.discriminator.parameters(), **adam)

    def discriminator_step(self, real: Tensor, noise: Tensor, plan: MixPlan) -> Tensor:
        """One D step; returns its loss."""
        self._d_optimizer.zero_grad()
        fake = self.generator(noise).detach()
        logits = {"real": self.discriminator(real), "fake": self.discriminator(fake)}
        if plan.mixed:
            # Hidden states from passes of their own, then on from the stage they were mixed at.
            h = torch.cat([self.discriminator.hidden(x, plan.stage) for x in (real, fake)])
            for pair, rows in zip(
                plan.mixed, torch.arange(len(plan.a), device=real.device).split(len(real)), strict=True
            ):
                lam = plan.lam[rows].reshape(-1, *[1] * (h.ndim - 1))
                mixed = lam * h[plan.a[rows]] + (1 - lam) * h[plan.b[rows]]
                for stage in list(self.discriminator.stages.values())[plan.stage :]:
                    mixed = stage(mixed)
                logits[pair] = mixed
        labels = {name: torch.full_like(f, name == "real") for name, f in logits.items()}
        terms = self.loss.discriminator(logits, labels).values()
        loss = torch.stack([term.mean() for term in terms]).sum()
        loss.backward()
        self._d_optimizer.step()
        return loss.detach()

    def generator_step(self, noise: Tensor) -> Tensor:
        """One G step; returns its loss."""
        self._g_optimizer.zero_grad()
        loss = self.loss.generator({"fake": self.discriminator(self.generator(noise))}).mean()
        loss.backward()
        self._g_optimizer.step()
        return loss.detach()


# num -> stage, lambda and the partners [num] of one batch
Draw = Callable[[int], tuple[int, float, np.ndarray]]


def numpy_draw(stages: Sequence[int], alpha: float, generator: np.random.Generator) -> Draw:
    """Return a function that draws where to mix a batch, how strongly, and with what."""

    def draw(num: int) -> tuple[int, float, np.ndarray]:
        return int(generator.choice(stages)), generator.beta(alpha, alpha), generator.permutation(num)

    return draw


class TextbookClassifierTrainer:
    """The arithmetic of `algorithms.supervised.SupervisedTrainer` in the way of the authors of Manifold Mixup.

    Contiguous float32; one-hot targets are made on the CPU; the mixing is drawn within the forward pass, by numpy, and
    is `h * lam + h[partner] * (1 - lam)`; the loss is binary cross-entropy of the softmax outputs. Images come as ours
    do: data loading is not compared.

    Args:
        network: copied, see `plain_copy`.
        sgd: the optimiser's lr, momentum ...

    Source: https://github.com/vikasverma1077/manifold_mixup, supervised/ at 870ef77; their manner, not their text.
    """

    def __init__(self, network: Classifier, **sgd: Any):
        self.network = plain_copy(network)
        self._optimizer = torch.optim.SGD(self.network.parameters(), **sgd)

    def step(self, inputs: Tensor, labels: Tensor, draw: Draw | None) -> Tensor:
        """One step on prepared images [N, C, R, R] and their classes, int64 [N]; returns its loss."""
        logits, targets = self._forward(inputs, labels, draw)
        loss = F.binary_cross_entropy(logits.softmax(1), targets)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def _forward(self, h: Tensor, labels: Tensor, draw: Draw | None) -> tuple[Tensor, Tensor]:
        targets = torch.zeros(len(labels), self.network.num_classes)
        targets = targets.scatter_(1, labels[:, None].cpu(), 1).to(h.device)
        mixed_at = None
        if draw is not None:
            mixed_at, weight, partner = draw(len(h))
            lam = torch.tensor([weight], dtype=h.dtype, device=h.device)
        for k, stage in enumerate(self.network.stages.values()):
            if k == mixed_at:
                h, targets = mix(h, lam, partner), mix(targets, lam, partner)
            h = stage(h)
        return h, targets


def mix(h: Tensor, lam: Tensor, partner: np.ndarray) -> Tensor:
    """Return each row of `h` mixed with its partner's, as the authors do."""
    return h * lam + h[partner] * (1 - lam)
