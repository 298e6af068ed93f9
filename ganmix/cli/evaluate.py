"""`python -m ganmix evaluate`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ganmix.cli.common import exit_status


def evaluate(arguments: Sequence[str] | None = None) -> int:
    """Score checkpoints of runs; return the exit status."""
    from ganmix.config.gan import Evaluation  # where the protocols' names can be had without torch

    protocols = get_args(Evaluation.model_fields["protocol"].annotation)
    parser = argparse.ArgumentParser(
        prog="ganmix evaluate",
        description="IS, FID, KID and, with evaluation.precision_recall=true, precision and recall of runs' "
        "checkpoints, appended to each run's scores.jsonl with the whole protocol. What has that score already is not "
        "scored again. Under torchrun (torchrun --nproc-per-node 4 -m ganmix evaluate ...) processes share the work; "
        "the numbers are the same.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or one with runs anywhere below it")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="a part of the protocol: evaluation.num_fake=5000"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--checkpoint", default="latest", help="best, latest or a file; default %(default)s")
    which.add_argument("--all", action="store_true", help="every kept checkpoint (logging.keep_every) and the latest")
    parser.add_argument("--protocol", choices=protocols, help="instead of the run's own evaluation section")
    parser.add_argument(
        "--real",
        action="store_true",
        help="say too what real images score: those of the split that is not the reference",
    )
    parser.add_argument(
        "--save-reference", type=Path, metavar="FILE.npz", help="write the real images' mean and covariance there too"
    )
    options = parser.parse_intermixed_args(arguments)
    words = [*options.runs, *options.overrides]  # argparse cannot tell them apart

    def work() -> None:
        from ganmix.runs.evaluate import evaluate

        evaluate(
            [Path(word) for word in words if not _is_override(word)],
            [word for word in words if _is_override(word)],
            protocol=options.protocol,
            checkpoint=options.checkpoint,
            every_kept=options.all,
            real_too=options.real,
            save_reference_to=options.save_reference,
        )

    return exit_status(work)


def _is_override(word: str) -> bool:
    return "=" in word and not Path(word).exists()
