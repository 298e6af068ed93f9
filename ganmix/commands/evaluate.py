"""`python -m ganmix evaluate`: score checkpoints of finished and unfinished runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ganmix.commands.common import command
from ganmix.config.gan import Evaluation


@command
def evaluate(arguments: Sequence[str] | None = None) -> None:
    """Score checkpoints of runs."""
    protocols = get_args(Evaluation.model_fields["protocol"].annotation)
    parser = argparse.ArgumentParser(
        prog="ganmix evaluate",
        description="Score checkpoints of runs, and append the scores, each with its whole protocol, to scores.jsonl. "
        "GANs get IS, FID, KID and, with evaluation.precision_recall=true, precision and recall. Classifiers get "
        "accuracy, NLL, ECE and Brier score on clean test images, accuracy under attack and on deformed images, and "
        "NLL along interpolations. Scores that a run already has are not computed again. Under torchrun "
        "(torchrun --nproc-per-node 4 -m ganmix evaluate ...) processes share the work; the scores are the same.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or one with runs anywhere below it")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="replace a key of the protocol: evaluation.num_fake=5000"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--checkpoint",
        help="best, latest or a file; default: latest, or the one that evaluation.select of a classifier chose",
    )
    which.add_argument(
        "--all",
        action="store_true",
        dest="every_kept",
        help="every kept checkpoint (logging.keep_every) and the latest",
    )
    parser.add_argument(
        "--what",
        type=lambda text: text.split(","),
        metavar="W,W...",
        help="classifiers only: clean, attacks (FGSM, PGD), unbounded (PGD without a bound, slow), deformations, "
        "interpolation; default all but unbounded",
    )
    gans = parser.add_argument_group("for GANs only")
    gans.add_argument("--protocol", choices=protocols, help="score by this instead of the run's evaluation section")
    gans.add_argument(
        "--real",
        action="store_true",
        dest="real_too",
        help="also score real images of the split that is not the reference: the best scores to hope for",
    )
    gans.add_argument(
        "--save-reference",
        type=Path,
        metavar="FILE.npz",
        dest="save_reference_to",
        help="also write the mean and covariance of the real images' features",
    )
    options = vars(parser.parse_intermixed_args(arguments))
    words = [*options.pop("runs"), *options.pop("overrides")]  # argparse cannot tell them apart
    overrides = [word for word in words if "=" in word and not Path(word).exists()]

    from ganmix.tasks.evaluate import evaluate_runs

    evaluate_runs([Path(word) for word in words if word not in overrides], overrides, **options)
