"""From what goes wrong to lines on stderr and exit statuses."""

import sys
from collections.abc import Callable

from ganmix.errors import DivergedError, Stopped, UserError


def exit_status(work: Callable[[], int | None]) -> int:
    """Run `work`; print what a user can do something about as lines on stderr; return the exit status, or its own."""
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
