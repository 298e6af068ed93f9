"""What every verb has: its errors become lines on stderr and an exit status."""

import sys
from collections.abc import Callable, Sequence
from functools import wraps

from ganmix.errors import DivergedError, Stopped, UserError


def command(work: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Make a command of a function that parses arguments (None: the command line's) and does the work."""

    @wraps(work)
    def run(arguments: Sequence[str] | None = None) -> int:
        return exit_status(lambda: work(arguments))

    return run


def exit_status(work: Callable[[], int | None]) -> int:
    """Run `work`; print errors that a user can act on as lines on stderr; return the exit status, or that of `work`."""
    try:
        return work() or 0
    except UserError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return error.exit_status
    except DivergedError as error:
        print(f"diverged: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("stopped at once; a training goes on from its last checkpoint", file=sys.stderr)
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return UserError.exit_status
    except Stopped as stop:
        print(f"stopped by {stop}; the same command goes on from here", file=sys.stderr)
        return stop.exit_status
