"""The exceptions that end a run early for a reason the user must know, each with its exit status."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class UserError(Exception):
    """A config, an argument or data that cannot be used: one line per problem, no traceback, exit status 2."""

    exit_status = 2

    def __init__(self, problems: str | Sequence[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Turn a lower layer's ValueError or UserError into a UserError that names the config's key, line by line."""
    try:
        yield
    except (ValueError, UserError) as error:
        raise UserError([f"{key}: {line}" for line in str(error).splitlines()]) from error


def first_line(error: Exception) -> str:
    """Return the first line of a library's error message, or the error's type if the message is empty."""
    return (str(error) or type(error).__name__).splitlines()[0]


class DivergedError(Exception):
    """A loss or a gradient is not a finite number: exit status 3."""

    exit_status = 3


class Stopped(Exception):  # noqa: N818
    """A signal ended a training after its state was saved: exit status 128 + the signal's number."""

    def __init__(self, signum: int):
        self.exit_status = 128 + signum
        super().__init__(signal.Signals(signum).name)
