"""The scores of a classifier: on clean images, under attack, on deformed images, along interpolations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ganmix.config.classifier import Attacks
from ganmix.config.settings import settings_from
from ganmix.data import ImageData
from ganmix.engine.digests import sha256_of
from ganmix.engine.progress import images_through
from ganmix.engine.scores import Measurement, digest_of
from ganmix.engine.task import Found
from ganmix.errors import UserError
from ganmix.evaluation.classifier import attacks, deformations, interpolation
from ganmix.evaluation.classifier.accuracy import clean_scores
from ganmix.evaluation.classifier.attacks import attack_scores, unbounded_scores
from ganmix.evaluation.classifier.deformations import DEFORMATIONS, deformation_scores
from ganmix.evaluation.classifier.interpolation import interpolation_nll, interpolation_scores
from ganmix.networks.classifier import Classifier
from ganmix.networks.classifier.prepare import Normalise
from ganmix.networks.modes import evaluating

SEED = 2020  # of random starts, angles and pairs: the same for all, so that scores differ by the networks alone
NUM_LAMBDAS = 51


@dataclass(frozen=True)
class Subject:
    """A network in evaluation mode, on `device`, and what it is evaluated on."""

    network: Classifier
    data: ImageData
    device: torch.device
    attacks: Attacks


@dataclass(frozen=True)
class Evaluation:
    """One way to look at a classifier.

    Args:
        run: scores a subject.
        protocol: what the scores depend on beside the network and the images.
        forwards: images that pass the network for one image of the data, for the progress bar.
    """

    run: Callable[[Subject], Found]
    protocol: Callable[[Attacks], dict[str, Any]]
    forwards: Callable[[Subject], int]


def _clean(subject: Subject) -> Found:
    return Found(clean_scores(subject.network.predict, subject.data, subject.device))


def _attacks(subject: Subject) -> Found:
    settings = subject.attacks
    std = _std(subject.network) if settings.space == "normalised" else None
    attacked = partial(attack_scores, subject.network.predict, subject.data, subject.device)
    others = ("space", "unbounded_step", "unbounded_steps")
    return Found(settings_from(settings, attacked, but=others, seed=SEED, std=std))


def _unbounded(subject: Subject) -> Found:
    step, steps = subject.attacks.unbounded_step, subject.attacks.unbounded_steps
    return Found(unbounded_scores(subject.network.predict, subject.data, subject.device, step=step, steps=steps))


def _deformations(subject: Subject) -> Found:
    return Found(deformation_scores(subject.network.predict, subject.data, subject.device, seed=SEED))


def _interpolation(subject: Subject) -> Found:
    curves = interpolation_nll(subject.network, subject.data, subject.device, num_lambdas=NUM_LAMBDAS, seed=SEED)
    return Found(interpolation_scores(curves), curves)


EVALUATIONS = {
    "clean": Evaluation(_clean, lambda _: {}, lambda _: 1),
    "attacks": Evaluation(
        _attacks,
        lambda a: {
            **attacks.PROTOCOL,
            **a.model_dump(exclude={"unbounded_step", "unbounded_steps"}),
            "clamp": a.space == "pixel",
            "seed": SEED,
        },
        lambda subject: subject.attacks.pgd_steps + 3,
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
        lambda subject: subject.attacks.unbounded_steps + 1,
    ),
    "deformations": Evaluation(
        _deformations,
        lambda _: {**deformations.PROTOCOL, "seed": SEED},
        lambda _: len(DEFORMATIONS),
    ),
    "interpolation": Evaluation(
        _interpolation,
        lambda _: {**interpolation.PROTOCOL, "num_lambdas": NUM_LAMBDAS, "seed": SEED},
        lambda subject: len(subject.network.boundaries) * NUM_LAMBDAS,
    ),
}
USUAL = ("clean", "attacks", "deformations", "interpolation")  # `unbounded` takes as long as a training


class ClassifierEvaluator:
    """One of `EVALUATIONS` on one set of images; see `engine.task.Evaluator`.

    Args:
        name: a key of `EVALUATIONS`.
        data: with labels; its split is a part of the protocol.
        ema: whether the network is the moving average of the weights.
        selected_by: what chose the step of the network, 'validation' or 'test'; None: it is the last.
    """

    def __init__(
        self,
        name: str,
        data: ImageData,
        device: torch.device,
        settings: Attacks,
        *,
        ema: bool,
        selected_by: str | None = None,
    ):
        assert data.labels is not None
        self.title = name if data.split == "test" else data.split
        self._evaluation = EVALUATIONS[name]
        self._data = data
        self._device = device
        self._attacks = settings
        images = {"what": name, "dataset": data.name, "split": data.split, "num": data.num_images}
        if data.split != "validation":  # which each run's seed draws: scores of unlike seeds compare
            images["digest"] = sha256_of({"images": data.images, "labels": data.labels})
        selection = {} if selected_by is None else {"selected_by": selected_by}
        self.protocol: Mapping[str, Any] = {**images, "ema": ema, **self._evaluation.protocol(settings), **selection}
        self._digest = digest_of(self.protocol)

    def __call__(self, network: torch.nn.Module) -> Found:
        """Score a classifier."""
        assert isinstance(network, Classifier)
        subject = Subject(network, self._data, self._device, self._attacks)
        total = self._evaluation.forwards(subject) * self._data.num_images
        with evaluating(network), images_through(network, self.title, total):
            return self._evaluation.run(subject)

    def has(self, measurement: Measurement) -> bool:
        """Tell whether a measurement is by this protocol."""
        return measurement.protocol_digest == self._digest

    def tag(self, earlier: Sequence[Measurement]) -> str:
        """Return 'score' for clean test images, the evaluation's name otherwise."""
        return "score" if self.title == "clean" else self.title


def _std(network: Classifier) -> torch.Tensor:
    """Return the training images' standard deviations, of a pixel range of 1."""
    if not isinstance(network.prepare, Normalise):
        raise UserError("evaluation.attacks.space: normalised needs a run with data.prepare: channels")
    return network.prepare.std.flatten() / 2
