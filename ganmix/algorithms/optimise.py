"""How G, D and classifiers descend their losses."""

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ganmix.algorithms.resumable import Resumable

Network = TypeVar("Network", bound=nn.Module)
# Spectral norm's estimates of the first singular vectors, in torch's parametrization and in its older form.
SINGULAR_VECTORS = {"_u", "_v", "weight_u", "weight_v"}


@dataclass(eq=False)
class Descent(Resumable, Generic[Network]):
    """A network, its optimiser and its moving average, and the steps they take together. Nothing else changes weights.

    Args:
        schedule: step, counted from 0 -> learning rate.
        l1: coefficient of the sum of absolute weights.
        l1_of: "all" weights, or those of the "first" layer.
        ema: decay of the network's moving average; None: no average.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], float]
    _: KW_ONLY
    l1: float = 0.0
    l1_of: str = "all"
    ema: float | None = None
    steps_done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        # Neither biases nor batch norm.
        weights = [parameter for parameter in self.network.parameters() if parameter.ndim > 1]
        self._sparse = weights if self.l1_of == "all" else weights[:1]
        self._average = MovingAverage(self.network, self.ema) if self.ema else None

    @property
    def shown_network(self) -> nn.Module:
        """The network to evaluate: the moving average if there is one."""
        return self.network if self._average is None else self._average.module

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step."""
        return self.schedule(self.steps_done)

    def step(self, loss: Tensor) -> None:
        """Take one step down `loss` and the L1 penalty."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.current_lr
        self.step_aside(loss + self.l1 * l1_norm(self._sparse) if self.l1 else loss)
        if self._average is not None:
            self._average.update_parameters(self.network)
        self.steps_done += 1

    def step_aside(self, loss: Tensor) -> None:
        """Take a step down `loss` at the last rate, without counting it in the schedule or the average."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def gradient_norm(self) -> Tensor:
        """Return the norm of all gradients of the last step, 0-d."""
        return get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])

    def parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer}
        return parts if self._average is None else {**parts, "ema": self._average}


def learning_rate(first: float, step: int, total_steps: int, *, decay: str, drops: Sequence[int] = ()) -> float:
    """Return the learning rate of step `step`, counted from 0.

    Args:
        decay: "constant"; "linear" or "cosine" (Loshchilov and Hutter 2017), which reach 0 after `total_steps`;
            "multistep", which divides by 10 at each step of `drops`.
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
    """The exponential moving average of parameters and buffers; the first update copies them.

    Each update copies spectral norm's singular vectors. An average of unit vectors is shorter than 1, so it would
    underestimate the norm, and the weights divided by it would be too large.
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Average in the current weights of `model`."""
        super().update_parameters(model)
        for (name, average), current in zip(self.module.named_buffers(), model.buffers(), strict=True):
            if name.rpartition(".")[2] in SINGULAR_VECTORS:
                average.copy_(current)


def l1_norm(weights: Sequence[Tensor]) -> Tensor:
    """Return the sum of the absolute values of all entries, 0-d."""
    return torch.stack([weight.abs().sum() for weight in weights]).sum()
