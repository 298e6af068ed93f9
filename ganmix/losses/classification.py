"""Classification losses of logits [N, K] and hard or soft targets. A new one is an entry of `CLASSIFICATION_LOSSES`."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over N and K of the binary cross-entropy of each softmax output, the authors' loss.

    Args:
        logits: [N, K].
        targets: classes, int64 [N], or their probabilities, float [N, K].
    """
    if not targets.is_floating_point():
        targets = F.one_hot(targets, logits.shape[1]).to(logits.dtype)
    log_p = logits.log_softmax(1)
    # The log(1 - p) of the largest p is that of the sum of the others: 1 - p itself may be 0 in float32.
    largest = log_p.argmax(1, keepdim=True)
    others = log_p.scatter(1, largest, -torch.inf)
    log_not_p = torch.log1p(-others.exp()).scatter(1, largest, others.logsumexp(1, keepdim=True))
    return -(targets * log_p + (1 - targets) * log_not_p).mean()


def smooth(targets: Tensor, share: float) -> Tensor:
    """Spread `share` of each target [N, K] evenly over all K classes (label smoothing, Szegedy et al. 2016)."""
    return targets * (1 - share) + share / targets.shape[1]


CLASSIFICATION_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": F.cross_entropy,  # linear in the targets: of a mix, lam CE(a) + (1 - lam) CE(b)
    "binary_cross_entropy": binary_cross_entropy,
}
