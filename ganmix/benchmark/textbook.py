"""Steps as others write them, the same functions as ours computed in the plain way, to time ours against.

The GAN steps are those of most toolkits: resampling is apart from the convolution beside it, each term of D's loss has
a pass of its own, and the G step computes unused gradients of D's weights. The classifier step is that of the authors
of Manifold Mixup.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
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

_double = partial(F.interpolate, scale_factor=2.0)
PLAIN: dict[type[nn.Module], Callable[..., Tensor]] = {
    UpsampleConv2d: lambda layer, x: F.conv2d(_double(x), layer.weight, layer.bias, padding=1),
    ConvDownsample2d: lambda layer, x: F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2),
    UpsampleShortcut: lambda layer, x: _double(x) if layer.conv is None else layer.conv(_double(x)),
    DownsampleShortcut: lambda layer, x: F.avg_pool2d(layer.conv(x), 2),
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
    """D and G steps that compute what `algorithms.gan.GanTrainer` does; every mix counts as fake."""

    def __init__(self, generator: Staged, discriminator: Staged, loss: GanLoss, **adam: Any):
        self.generator = plain_copy(generator)
        self.discriminator = plain_copy(discriminator)
        self.loss = loss
        self._g_optimizer = torch.optim.Adam(self.generator.parameters(), **adam)
        self._d_optimizer = torch.optim.Adam(self.discriminator.parameters(), **adam)

    def discriminator_step(self, real: Tensor, noise: Tensor, plan: MixPlan) -> Tensor:
        """Take a D step; return its loss."""
        self._d_optimizer.zero_grad()
        fake = self.generator(noise).detach()
        logits = {"real": self.discriminator(real), "fake": self.discriminator(fake)}
        if plan.mixed:
            # Hidden states from passes of their own, then on from the stage they were mixed at.
            h = torch.cat([self.discriminator.hidden(x, plan.stage) for x in (real, fake)])
            parts = zip(*(rows.split(len(real)) for rows in (plan.lam, plan.a, plan.b)), strict=True)
            for pair, (lam, a, b) in zip(plan.mixed, parts, strict=True):
                lam = lam.reshape(-1, *[1] * (h.ndim - 1))
                mixed = lam * h[a] + (1 - lam) * h[b]
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
        """Take a G step; return its loss."""
        self._g_optimizer.zero_grad()
        loss = self.loss.generator({"fake": self.discriminator(self.generator(noise))}).mean()
        loss.backward()
        self._g_optimizer.step()
        return loss.detach()


Draw = Callable[[int], tuple[int, float, np.ndarray]]  # num -> stage, lambda and the partners [num] of one batch


def numpy_draw(stages: Sequence[int], alpha: float, generator: np.random.Generator) -> Draw:
    """Return a function that draws where to mix a batch, how strongly, and with what."""
    return lambda num: (int(generator.choice(stages)), generator.beta(alpha, alpha), generator.permutation(num))


class TextbookClassifierTrainer:
    """The step of `algorithms.supervised.SupervisedTrainer` as the authors of Manifold Mixup write it.

    Contiguous float32; one-hot targets are made on the CPU; numpy draws the mixing within the forward pass; the loss is
    binary cross-entropy of the softmax outputs. Data loading is not compared.

    Source: https://github.com/vikasverma1077/manifold_mixup, supervised/ at 870ef77; their manner, not their text.
    """

    def __init__(self, network: Classifier, **sgd: Any):
        self.network = plain_copy(network)
        self._optimizer = torch.optim.SGD(self.network.parameters(), **sgd)

    def step(self, inputs: Tensor, labels: Tensor, draw: Draw | None) -> Tensor:
        """Take a step on prepared images [N, C, R, R] and their classes, int64 [N]; return its loss."""
        h, targets = inputs, torch.zeros(len(labels), self.network.num_classes)
        targets = targets.scatter_(1, labels[:, None].cpu(), 1).to(h.device)
        mixed_at = None
        if draw is not None:
            mixed_at, weight, partner = draw(len(h))
            lam = torch.tensor([weight], dtype=h.dtype, device=h.device)
        for k, stage in enumerate(self.network.stages.values()):
            if k == mixed_at:
                h, targets = mix(h, lam, partner), mix(targets, lam, partner)
            h = stage(h)
        loss = F.binary_cross_entropy(h.softmax(1), targets)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.detach()


def mix(h: Tensor, lam: Tensor, partner: np.ndarray) -> Tensor:
    """Return each row of `h` mixed with its partner's, as the authors do."""
    return h * lam + h[partner] * (1 - lam)
