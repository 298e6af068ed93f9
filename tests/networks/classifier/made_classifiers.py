"""Each classifier at a size that a test can afford."""

from typing import Any

import torch
from torch import Tensor

from ganmix.networks.classifier import CLASSIFIERS, Classifier

SIZES: dict[str, dict[str, Any]] = {
    "conv": {"width": 4, "downsample": "stride"},
    "preact_resnet": {"depth": 18, "width": 4},
    "wide_resnet": {"depth": 10, "width": 1},
    "bottleneck_mlp": {"hidden": 16, "bottleneck": 3},
}


def make_classifier(name: str, resolution: int = 8, channels: int = 3, num_classes: int = 4, **keys: Any) -> Classifier:
    """A network with random weights, biases and running statistics, in training mode."""
    torch.manual_seed(0)
    network = CLASSIFIERS[name](channels, resolution, num_classes=num_classes, **{**SIZES[name], **keys})
    with torch.no_grad():
        for key, tensor in network.stages.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.ndim == 1:  # biases, and what batch norm has
                tensor.add_(torch.randn_like(tensor), alpha=0.2)
    return network


def make_images(num: int = 6, resolution: int = 8, channels: int = 3) -> Tensor:
    """Noise in [-1, 1]."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(num, channels, resolution, resolution, generator=generator) * 2 - 1


def make_bytes(num: int = 200, resolution: int = 8, channels: int = 3) -> Tensor:
    """uint8 images of smooth noise: neighbours resemble each other, channels differ in mean and spread."""
    noise = make_images(num, resolution, channels)
    smooth = noise + noise.roll(1, 2) + noise.roll(1, 3)
    spread = torch.linspace(15, 40, channels).view(-1, 1, 1)
    return (smooth * spread + 128 - spread).clamp(0, 255).to(torch.uint8)
