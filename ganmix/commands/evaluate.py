"""`python -m ganmix evaluate`: score checkpoints of finished and unfinished runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ganmix.commands.common import exit_status
from ganmix.config.gan import Evaluation


def evaluate(arguments: Sequence[str] | None = None) -> int:
    """Score checkpoints of runs; return the exit status."""
    protocols = get_args(Evaluation.model_fields["protocol"].annotation)
    parser = argparse.ArgumentParser(
        prog="ganmix evaluate",
        description="Score checkpoints of runs, and append the scores, each with its whole protocol, to scores.jsonl. "
        "GANs get IS, FID, KID and, with evaluation.precision_recall=true, precision and recall. Classifiers get "
        "accuracy, NLL, ECE and Brier score on clean test images, accuracy under attack and on deformed images, and "
        "NLL along interpolations. A score that a run has already is not computed again. Under torchrun "
        "(torchrun --nproc-per-node 4 -m ganmix evaluate ...) processes share the work; the numbers are the same.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or one with runs anywhere below it")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="a part of the protocol: evaluation.num_fake=5000"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--checkpoint",
        help="best, latest or a file; default: latest, or the one that a classifier's evaluation.select chose",
    )
    which.add_argument("--all", action="store_true", help="every kept checkpoint (logging.keep_every) and the latest")
    parser.add_argument(
        "--what",
        type=lambda text: text.split(","),
        metavar="W,W...",
        help="classifiers only: clean, attacks (FGSM, PGD), unbounded (PGD without a bound, slow), deformations, "
        "interpolation; default all but unbounded",
    )
    parser.add_argument("--protocol", choices=protocols, help="GANs only: replaces the run's evaluation section")
    parser.add_argument(
        "--real",
        action="store_true",
        help="GANs only: also score real images of the split that is not the reference, the best there is to reach",
    )
    parser.add_argument(
        "--save-reference",
        type=Path,
        metavar="FILE.npz",
        help="GANs only: also write the mean and covariance of the real images' features",
    )
    options = parser.parse_intermixed_args(arguments)
    words = [*options.runs, *options.overrides]  # argparse cannot tell them apart
    paths = [Path(word) for word in words if not _is_override(word)]
    overrides = [word for word in words if _is_override(word)]

    def work() -> None:
        from ganmix.tasks.evaluate import evaluate_runs

        evaluate_runs(
            paths,
            overrides,
            what=options.what,
            protocol=options.protocol,
            checkpoint=options.checkpoint,
            every_kept=options.all,
            real_too=options.real,
            save_reference_to=options.save_reference,
        )

    return exit_status(work)


def _is_override(word: str) -> bool:
    return "=" in word and not Path(word).exists()
