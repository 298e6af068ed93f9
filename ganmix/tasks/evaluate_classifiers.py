"""Scores of classifiers' checkpoints: on clean images, under attack, on deformed images, along interpolations."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from ganmix.config.classifier import Attacks, ClassifierConfig
from ganmix.config.reader import read_config
from ganmix.data import ImageData
from ganmix.engine.old_run_folder import append_line, read_lines
from ganmix.engine.versions import library_versions
from ganmix.engine.world import World
from ganmix.errors import UserError
from ganmix.evaluation.classifier import attacks, deformations, interpolation
from ganmix.evaluation.classifier.accuracy import clean_scores
from ganmix.evaluation.classifier.attacks import attack_scores, unbounded_scores
from ganmix.evaluation.classifier.deformations import DEFORMATIONS, deformation_scores
from ganmix.evaluation.classifier.interpolation import interpolation_nll, interpolation_scores
from ganmix.networks.classifier.base import Classifier
from ganmix.networks.classifier.prepare import Normalise
from ganmix.tasks.classifier import SELECTIONS, clean_protocol, read_labelled
from ganmix.tasks.common import prepare_device, say
from ganmix.tasks.load import CONFIG, TrainedClassifier, checkpoint_path, kept_checkpoints, load_trained_classifier

SEED = 2020  # of random starts, angles and pairs: the same for all, so that scores differ by the networks alone
NUM_LAMBDAS = 51


@dataclass(frozen=True)
class Subject:
    """What is evaluated, by what.

    Args:
        network: in evaluation mode, on `device`.
    """

    network: Classifier
    data: ImageData
    device: torch.device
    attacks: Attacks


@dataclass(frozen=True)
class Evaluation:
    """One way to look at a classifier.

    Args:
        run: returns the scores, and curves for `scores.jsonl` where there are any.
        protocol: what the scores depend on beside the network and the images.
        forwards: images that pass the network, for the progress bar.
    """

    run: Callable[[Subject], tuple[dict[str, float], dict[str, list[float]]]]
    protocol: Callable[[Attacks], dict[str, Any]]
    forwards: Callable[[Subject], int]


def _clean(subject: Subject) -> tuple[dict[str, float], dict[str, list[float]]]:
    return clean_scores(subject.network.predict, subject.data, subject.device), {}


def _attacks(subject: Subject) -> tuple[dict[str, float], dict[str, list[float]]]:
    settings = subject.attacks
    std = _std(subject.network) if settings.space == "normalised" else None
    numbers = settings.model_dump(include={"epsilon", "pgd_step", "pgd_steps"})
    scores = attack_scores(subject.network.predict, subject.data, subject.device, **numbers, seed=SEED, std=std)
    return scores, {}


def _unbounded(subject: Subject) -> tuple[dict[str, float], dict[str, list[float]]]:
    step, steps = subject.attacks.unbounded_step, subject.attacks.unbounded_steps
    return unbounded_scores(subject.network.predict, subject.data, subject.device, step=step, steps=steps), {}


def _deformations(subject: Subject) -> tuple[dict[str, float], dict[str, list[float]]]:
    return deformation_scores(subject.network.predict, subject.data, subject.device, seed=SEED), {}


def _interpolation(subject: Subject) -> tuple[dict[str, float], dict[str, list[float]]]:
    curves = interpolation_nll(subject.network, subject.data, subject.device, num_lambdas=NUM_LAMBDAS, seed=SEED)
    return interpolation_scores(curves), curves


EVALUATIONS = {
    "clean": Evaluation(_clean, lambda _: {}, lambda subject: subject.data.num_images),
    "attacks": Evaluation(
        _attacks,
        lambda a: {
            **attacks.PROTOCOL,
            **a.model_dump(include={"epsilon", "space", "pgd_step", "pgd_steps"}),
            "clamp": a.space == "pixel",
            "seed": SEED,
        },
        lambda subject: (subject.attacks.pgd_steps + 3) * subject.data.num_images,
    ),
    "unbounded": Evaluation(
        _unbounded,
        lambda a: {
            **attacks.PROTOCOL,
            "pgd_start": "the image",
            "step_size": a.unbounded_step,
            "steps": a.unbounded_steps,
            "clamp": True,
        },
        lambda subject: (subject.attacks.unbounded_steps + 1) * subject.data.num_images,
    ),
    "deformations": Evaluation(
        _deformations,
        lambda _: {**deformations.PROTOCOL, "seed": SEED},
        lambda subject: len(DEFORMATIONS) * subject.data.num_images,
    ),
    "interpolation": Evaluation(
        _interpolation,
        lambda _: {**interpolation.PROTOCOL, "num_lambdas": NUM_LAMBDAS, "seed": SEED},
        lambda subject: len(subject.network.boundaries) * NUM_LAMBDAS * subject.data.num_images,
    ),
}
WHAT = ("clean", "attacks", "deformations", "interpolation")  # the check without bound takes as long as a training


def evaluate_classifiers(
    runs: Sequence[Path],
    overrides: Sequence[str],
    here: World,
    *,
    what: Sequence[str],
    checkpoint: str | None,
    every_kept: bool,
) -> None:
    """Score checkpoints of classifiers' runs on test images; what has that score already is not scored again.

    Args:
        overrides: `evaluation.attacks.epsilon=0.01` and the like, over the runs' configs.
        here: the processes that share the runs; each is scored by one of them.
        what: keys of `EVALUATIONS`.
        checkpoint: "latest", "best" or a path; None: what the run's `evaluation.select` means.
        every_kept: score every checkpoint that a run keeps, and the latest one.

    Raises:
        UserError: no checkpoint, or none of this config.
    """
    read: dict[Any, ImageData] = {}
    for run in runs[here.rank :: here.size]:
        config = read_config(ClassifierConfig, run / CONFIG, overrides)
        device = here.place(prepare_device(config.device))
        key = (config.data.name, config.data.root, config.data.resolution)
        if key not in read:
            read[key] = read_labelled(config.data, "test")
        say(f"run          {run}")
        selection = {} if checkpoint or every_kept else _selection(config, run)
        kept = kept_checkpoints(run) if every_kept else []
        chosen = checkpoint or ("best" if selection else "latest")
        done: set[int] = set()
        for path in [*kept, checkpoint_path(run, chosen)]:
            trained = load_trained_classifier(config, path, device=device)
            if selection and trained.step != selection["checkpoint_step"]:
                raise UserError(_unselected(run))
            if trained.step in done:  # the latest checkpoint is often the last that is kept
                continue
            done.add(trained.step)
            for name in what:
                _score(run, config, trained, name, read[key], device, selection)


def _score(
    run: Path,
    config: ClassifierConfig,
    trained: TrainedClassifier,
    name: str,
    data: ImageData,
    device: torch.device,
    selection: Mapping[str, Any],
) -> None:
    evaluation, log = EVALUATIONS[name], run / "scores.jsonl"
    num = config.evaluation.num_test
    if num is not None and name != "clean":
        data = data.subset(torch.arange(min(num, data.num_images)))
    protocol = {**clean_protocol(data, "test", ema=trained.ema), "what": name}
    protocol |= evaluation.protocol(config.evaluation.attacks)
    protocol |= {key: value for key, value in selection.items() if key == "selection"}
    step = selection.get("step", trained.step)
    known = [line for line in read_lines(log) if line["step"] == step and line["protocol"] == protocol]
    if known:
        line = known[-1]
    else:
        subject = Subject(trained.network, data, device, config.evaluation.attacks)
        with _progress(trained.network, name, evaluation.forwards(subject)):
            scores, curves = evaluation.run(subject)
        line = {"step": step, "scores": scores, "protocol": protocol, "versions": library_versions()}
        line |= {"checkpoint_step": trained.step} if selection else {}
        line |= {"curves": curves} if curves else {}
        append_line(log, line)
        with SummaryWriter(str(run)) as writer:
            for score, value in scores.items():
                writer.add_scalar(f"{'score' if name == 'clean' else name}/{score}", value, step)
    values = ", ".join(f"{score} {value:.4g}" for score, value in line["scores"].items())
    say(f"{name:<12} step {trained.step}: {values}{' (known)' if known else ''}")


def _selection(config: ClassifierConfig, run: Path) -> dict[str, Any]:
    """Return how a run's checkpoint was selected, at which last step, and of which step it is.

    Returns:
        Nothing where that is the last itself.
    """
    if config.evaluation.select == "last":
        return {}
    words = SELECTIONS[config.evaluation.select]
    lines = [line for line in read_lines(run / "scores.jsonl") if line["protocol"].get("selection") == words]
    if not lines:
        raise UserError(_unselected(run))
    return {"selection": words, "step": lines[-1]["step"], "checkpoint_step": lines[-1]["checkpoint_step"]}


def _unselected(run: Path) -> str:
    return f"{run}: its training is not at an end, so no checkpoint is selected; --checkpoint latest or best takes one"


def _std(network: Classifier) -> torch.Tensor:
    """Return the training images' standard deviations, of a pixel range of 1."""
    if not isinstance(network.prepare, Normalise):
        raise UserError("evaluation.attacks.space: normalised needs a run with data.prepare: channels")
    return network.prepare.std.flatten() / 2


@contextmanager
def _progress(network: Classifier, what: str, total: int) -> Iterator[None]:
    """Show a bar of images that pass the network, on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with tqdm(total=total, desc=what, unit=" images", unit_scale=True, leave=False) as bar:
        hook = network.register_forward_hook(lambda _module, _inputs, logits: bar.update(len(logits)) and None)
        try:
            yield
        finally:
            hook.remove()
