"""How a network descends its losses: G, D and classifiers alike."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ganmix.algorithms.parts import load_state, state_of

Network = TypeVar("Network", bound=nn.Module)
# Spectral norm's estimates of the first singular vectors, in torch's parametrization and in its older form.
SINGULAR_VECTORS = {"_u", "_v", "weight_u", "weight_v"}


class Descent(Generic[Network]):
    """A network, its optimiser and its moving average, and the steps they take together.

    It is the only place that changes weights, so that it alone will have to average gradients over processes.

    Args:
        optimizer: of the network's parameters.
        schedule: the learning rate of each step, counted from 0.
        l1: coefficient of the sum of absolute weights.
        l1_of: "all" weights, or those of the "first" layer.
        ema: decay of the network's moving average; None: there is none.
    """

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        schedule: Callable[[int], float],
        *,
        l1: float = 0.0,
        l1_of: str = "all",
        ema: float | None = None,
    ):
        self.network = network
        self.optimizer = optimizer
        self.steps_done = 0
        self._schedule = schedule
        self._l1 = l1
        weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]  # not biases, nor batch norm
        self._sparse = weights if l1_of == "all" else weights[:1]
        self._average = MovingAverage(network, ema) if ema else None

    @property
    def shown_network(self) -> nn.Module:
        """The network to evaluate: the moving average where there is one."""
        return self.network if self._average is None else self._average.module

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step."""
        return self._schedule(self.steps_done)

    def step(self, loss: Tensor) -> None:
        """Take one step down `loss`, and down the L1 penalty beside it."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.current_lr
        self.step_aside(loss + self._l1 * l1_norm(self._sparse) if self._l1 else loss)
        if self._average is not None:
            self._average.update_parameters(self.network)
        self.steps_done += 1

    def step_aside(self, loss: Tensor) -> None:
        """Take a step down `loss` at the last step's rate that counts for neither the schedule nor the average."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def gradient_norm(self) -> Tensor:
        """Return the norm of all gradients of the last step, 0-d."""
        return get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {"steps_done": self.steps_done, **state_of(self._parts())}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called."""
        self.steps_done = state["steps_done"]
        load_state(self._parts(), state)

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer}
        return parts if self._average is None else {**parts, "ema": self._average}


def learning_rate(first: float, step: int, total_steps: int, *, decay: str, drops: Sequence[int] = ()) -> float:
    """Return the learning rate of step `step`, counted from 0.

    Args:
        decay: "constant"; "linear" or "cosine" (Loshchilov and Hutter 2017), which reach 0 after `total_steps`;
            "multistep", which is a tenth from each step of `drops` on.
    """
    done = step / total_steps
    factors = {
        "constant": 1.0,
        "linear": 1 - done,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "multistep": 0.1 ** sum(drop <= step for drop in drops),
    }
    if decay not in factors:
        raise ValueError(f"decay must be constant, linear, cosine or multistep, got {decay!r}")
    return first * factors[decay]


class MovingAverage(AveragedModel):
    """The exponential moving average of parameters and buffers, beginning with those of the first update.

    The singular vectors of spectral norm are the network's own: an average of unit vectors is shorter than they are, so
    that weights divided by the norm it estimates would come out too large.

    Args:
        network: copied.
        decay: what each update leaves of the average, in (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights that `model`, the network that was copied, has now."""
        super().update_parameters(model)
        for (name, average), current in zip(self.module.named_buffers(), model.buffers(), strict=True):
            if name.rpartition(".")[2] in SINGULAR_VECTORS:
                average.copy_(current)


def l1_norm(weights: Sequence[Tensor]) -> Tensor:
    """Return the sum of the absolute values of all entries, 0-d."""
    return torch.stack([weight.abs().sum() for weight in weights]).sum()
