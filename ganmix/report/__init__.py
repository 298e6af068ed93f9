"""Reports about runs: tables over seeds, comparisons with the baselines, curves, samples; no torch here."""

from collections.abc import Sequence
from pathlib import Path

from ganmix.engine.files import write_atomically
from ganmix.report.contents import gather
from ganmix.report.page import to_html
from ganmix.report.text import to_csv, to_markdown


def write_report(paths: Sequence[Path], output: Path, baseline: str | None = None) -> list[Path]:
    """Write report.html, report.md and report.csv about runs.

    Args:
        paths: folders that are runs, or have runs anywhere below.
        output: folder to write into.
        baseline: name of the group that all others of its subject are compared with. None: each group that mixes is
            compared with the group that has the same config without the mixing.

    Returns:
        The files written.

    Raises:
        UserError: there is no run, none has a score, or two runs have the same config and the same seed.
    """
    report = gather(paths, baseline)
    written = []
    for name, write in (("report.html", to_html), ("report.md", to_markdown), ("report.csv", to_csv)):
        write_atomically(output / name, write(report).encode())
        written.append(output / name)
    return written


__all__ = ["write_report"]
