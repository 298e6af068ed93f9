"""Classifiers, batches and states at a size that a test of a training step can afford."""

import copy
import io
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ganmix.algorithms.optimise import Descent, learning_rate
from ganmix.data import BatchOrder, ImageBatches, augment
from ganmix.networks.classifier import Classifier, ConvClassifier

NUM, K, SIDE = 6, 4, 8  # images in a batch, classes, pixels
LR = 0.3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class MadeBatches:
    """Endless random float64 images and labels."""

    def __init__(self, seed: int = 7, *, num: int = NUM, labelled: bool = True):
        self.generator = generator(seed)
        self.num = num
        self.labelled = labelled

    def next(self) -> tuple[Tensor, Tensor | None]:
        images = torch.rand(self.num, 3, SIDE, SIDE, generator=self.generator, dtype=torch.float64) * 2 - 1
        labels = torch.randint(K, (self.num,), generator=self.generator)
        return images, labels if self.labelled else None

    def state_dict(self) -> dict[str, Tensor]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.generator.set_state(state["generator"])


def image_batches(seed: int, augmenting: torch.Generator, *, num: int = 20, labelled: bool = True) -> ImageBatches:
    """Batches of made images, with all the augmentation there is."""
    images = torch.randint(256, (num, 3, SIDE, SIDE), generator=generator(5), dtype=torch.uint8)
    return ImageBatches(
        images,
        torch.arange(num) % K if labelled else None,
        BatchOrder(num, NUM, seed, "cpu"),
        partial(augment, flip=True, dequantise=True, crop_padding=2, padding="reflect", generator=augmenting),
    )


def small_network(seed: int = 0, prepare: nn.Module | None = None) -> Classifier:
    torch.manual_seed(seed)
    return ConvClassifier(3, SIDE, num_classes=K, prepare=prepare, width=2, downsample="stride")


def sgd_descent(network: Classifier, *, weight_decay: float = 0.0, decay: str = "constant", **options) -> Descent:
    """A training of 10 steps with Nesterov momentum."""
    sgd = torch.optim.SGD(network.parameters(), LR, 0.9, weight_decay=weight_decay, nesterov=True)
    return Descent(network, sgd, partial(learning_rate, LR, total_steps=10, decay=decay), **options)


def state(network: nn.Module) -> dict[str, Tensor]:
    """All parameters and running statistics, as they are now."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def through_a_file(content: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint makes of a state."""
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def mix(values: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
    """lambda x_i + (1 - lambda) x_j, written out."""
    lam = lam.double().reshape(-1, *[1] * (values.ndim - 1)) if lam.ndim else lam.double()
    return lam * values + (1 - lam) * values[partner]


def mixed_logits(network: Classifier, inputs: Tensor, stage: int, partner: Tensor, lam: Tensor) -> Tensor:
    """g_k of the mix of h_k(x_i) and h_k(x_j), stage by stage."""
    h = inputs
    for k, layer in enumerate(network.stages.values()):
        h = layer(mix(h, partner, lam) if k == stage else h)
    return h


def check_stream_of_another_device(build: Callable[[], Any], stream: str, capsys: Any) -> None:
    """Check that two trainers go on alike from one saved on CUDA, and that each says so in a line."""
    trainer = build()
    trainer.step()
    saved = {**trainer.state_dict(), stream: torch.arange(16, dtype=torch.uint8)}  # as long as CUDA's
    records = []
    for _ in range(2):
        resumed = build()
        resumed.load_state_dict(copy.deepcopy(saved))  # an optimiser goes on in the very tensors it is given
        records.append(resumed.step())
    assert records[0] == records[1]
    assert [line[:5] for line in capsys.readouterr().err.splitlines()] == ["note:"] * 2
