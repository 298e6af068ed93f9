"""The scores of a classifier: on clean images, under attack, on deformed images, along interpolations."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

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
from ganmix.evaluation.classifier.accuracy import Predict, clean_scores
from ganmix.evaluation.classifier.attacks import attack_scores, unbounded_scores
from ganmix.evaluation.classifier.deformations import DEFORMATIONS, deformation_scores
from ganmix.evaluation.classifier.interpolation import interpolation_nll, interpolation_scores
from ganmix.networks.classifier import Classifier
from ganmix.networks.classifier.prepare import Normalise
from ganmix.networks.modes import evaluating

SEED = 2020  # of random starts, angles and pairs: the same for all, so that scores differ by the networks alone
NUM_LAMBDAS = 51


class Subject(NamedTuple):
    """A network in evaluation mode, and labelled images, on a device."""

    network: Classifier
    data: ImageData
    device: torch.device

    @property
    def seen(self) -> tuple[Predict, ImageData, torch.device]:
        """What most scores are computed from."""
        return self.network.predict, self.data, self.device


class Evaluation(NamedTuple):
    """One way to look at a classifier, with its settings.

    Args:
        protocol: what the scores depend on beside the network and the images.
        passes: of each image through the network, for the progress bar.
        run: scores a subject.
    """

    protocol: Mapping[str, Any]
    passes: Callable[[Classifier], int]
    run: Callable[[Subject], Found]


def _clean(settings: Attacks) -> Evaluation:
    return Evaluation({}, lambda _: 1, lambda subject: Found(clean_scores(*subject.seen)))


def _attacks(settings: Attacks) -> Evaluation:
    others = ("unbounded_step", "unbounded_steps")

    def run(subject: Subject) -> Found:
        std = _std(subject.network) if settings.space == "normalised" else None
        attacked = partial(attack_scores, *subject.seen)
        return Found(settings_from(settings, attacked, but=("space", *others), seed=SEED, std=std))

    numbers = settings.model_dump(exclude=set(others))
    protocol = {**attacks.PROTOCOL, **numbers, "clamp": settings.space == "pixel", "seed": SEED}
    return Evaluation(protocol, lambda _: settings.pgd_steps + 3, run)


def _unbounded(settings: Attacks) -> Evaluation:
    step, steps = settings.unbounded_step, settings.unbounded_steps
    protocol = {"pgd_start": "the image", "step_size": step, "steps": steps, "clamp": True}

    def run(subject: Subject) -> Found:
        return Found(unbounded_scores(*subject.seen, step=step, steps=steps))

    return Evaluation(attacks.PROTOCOL | protocol, lambda _: steps + 1, run)


def _deformations(settings: Attacks) -> Evaluation:
    protocol = {**deformations.PROTOCOL, "seed": SEED}
    return Evaluation(
        protocol, lambda _: len(DEFORMATIONS), lambda subject: Found(deformation_scores(*subject.seen, seed=SEED))
    )


def _interpolation(settings: Attacks) -> Evaluation:
    def run(subject: Subject) -> Found:
        curves = interpolation_nll(*subject, num_lambdas=NUM_LAMBDAS, seed=SEED)
        return Found(interpolation_scores(curves), curves)

    protocol = {**interpolation.PROTOCOL, "num_lambdas": NUM_LAMBDAS, "seed": SEED}
    return Evaluation(protocol, lambda network: len(network.boundaries) * NUM_LAMBDAS, run)


EVALUATIONS = {
    "clean": _clean,
    "attacks": _attacks,
    "unbounded": _unbounded,
    "deformations": _deformations,
    "interpolation": _interpolation,
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
        self._evaluation = EVALUATIONS[name](settings)
        self._data = data
        self._device = device
        images = {"what": name, "dataset": data.name, "split": data.split, "num": data.num_images}
        if data.split != "validation":  # which each run's seed draws: scores of unlike seeds compare
            images["digest"] = sha256_of({"images": data.images, "labels": data.labels})
        selection = {} if selected_by is None else {"selected_by": selected_by}
        self.protocol: Mapping[str, Any] = {**images, "ema": ema, **self._evaluation.protocol, **selection}
        self._digest = digest_of(self.protocol)

    def __call__(self, network: torch.nn.Module) -> Found:
        """Score a classifier."""
        assert isinstance(network, Classifier)
        total = self._evaluation.passes(network) * self._data.num_images
        with evaluating(network), images_through(network, self.title, total):
            return self._evaluation.run(Subject(network, self._data, self._device))

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
