"""Scores of checkpoints after training, of GANs' and of classifiers' runs."""

from collections.abc import Sequence
from pathlib import Path

from ganmix.config.classifier import ClassifierConfig
from ganmix.engine.world import world
from ganmix.errors import UserError
from ganmix.tasks.evaluate_classifiers import EVALUATIONS, WHAT, evaluate_classifiers
from ganmix.tasks.evaluate_gans import evaluate_gans
from ganmix.tasks.load import find_runs, read_either_run_config

SETTABLE = ("evaluation.", "device.", "data.root", "data.path")  # nothing that would make it another run


def evaluate(
    paths: Sequence[Path],
    overrides: Sequence[str] = (),
    *,
    what: Sequence[str] | None = None,
    protocol: str | None = None,
    checkpoint: str | None = None,
    every_kept: bool = False,
    real_too: bool = False,
    save_reference_to: Path | None = None,
) -> None:
    """Score checkpoints of the runs at or below `paths`; what has that score already is not scored again.

    Args:
        overrides: `evaluation.num_fake=5000` and the like, over the runs' configs.
        what: of classifiers, keys of `evaluate_classifiers.EVALUATIONS`; None: `WHAT`.
        protocol, real_too, save_reference_to: of GANs; see `evaluate_gans`.
        checkpoint: "latest", "best" or a path; None: the latest of a GAN, and what a classifier's config selects.
        every_kept: score every checkpoint that a run keeps, and the latest one.

    Raises:
        UserError: no runs, no checkpoint, or nothing to score them by; each with what to do about it.
    """
    runs = find_runs(paths)
    classifiers = [run for run in runs if isinstance(read_either_run_config(run), ClassifierConfig)]
    gans = [run for run in runs if run not in classifiers]
    of_gans = {"--protocol": protocol, "--real": real_too, "--save-reference": save_reference_to}
    problems = [
        f"{name}: of GANs' runs, and here are classifiers' alone" for name, on in of_gans.items() if on and not gans
    ]
    if what is not None and not classifiers:
        problems.append("--what: of classifiers' runs, and here are GANs' alone")
    unknown = [name for name in what or () if name not in EVALUATIONS]
    problems += [f"--what: expected {', '.join(EVALUATIONS)}, got {name!r}" for name in unknown]
    problems += [
        f"command line {override!r}: of a run that is done, only these can be other: {', '.join(SETTABLE)}"
        for override in overrides
        if not override.startswith(SETTABLE)
    ]
    if problems:
        raise UserError(problems)
    with world() as here:
        if gans:
            evaluate_gans(
                gans,
                overrides,
                here,
                protocol=protocol,
                checkpoint=checkpoint or "latest",
                every_kept=every_kept,
                real_too=real_too,
                save_reference_to=save_reference_to,
            )
        evaluate_classifiers(
            classifiers, overrides, here, what=what or WHAT, checkpoint=checkpoint, every_kept=every_kept
        )
