"""What Ctrl-C and a scheduler send, handed to a function for a while."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def handling_signals(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with each SIGINT and SIGTERM until the end of a `with`; then what was there before is again."""

    def receive(signum: int, frame: FrameType | None) -> None:
        handle(signum)

    old = {signum: signal.signal(signum, receive) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in old.items():
            signal.signal(signum, handler)
