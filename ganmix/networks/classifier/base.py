"""What every classifier is, and its file; trained ones are the feature extractors of the scores too."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
from torch import Tensor, nn

from ganmix.networks.classifier.prepare import PREPARATIONS
from ganmix.networks.staged import Staged


class Classifier(Staged):
    """Images [N, C, R, R] in [-1, 1] -> logits [N, K]: a preparation, the stages, and a last one called 'linear'.

    `forward` takes what `prepare` returns, so that a plan at stage 0 mixes prepared images; `predict` takes images.

    Args:
        stages: name -> module, in order; prepared images to features [N, D].
        num_features: D.
        resolution, channels: R and C of the images it is made for.
        num_classes: K.
        prepare: what is done to images before stage 0, one of `PREPARATIONS` if the classifier shall be saved; None:
            nothing.
        keys: the other arguments of the network's own constructor, from which it is built again.
    """

    name: ClassVar[str]  # in CLASSIFIERS

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        num_features: int,
        resolution: int,
        channels: int,
        *,
        num_classes: int,
        prepare: nn.Module | None,
        keys: Mapping[str, int | float | str],
    ):
        super().__init__({**stages, "linear": nn.Linear(num_features, num_classes)})
        self.prepare = nn.Identity() if prepare is None else prepare
        self.resolution = resolution
        self.channels = channels
        self.num_classes = num_classes
        self.settings: dict[str, Any] = {
            "name": self.name,
            "prepare": None if prepare is None else getattr(prepare, "name", type(prepare).__name__),
            "resolution": resolution,
            "channels": channels,
            "num_classes": num_classes,
            **keys,
        }

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits [N, K] of images [N, C, R, R] in [-1, 1], differentiable in the images."""
        return self(self.prepare(images))

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features [N, D], which the last layer sees, and the logits [N, K] of images in [-1, 1]."""
        features = self.hidden(self.prepare(images), len(self.stages) - 1)
        return features, self.stages["linear"](features)


def classifier_file(network: Classifier, recipe: dict[str, Any]) -> bytes:
    """Return weights, settings and the recipe (config and result) that made them, as a safetensors file.

    Raises:
        ValueError: its preparation is none of `PREPARATIONS`, so that the file could not be read.
    """
    preparation = network.settings["prepare"]
    if preparation is not None:
        _entry(PREPARATIONS, preparation, "preparation")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {"settings": json.dumps(network.settings), "recipe": json.dumps(recipe)}
    content: bytes = safetensors.torch.save(tensors, metadata)
    return content


def load_classifier(path: Path) -> Classifier:
    """Read a file with what `classifier_file` returned; in eval mode, on the CPU.

    Raises:
        ValueError: the network or its preparation is of a kind unknown here.
    """
    from ganmix.networks.classifier import CLASSIFIERS  # which are subclasses of what this file defines

    with safetensors.safe_open(path, framework="pt") as file:
        settings = json.loads(file.metadata()["settings"])
    name, preparation = settings.pop("name", "conv"), settings.pop("prepare", None)  # the oldest files say neither
    prepare = None
    if preparation is not None:
        make = _entry(PREPARATIONS, preparation, "preparation")
        prepare = make.empty(settings["channels"], settings["resolution"])
    # Its random initial weights are overwritten; the caller's draws must not move.
    with torch.random.fork_rng(devices=[]):
        network: Classifier = _entry(CLASSIFIERS, name, "classifier")(**settings, prepare=prepare)
    network.load_state_dict(safetensors.torch.load_file(path))
    return network.eval()


def _entry(table: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in table:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(table)}")
    return table[name]
