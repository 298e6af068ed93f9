"""How each verb turns errors into lines on stderr and an exit status."""

import sys
from collections.abc import Callable, Sequence
from functools import wraps

from ganmix.errors import DivergedError, Stopped, UserError


def command(work: Callable[[Sequence[str] | None], int | None]) -> Callable[..., int]:
    """Make `work` return an exit status, and print its errors as lines on stderr.

    Args:
        work: parses arguments (None: the command line's) and does what they ask for.
    """

    @wraps(work)
    def run(arguments: Sequence[str] | None = None) -> int:
        try:
            return work(arguments) or 0
        except UserError as error:
            lines, status = [f"error: {problem}" for problem in error.problems], error.exit_status
        except DivergedError as error:
            lines, status = [f"diverged: {error}"], error.exit_status
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            lines, status = [f"error: {where}{error.strerror or error}"], UserError.exit_status
        except Stopped as stop:
            lines, status = [f"stopped by {stop}; the same command goes on from here"], stop.exit_status
        except KeyboardInterrupt:
            lines, status = ["stopped at once; a training resumes from its last checkpoint"], 130
        print(*lines, sep="\n", file=sys.stderr)
        return status

    return run
