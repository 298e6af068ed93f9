"""A training's state, as a checkpoint keeps it: the states of its parts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch

from ganmix.engine.streams import restore


class Resumable(ABC):
    """Counts its steps, and goes on from a checkpoint."""

    steps_done: int

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """Return by name what the next step depends on: generators, and parts that have a `state_dict`."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        states = {
            name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
            for name, part in self.parts().items()
        }
        return {"steps_done": self.steps_done, **states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called."""
        self.steps_done = state["steps_done"]
        for name, part in self.parts().items():
            if isinstance(part, torch.Generator):
                restore(part, state[name])
            else:
                part.load_state_dict(state[name])
