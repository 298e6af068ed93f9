"""Supervised training of a classifier: the step, and nothing else."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.data import ImageBatches
from ganmix.networks import ConvClassifier
from ganmix.training.device import autocast, compiled


class SupervisedTrainer:
    """Trains a classifier by cross-entropy and SGD with Nesterov momentum.

    Args:
        network: images [N, C, R, R] -> logits [N, K].
        batches: `next()` returns (images, labels); its state is saved with the trainer's.
        total_steps: steps over which the learning rate falls linearly to 0.
        generator: of the batches' augmentation.
        bf16, compile: see `training.gan.GanTrainer`.
    """

    def __init__(
        self,
        network: ConvClassifier,
        batches: ImageBatches,
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        total_steps: int,
        generator: torch.Generator,
        bf16: bool = False,
        compile: bool = False,
    ):
        self.network = network
        self.batches = batches
        self.lr = lr
        self.total_steps = total_steps
        self.generator = generator
        self.steps_done = 0
        self._forward: Callable[..., Tensor] = compiled(network) if compile else network
        self._autocast = partial(autocast, next(network.parameters()).device, bf16)
        self._optimizer = torch.optim.SGD(
            network.parameters(), lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0
        )

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step."""
        return self.lr * (1 - self.steps_done / self.total_steps)

    def step(self) -> dict[str, Tensor]:
        """Take one step; return the loss and the accuracy on the batch."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.current_lr
        images, labels = self.batches.next()
        assert labels is not None
        with self._autocast():
            logits = self._forward(images).float()
        loss = F.cross_entropy(logits, labels)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.steps_done += 1
        return {"loss": loss.detach(), "accuracy": (logits.argmax(1) == labels).float().mean()}

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "steps_done": self.steps_done,
            "generator": self.generator.get_state(),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called."""
        self.steps_done = state["steps_done"]
        self.generator.set_state(state["generator"])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "optimizer": self._optimizer, "batches": self.batches}
