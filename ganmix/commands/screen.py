"""What a person sees of trainings side by side."""

import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

LIVE_SECONDS = 1  # between progress lines on a terminal, where the new ones replace the old ones
PLAIN_SECONDS = 10  # elsewhere


class Screen:
    """Lines on stderr that stay, and below them, on a terminal, one for each running training that is replaced."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown: list[str] = []
        self._last = time.monotonic()

    def say(self, lines: Iterable[str]) -> None:
        """Print lines that stay."""
        text = "".join(f"{line}\n" for line in lines)
        if text:
            self._write(text)

    def show(self, last_lines: Mapping[int, str]) -> None:
        """Show, now and then, what each seed's training said last."""
        now = time.monotonic()
        if now - self._last < (LIVE_SECONDS if self._live else PLAIN_SECONDS) or not last_lines:
            return
        self._last = now
        lines = [f"seed {seed:<7} {line or 'is starting'}" for seed, line in last_lines.items()]
        if self._live:
            width = shutil.get_terminal_size().columns
            self._write("", [line[: width - 1] for line in lines])
        else:
            self.say(line for line in lines if line not in self._shown)
            self._shown = lines

    def clear(self) -> None:
        """Take away the lines that are replaced."""
        self._write("", [])

    def _write(self, text: str, below: Sequence[str] | None = None) -> None:
        if self._live:
            back = f"\x1b[{len(self._shown)}A\x1b[J" if self._shown else ""
            self._shown = list(self._shown if below is None else below)
            text = back + text + "".join(f"{line}\n" for line in self._shown)
        print(text, end="", file=sys.stderr, flush=True)
