"""`python -m ganmix evaluate`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ganmix.commands.common import exit_status


def evaluate(arguments: Sequence[str] | None = None) -> int:
    """Score checkpoints of runs; return the exit status."""
    from ganmix.config.gan import Evaluation  # where the protocols' names can be had without torch

    protocols = get_args(Evaluation.model_fields["protocol"].annotation)
    parser = argparse.ArgumentParser(
        prog="ganmix evaluate",
        description="Of GANs' runs: IS, FID, KID and, with evaluation.precision_recall=true, precision and recall. "
        "Of classifiers' runs: accuracy, NLL, ECE and Brier score on clean test images, accuracy under attack and on "
        "deformed images, NLL along interpolations. All is appended to each run's scores.jsonl with its whole "
        "protocol; what has that score already is not scored again. Under torchrun "
        "(torchrun --nproc-per-node 4 -m ganmix evaluate ...) processes share the work; the numbers are the same.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or one with runs anywhere below it")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="a part of the protocol: evaluation.num_fake=5000"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--checkpoint", help="best, latest or a file; default latest, and of a classifier what evaluation.select means"
    )
    which.add_argument("--all", action="store_true", help="every kept checkpoint (logging.keep_every) and the latest")
    parser.add_argument(
        "--what",
        type=lambda text: text.split(","),
        metavar="W,W...",
        help="of classifiers: clean, attacks (FGSM, PGD), unbounded (PGD without a bound, slow), deformations, "
        "interpolation; default all but unbounded",
    )
    parser.add_argument("--protocol", choices=protocols, help="of GANs: instead of the run's own evaluation section")
    parser.add_argument(
        "--real",
        action="store_true",
        help="of GANs: say too what real images score: those of the split that is not the reference",
    )
    parser.add_argument(
        "--save-reference",
        type=Path,
        metavar="FILE.npz",
        help="of GANs: write the real images' mean and covariance there too",
    )
    options = parser.parse_intermixed_args(arguments)
    words = [*options.runs, *options.overrides]  # argparse cannot tell them apart

    def work() -> None:
        from ganmix.tasks.evaluate import evaluate

        evaluate(
            [Path(word) for word in words if not _is_override(word)],
            [word for word in words if _is_override(word)],
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
