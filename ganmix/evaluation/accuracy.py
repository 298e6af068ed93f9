"""Accuracy and negative log-likelihood of a classifier on clean images."""

import torch
import torch.nn.functional as F
from torch import nn

from ganmix.data import ImageData, to_float

BATCH = 500


@torch.no_grad()
def accuracy_scores(network: nn.Module, data: ImageData, device: torch.device) -> dict[str, float]:
    """Return 'accuracy' in [0, 1] and 'nll' in nats, means over all images; the network's mode is put back."""
    assert data.labels is not None
    training = network.training
    network.eval()
    correct, nll = 0.0, 0.0
    for images, labels in zip(data.images.split(BATCH), data.labels.split(BATCH), strict=True):
        logits = network(to_float(images.to(device))).float().cpu()
        correct += (logits.argmax(1) == labels).sum().item()
        nll += F.cross_entropy(logits, labels, reduction="sum").item()
    network.train(training)
    return {"accuracy": correct / data.num_images, "nll": nll / data.num_images}
