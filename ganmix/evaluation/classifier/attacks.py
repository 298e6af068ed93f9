"""Accuracy under white-box attacks in the maximum norm: FGSM (Goodfellow et al. 2015), PGD (Madry et al. 2018).

Radii and steps are in units of the pixel range [0, 1], as 8/255, though images here are in [-1, 1].
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.data import ImageData
from ganmix.engine.scores import Score
from ganmix.evaluation.classifier.accuracy import Predict, percent_correct

PROTOCOL = {"attacked_loss": "cross-entropy of the true label", "pgd_start": "uniform in the ball"}


def fgsm(predict: Predict, images: Tensor, labels: Tensor, *, epsilon: float | Tensor, clamp: bool = True) -> Tensor:
    """Take one step of `epsilon` along the sign of the loss's gradient; see `pgd`.

    Source: Goodfellow et al. 2015, "Explaining and Harnessing Adversarial Examples".
    """
    return pgd(predict, images, labels, epsilon=epsilon, step=epsilon, steps=1, clamp=clamp)


def pgd(
    predict: Predict,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float | Tensor,
    step: float | Tensor,
    steps: int,
    clamp: bool = True,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Climb the loss along its gradient's sign; project each step onto the ball and the range of images.

    Args:
        predict: images -> logits [N, K], differentiable; in eval mode. Its parameters get no gradients.
        images: float [N, C, H, W] in [-1, 1].
        labels: int64 [N], the true classes; the loss is their cross-entropy.
        epsilon: radius of the ball in units of the pixel range [0, 1], one for all channels or float [C];
            `math.inf`: no ball.
        step: length of a step, in the same units and shapes.
        clamp: keep attacked images in [-1, 1].
        generator: draws a uniform start in the ball, on any device; None: start at the images.

    Returns:
        The attacked images [N, C, H, W].

    Raises:
        ValueError: a random start in an infinite ball.

    Source: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks".
    """
    images = images.detach()
    radius, stride = _for_channels(epsilon), _for_channels(step)
    lowest, highest = images - radius, images + radius
    if clamp:
        lowest, highest = lowest.clamp(min=-1), highest.clamp(max=1)
    attacked = images
    if generator is not None:
        if not isinstance(epsilon, Tensor) and math.isinf(epsilon):
            raise ValueError("a random start needs a finite epsilon, got inf")
        uniform = torch.rand(images.shape, dtype=images.dtype, generator=generator, device=generator.device)
        attacked = (images + radius * (2 * uniform.to(images.device) - 1)).clamp(lowest, highest)
    for _ in range(steps):
        attacked = (attacked + stride * _gradient(predict, attacked, labels).sign()).clamp(lowest, highest)
    return attacked


def attack_scores(
    predict: Predict,
    data: ImageData,
    device: torch.device,
    *,
    epsilon: float,
    pgd_step: float,
    pgd_steps: int,
    seed: int,
    std: Tensor | None = None,
) -> list[Score]:
    """Score a classifier on images attacked by FGSM and by PGD.

    Differs from the paper's code where `std` is None: the authors attacked the normalised tensor, so that an epsilon
    of 0.03 moved a pixel of CIFAR-10 by only 2/255, and left the range of images.

    Args:
        predict: a classifier in eval mode, on `device`.
        epsilon, pgd_step, pgd_steps: see `pgd`.
        seed: of PGD's random start.
        std: the training images' standard deviations, float [C] in units of the pixel range [0, 1]: epsilon and step
            are in units of these and nothing is clamped, as the authors did. None: attack the images.

    Returns:
        'FGSM' and 'PGD': accuracies in per cent.
    """
    unit, clamp = (1.0, True) if std is None else (std.to(device), False)
    one_step = partial(fgsm, predict, epsilon=epsilon * unit, clamp=clamp)
    many_steps = partial(
        pgd,
        predict,
        epsilon=epsilon * unit,
        step=pgd_step * unit,
        steps=pgd_steps,
        clamp=clamp,
        generator=torch.Generator().manual_seed(seed),
    )
    return [
        Score("FGSM", percent_correct(predict, data, device, one_step)),
        Score("PGD", percent_correct(predict, data, device, many_steps)),
    ]


def unbounded_scores(
    predict: Predict, data: ImageData, device: torch.device, *, step: float, steps: int
) -> list[Score]:
    """Score a classifier on images attacked by PGD without a ball: 'unbounded PGD', accuracy in per cent.

    It is near 0 unless the gradients are masked. Differs from the paper's code: attacked images stay in [-1, 1]; the
    authors attacked the normalised tensor and left the range.

    Args:
        step, steps: see `pgd`; 0.01 and 200 in the paper (appendix D).

    Source: Athalye et al. 2018, "Obfuscated Gradients Give a False Sense of Security", section 3.1.
    """
    attack = partial(pgd, predict, epsilon=math.inf, step=step, steps=steps)
    return [Score("unbounded PGD", percent_correct(predict, data, device, attack))]


def _for_channels(length: float | Tensor) -> float | Tensor:
    """Turn units of [0, 1] into those of [-1, 1], in a shape that broadcasts with [N, C, H, W]."""
    return 2 * length.view(-1, 1, 1) if isinstance(length, Tensor) else 2 * length


def _gradient(predict: Predict, images: Tensor, labels: Tensor) -> Tensor:
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        loss = F.cross_entropy(predict(images), labels, reduction="sum")  # so that images do not share a gradient
        return torch.autograd.grad(loss, images)[0]
