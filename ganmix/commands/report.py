"""`python -m ganmix report`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ganmix.commands.common import exit_status


def report(arguments: Sequence[str] | None = None) -> int:
    """Write a report about runs; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="ganmix report",
        description="Did mixup help? One page about runs, grouped by config: scores as mean and spread over seeds, the "
        "paper's beside them where a config carries them, paired differences to the baseline, curves, samples. Scores "
        "of unlike protocols get a table each.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or one with runs anywhere below it"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where report.html, report.md and report.csv go; default: the first RUN, or runs for several",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME",
        help="compare all with this group; default: each mixup with the same config without it",
    )
    options = parser.parse_args(arguments)

    def work() -> None:
        from ganmix.engine.progress import say
        from ganmix.report import write_report

        output = options.output or (options.runs[0] if len(options.runs) == 1 else Path("runs"))
        for path in write_report(options.runs, output, options.baseline):
            say(f"report       {path}")

    return exit_status(work)
