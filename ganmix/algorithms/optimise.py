"""Gradient descent of a classifier: SGD with momentum, the learning rate's course, L1, the moving average."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganmix.algorithms.average import MovingAverage


@dataclass(frozen=True)
class DescentSettings:
    """How a loss is descended.

    Args:
        lr: first learning rate.
        decay, drops: see `learning_rate`.
        momentum, nesterov, weight_decay: of SGD, all parameters alike.
        l1: coefficient of the sum of absolute weights.
        l1_of: "all" weights, or those of the "first" layer.
        ema: decay of the network's moving average; None: there is none.
    """

    lr: float
    decay: str = "linear"
    drops: Sequence[int] = ()
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0
    l1: float = 0.0
    l1_of: str = "all"
    ema: float | None = None


class Descent:
    """Takes steps down losses of one network.

    Args:
        total_steps: of the whole training, over which the rate falls.
    """

    def __init__(self, network: nn.Module, settings: DescentSettings, total_steps: int):
        self.network = network
        self.settings = settings
        self.total_steps = total_steps
        self.steps_done = 0
        weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]  # not biases, nor batch norm
        self._sparse = weights if settings.l1_of == "all" else weights[:1]
        self._optimizer = torch.optim.SGD(
            network.parameters(),
            settings.lr,
            settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )
        self._ema = MovingAverage(network, settings.ema) if settings.ema else None

    @property
    def shown_network(self) -> nn.Module:
        """The network to evaluate: the moving average where there is one."""
        return self.network if self._ema is None else self._ema.module

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step."""
        s = self.settings
        return learning_rate(s.lr, self.steps_done, self.total_steps, decay=s.decay, drops=s.drops)

    def step(self, loss: Tensor) -> None:
        """Take one step down `loss`, and down the L1 penalty beside it."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.current_lr
        if self.settings.l1:
            loss = loss + self.settings.l1 * l1_norm(self._sparse)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        if self._ema is not None:
            self._ema.update_parameters(self.network)
        self.steps_done += 1

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {"steps_done": self.steps_done, **{name: part.state_dict() for name, part in self._parts().items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called."""
        self.steps_done = state["steps_done"]
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self._optimizer}
        return parts if self._ema is None else {**parts, "ema": self._ema}


def learning_rate(first: float, step: int, total_steps: int, *, decay: str, drops: Sequence[int] = ()) -> float:
    """Return the learning rate of step `step`, counted from 0.

    Args:
        decay: "constant"; "linear" or "cosine" (Loshchilov and Hutter 2017), which reach 0 after `total_steps`;
            "multistep", which is a tenth from each step of `drops` on.
    """
    done = step / total_steps
    match decay:
        case "constant":
            return first
        case "linear":
            return first * (1 - done)
        case "cosine":
            return first * (1 + math.cos(math.pi * done)) / 2
        case "multistep":
            return first * 0.1 ** sum(drop <= step for drop in drops)
    raise ValueError(f"decay must be constant, linear, cosine or multistep, got {decay!r}")


def l1_norm(weights: Sequence[Tensor]) -> Tensor:
    """Return the sum of the absolute values of all entries, 0-d."""
    return torch.stack([weight.abs().sum() for weight in weights]).sum()
