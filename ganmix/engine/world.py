"""Several processes on one job, as torchrun starts them; without torchrun, a world of one."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class World:
    """This process's place among all: rank 0..size - 1. Rank 0 speaks and writes.

    Args:
        local_rank: its place on its own machine, which is the number of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def speaks(self) -> bool:
        """Whether this process prints and writes files."""
        return self.rank == 0

    def place(self, device: torch.device) -> torch.device:
        """Return this process's own GPU where `device` is any, and `device` itself otherwise."""
        return torch.device("cuda", self.local_rank) if self.size > 1 and device.type == "cuda" else device

    def map(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        watch: Callable[[Sequence[T]], Sequence[T]] = lambda items: items,
    ) -> list[R]:
        """Apply `function` to every item, each in one of the processes; return all results, in order, on rank 0.

        The other ranks get an empty list. What comes out does not depend on the number of processes.

        Args:
            watch: wraps what this process iterates over, as a progress bar does.
        """
        mine = [function(item) for item in watch(items[self.rank :: self.size])]
        if self.size == 1:
            return mine
        parts: list[Any] | None = [None] * self.size if self.speaks else None
        dist.gather_object(mine, parts)
        if parts is None:
            return []
        return [parts[i % self.size][i // self.size] for i in range(len(items))]

    def share(self, value: T) -> T:
        """Return rank 0's `value`, in every process."""
        if self.size == 1:
            return value
        holder = [value]
        dist.broadcast_object_list(holder)
        return holder[0]


@contextmanager
def world() -> Iterator[World]:
    """Join the processes that torchrun started this one with, until the end of a `with`."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield World()
        return
    # Between CPUs, whatever computes: only results travel. Rank 0 may compute scores for long at the end.
    dist.init_process_group("gloo", timeout=timedelta(hours=2))
    try:
        yield World(dist.get_rank(), size, int(os.environ.get("LOCAL_RANK", 0)))
    finally:
        dist.destroy_process_group()
