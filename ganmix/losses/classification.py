"""Classification losses of logits and of targets that may be soft, as those of mixes are."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over N of -sum_k targets_k log softmax(logits)_k.

    Linear in the targets: for `lam * one_hot(a) + (1 - lam) * one_hot(b)` it is lam CE(a) + (1 - lam) CE(b).

    Args:
        logits: [N, K].
        targets: classes, int64 [N], or their probabilities, float [N, K].
    """
    return F.cross_entropy(logits, targets)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over N and K of the binary cross-entropy of each softmax output, the authors' loss.

    Args:
        logits: [N, K].
        targets: as in `cross_entropy`.
    """
    if not targets.is_floating_point():
        targets = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
    log_p = logits.log_softmax(1)
    # log(1 - p), for the largest p from the sum of the others: 1 - p itself may be 0 in float32.
    largest = log_p.argmax(1, keepdim=True)
    others = log_p.scatter(1, largest, -torch.inf)
    log_not_p = torch.log1p(-others.exp()).scatter(1, largest, others.logsumexp(1, keepdim=True))
    return -(targets * log_p + (1 - targets) * log_not_p).mean()


def smooth(targets: Tensor, share: float) -> Tensor:
    """Give `share` of each target [N, K] to all K classes alike (label smoothing, Szegedy et al. 2016)."""
    return targets * (1 - share) + share / targets.shape[1]


CLASSIFICATION_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
}
