"""How far a piece of work is, on stderr: a bar on a terminal; elsewhere a training prints a line now and then."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

from tqdm import tqdm

if TYPE_CHECKING:  # the report speaks too, and needs no torch
    from torch import Tensor, nn

T = TypeVar("T")
PLAIN_SECONDS = 10  # between the lines of a training where stderr is no terminal


def say(text: str) -> None:
    """Print a line on stderr without breaking a bar there; stdout stays free."""
    tqdm.write(text, file=sys.stderr)


def bar(items: Sequence[T], what: str, scale: int = 1) -> Sequence[T]:
    """Wrap what is iterated over in a bar, below a training's, where stderr is a terminal.

    Args:
        what: names the work.
        scale: images in an item.
    """
    if not sys.stderr.isatty():
        return items
    # tqdm iterates like what it wraps
    return cast("Sequence[T]", tqdm(items, what, leave=False, position=1, unit=" images", unit_scale=scale))


class TrainingProgress:
    """Steps, images per second, time left and the last losses of a training."""

    def __init__(self, step: int, total_steps: int, images_per_step: int):
        self.losses: Mapping[str, float] = {}
        self._images_per_step = images_per_step
        self._total = total_steps
        self._first = step
        self._start = self._last = time.monotonic()
        self._bar = tqdm(total=total_steps, initial=step, unit="step") if sys.stderr.isatty() else None

    def show(self, step: int) -> None:
        """Show that `step` steps are done."""
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            if now - self._last > 1:
                self._bar.set_postfix_str(f"{self._speed(step, now):.0f} images/s{self._last_losses()}", refresh=False)
                self._last = now
        elif now - self._last > PLAIN_SECONDS or step == self._total:
            left = (now - self._start) * (self._total - step) / max(1, step - self._first)
            minutes, seconds = divmod(round(left), 60)
            print(
                f"step {step}/{self._total}  {self._speed(step, now):.0f} images/s  "
                f"{minutes}:{seconds:02d} left{self._last_losses()}",
                file=sys.stderr,
            )
            self._last = now

    def close(self) -> None:
        """Finish the bar."""
        if self._bar is not None:
            self._bar.close()

    def _speed(self, step: int, now: float) -> float:
        return (step - self._first) * self._images_per_step / max(1e-9, now - self._start)

    def _last_losses(self) -> str:
        return "".join(f"  {name} {value:.3f}" for name, value in self.losses.items())


@contextmanager
def images_through(network: "nn.Module", what: str, total: int) -> Iterator[None]:
    """Show a bar of the images that pass a network, on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with tqdm(total=total, desc=what, unit=" images", unit_scale=True, leave=False, position=1) as shown:

        def count(module: "nn.Module", inputs: object, logits: "Tensor") -> None:
            shown.update(len(logits))

        hook = network.register_forward_hook(count)
        try:
            yield
        finally:
            hook.remove()
