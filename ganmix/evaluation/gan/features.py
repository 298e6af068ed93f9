"""From images to features and logits, in passes of a fixed size."""

from typing import NamedTuple

import torch
from torch import Tensor

from ganmix.evaluation.gan.extractors import Extractor

# Images in a forward of the generator or an extractor. Not an option: convolutions round differently for other sizes,
# and a score must be the same to its last digit on any number of processes.
PASS = 64


class Features(NamedTuple):
    """Features float32 [N, D] and logits float32 [N, K] of N images, on the CPU."""

    features: Tensor
    logits: Tensor


@torch.no_grad()
def extract(images: Tensor, extractor: Extractor, device: torch.device) -> Features:
    """Return the features of images, uint8 [N, C, H, W] on any device, computed on `device`."""
    network = extractor.network.to(device)
    with torch.autocast(device.type, enabled=False):  # a score must not depend on an autocast around the caller
        passes = [network(part.to(device)) for part in images.split(PASS)]
    return join([Features(features.float().cpu(), logits.float().cpu()) for features, logits in passes])


def join(parts: list[Features]) -> Features:
    """Concatenate features of consecutive images."""
    return Features(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
