"""Reports on runs: tables over seeds, comparisons with baselines, curves, samples; no torch here."""

from collections.abc import Sequence
from pathlib import Path

from ganmix.engine.files import write_atomically
from ganmix.report.contents import gather
from ganmix.report.page import to_html
from ganmix.report.text import to_csv, to_markdown


def write_report(paths: Sequence[Path], output: Path, baseline: str | None = None) -> list[Path]:
    """Write report.html, report.md and report.csv on runs.

    Args:
        paths: folders of runs, or with runs anywhere below.
        baseline: the group to compare all other groups of its subject with. None: compare each group that mixes with
            the group that has the same config without the mixing.

    Returns:
        The files.

    Raises:
        UserError: there is no run, none has a score, two have the same config and seed, or no group is the `baseline`.
    """
    report = gather(paths, baseline)
    written = []
    for name, to_text in (("report.html", to_html), ("report.md", to_markdown), ("report.csv", to_csv)):
        write_atomically(output / name, to_text(report).encode())
        written.append(output / name)
    return written


__all__ = ["write_report"]
