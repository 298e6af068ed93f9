"""`python -m ganmix report`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ganmix.commands.common import command


@command
def report(arguments: Sequence[str] | None = None) -> None:
    """Write a report about runs."""
    parser = argparse.ArgumentParser(
        prog="ganmix report",
        description="Did mixup help? Write one page about runs, grouped by config: scores as mean and spread over "
        "seeds (beside the paper's where a config has them), paired differences to the baseline, curves and samples. "
        "Scores from different protocols get separate tables.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or one with runs below it")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="folder for report.html, report.md and report.csv; default: RUN, or runs if there are several",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="compare all groups with this one; default: each mixup group with the same config without mixup",
    )
    options = parser.parse_args(arguments)

    from ganmix.engine.progress import say
    from ganmix.report import write_report

    output = options.output or (options.runs[0] if len(options.runs) == 1 else Path("runs"))
    for path in write_report(options.runs, output, options.baseline):
        say(f"report       {path}")
