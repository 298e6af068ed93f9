"""A small convolutional classifier; trained ones are the feature extractors of the scores (evaluation/extractors)."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ganmix.networks.staged import Staged


class ConvStage(nn.Module):
    """Conv 3x3 of stride 1 or 2, BN, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class MeanPool(nn.Module):
    """Mean over the pixels: [N, C, H, W] -> [N, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class ConvClassifier(Staged):
    """Images [N, C, R, R] in [-1, 1] -> logits [N, classes]; three convolutions, the last two of stride 2.

    Args:
        resolution, channels: of the images it is trained on.
        num_classes: K.
        width: channels of the first convolution; then 2 and 4 times as many.
    """

    def __init__(self, resolution: int, channels: int, *, num_classes: int, width: int):
        convs = {
            "conv1": ConvStage(channels, width, 1),
            "conv2": ConvStage(width, 2 * width, 2),
            "conv3": ConvStage(2 * width, 4 * width, 2),
        }
        super().__init__({**convs, "pool": MeanPool(), "linear": nn.Linear(4 * width, num_classes)})
        self.resolution = resolution
        self.channels = channels
        self.settings = {
            "resolution": resolution,
            "channels": channels,
            "num_classes": num_classes,
            "width": width,
        }

    def features_and_logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled features [N, 4 * width] and the logits [N, K]."""
        features = self.hidden(x, len(self.stages) - 1)
        return features, self.stages["linear"](features)


def save_classifier(path: Path, network: ConvClassifier, recipe: dict[str, Any]) -> None:
    """Write weights, settings and the recipe (config and result) that made them, as one safetensors file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {"settings": json.dumps(network.settings), "recipe": json.dumps(recipe)}
    save_file(tensors, path, metadata)


def load_classifier(path: Path) -> ConvClassifier:
    """Read what `save_classifier` wrote; in eval mode, on the CPU."""
    with safe_open(path, framework="pt") as file:
        settings = json.loads(file.metadata()["settings"])
    with torch.random.fork_rng():  # its random initial weights are overwritten; the caller's draws must not move
        network = ConvClassifier(**settings)
    network.load_state_dict(load_file(path))
    return network.eval()
