"""A trained classifier as a safetensors file; such a file can also be the feature extractor of scores."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ganmix.networks.classifier import CLASSIFIERS, PREPARATIONS, Classifier


def classifier_file(network: Classifier, recipe: dict[str, Any]) -> bytes:
    """Return weights, settings and their recipe (config and result) as a safetensors file.

    Raises:
        ValueError: the preparation is none of `PREPARATIONS`, so the file could not be loaded.
    """
    preparation = network.settings["prepare"]
    if preparation is not None:
        _entry(PREPARATIONS, preparation, "preparation")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {"settings": json.dumps(network.settings), "recipe": json.dumps(recipe)}
    return bytes(safetensors.torch.save(tensors, metadata))


def load_classifier(path: Path) -> Classifier:
    """Load a classifier from a file of `classifier_file`, in eval mode, on the CPU.

    Raises:
        ValueError: the kind of network or preparation is unknown.
    """
    with safetensors.safe_open(path, framework="pt") as file:
        settings = json.loads(file.metadata()["settings"])
    name, preparation = settings.pop("name"), settings.pop("prepare")
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
