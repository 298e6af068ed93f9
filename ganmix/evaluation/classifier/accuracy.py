"""A classifier's accuracy, on clean or changed images, and the calibration of its probabilities."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.data import ImageData, to_float
from ganmix.engine.scores import Score

BATCH = 500  # images, or mixes of them, in a forward
ECE_BINS = 15
PROTOCOL = {"ece_bins": ECE_BINS}  # all that clean scores depend on besides the classifier and the images

Predict = Callable[[Tensor], Tensor]  # images [N, C, R, R] in [-1, 1] -> logits [N, K]
Change = Callable[[Tensor, Tensor], Tensor]  # images and labels of a batch -> the images that the classifier gets


@torch.no_grad()
def clean_scores(predict: Predict, data: ImageData, device: torch.device) -> list[Score]:
    """Return 'accuracy' in per cent, and `calibration_scores`, of a classifier in eval mode on `device`."""
    with torch.autocast(device.type, enabled=False):
        logits = torch.cat([predict(images) for images, _ in labelled_batches(data, device)]).cpu()
    assert data.labels is not None
    labels = data.labels.cpu()
    correct = 100 * (logits.argmax(1) == labels).double().mean().item()
    return [Score("accuracy", correct), *calibration_scores(logits, labels)]


def calibration_scores(logits: Tensor, labels: Tensor) -> list[Score]:
    """Score predicted probabilities against labels; lower is better.

    Args:
        logits: float [N, K].
        labels: int64 [N].

    Returns:
        'nll': mean negative log-likelihood in nats. 'ece': expected calibration error in [0, 1], with `ECE_BINS` bins
        of equal width of the top class's probability. 'brier': mean squared distance of the probabilities from the
        one-hot label, in [0, 2].

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3; Brier 1950.
    """
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    confidence, predicted = p.max(1)
    # Each bin holds its upper end, as Guo's do; no confidence is 0.
    bins = (confidence * ECE_BINS).ceil().long().clamp(1, ECE_BINS) - 1
    gaps = torch.zeros(ECE_BINS, dtype=p.dtype, device=p.device)
    gaps.index_add_(0, bins, confidence - (predicted == labels).double())
    return [
        Score("nll", F.nll_loss(log_p, labels).item()),
        Score("ece", gaps.abs().sum().item() / len(labels)),
        Score("brier", (p - F.one_hot(labels, p.shape[1])).square().sum(1).mean().item()),
    ]


@torch.no_grad()
def percent_correct(predict: Predict, data: ImageData, device: torch.device, change: Change) -> float:
    """Return a classifier's accuracy in per cent on changed images; call `change` on the batches in their order."""
    with torch.autocast(device.type, enabled=False):
        correct = [
            (predict(change(images, labels)).argmax(1) == labels).sum()
            for images, labels in labelled_batches(data, device)
        ]
    return 100 * torch.stack(correct).sum().item() / data.num_images


def labelled_batches(data: ImageData, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Move all images to `device` at once, as bytes; yield batches, float32 [B, C, R, R] in [-1, 1], with labels."""
    assert data.labels is not None, f"{data.name} has no labels"
    parts = zip(data.images.to(device).split(BATCH), data.labels.to(device).split(BATCH), strict=True)
    for images, labels in parts:
        yield to_float(images), labels
