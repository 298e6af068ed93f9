"""What all trainers have."""

from typing import Any, Protocol

from torch import Tensor

from ganmix.algorithms.optimise import Descent
from ganmix.algorithms.resumable import Resumable
from ganmix.mixup import MixPlan


class Batches(Protocol):
    """Endless training batches that go on from a saved state."""

    def next(self) -> tuple[Tensor, Tensor | None]:
        """Return images, float [N, C, R, R] on the device, N always the same, and their classes, int64 [N], or None."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Trainer(Resumable):
    """Counts its steps by one of its descents."""

    descent: Descent[Any]
    last_plan: MixPlan | None = None

    @property
    def steps_done(self) -> int:
        return self.descent.steps_done

    @steps_done.setter
    def steps_done(self, value: int) -> None:
        self.descent.steps_done = value

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step."""
        return self.descent.current_lr
