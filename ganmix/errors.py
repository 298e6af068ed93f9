"""The two ways a run ends badly that are a user's business, each with its exit status."""

from collections.abc import Sequence


class UserError(Exception):
    """A config, an argument or data that cannot be used: one line a problem, no traceback, exit status 2."""

    exit_status = 2

    def __init__(self, problems: str | Sequence[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class DivergedError(Exception):
    """A loss or a gradient is no longer a finite number: exit status 3."""

    exit_status = 3
