"""What a kind of training (a GAN's, a classifier's) adds to what every run does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ganmix.config.either import Config
from ganmix.engine.loop import Algorithm
from ganmix.engine.recorder import Recorder
from ganmix.engine.run_folder import RunFolder
from ganmix.engine.scores import Measurement, Score


@dataclass(frozen=True)
class Found:
    """What an evaluator found.

    Args:
        scores, curves: see `Measurement`.
    """

    scores: Sequence[Score]
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)


class Evaluator(Protocol):
    """Scores a network by one protocol; `title` names it on the terminal, and `protocol` is that of `Measurement`."""

    @property
    def title(self) -> str: ...

    @property
    def protocol(self) -> Mapping[str, Any]: ...

    def tag(self, earlier: Sequence[Measurement]) -> str:
        """Return the name of its curves in TensorBoard, in a run that has these measurements."""
        ...

    def has(self, measurement: Measurement) -> bool:
        """Tell whether a measurement is what it would find, so that it need not score again."""
        ...

    def __call__(self, network: nn.Module) -> Found:
        """Score a network; of several processes that share the work only the first one returns scores."""
        ...


@dataclass(frozen=True)
class Best:
    """Which network best.pt holds: that with the best score by one evaluator.

    Args:
        evaluator: the one that decides.
        metric: its metric that decides.
        lower: whether less is better.
        selects: 'validation' or 'test': the run's result is that network, and these images chose it; None: the result
            is the last step's network.
    """

    evaluator: Evaluator
    metric: str
    lower: bool
    selects: str | None = None

    def score(self, measurements: Sequence[Measurement]) -> float:
        """Return the best score of some measurements, the more the better; -inf where there is none."""
        sign = -1 if self.lower else 1
        mine = [each for each in measurements if self.evaluator.has(each)]
        return max((sign * each.value(self.metric) for each in mine), default=-float("inf"))


@dataclass(frozen=True, eq=False)
class Training:
    """A training made ready, before any step.

    Args:
        algorithm: what the loop steps.
        total_steps: of the whole training.
        images: what it trains on, labels too where they are used: the run's identity has their digest.
        summary: what is trained, on what: name -> text, for the terminal.
        notes: what may surprise a user.
        show: writes the pictures of a step.
        network: returns what is evaluated: a moving average where there is one.
        evaluators: what it is scored by on the way; the first one's scores are the run's result.
        evaluate_every: steps; None: at the end only.
        evaluate_at_start: also before the first step.
        best: which network is kept as the best; None: none is.
    """

    algorithm: Algorithm
    total_steps: int
    images: Mapping[str, Tensor]
    summary: Mapping[str, str]
    notes: Sequence[str]
    show: Callable[[int, Recorder], None]
    network: Callable[[], nn.Module]
    evaluators: Sequence[Evaluator]
    evaluate_every: int | None
    evaluate_at_start: bool = False
    best: Best | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """A network out of a checkpoint, in evaluation mode and without gradients of its weights.

    Args:
        step: steps it was trained for.
        ema: whether these are the weights' moving average.
        checkpoint: the file.
    """

    network: nn.Module
    step: int
    ema: bool
    checkpoint: Path


class Task(Protocol):
    """A run's config, on a device, as its kind understands it."""

    @property
    def config(self) -> Config: ...

    @property
    def device(self) -> torch.device: ...

    def build(self, *, to_resume: bool) -> Training:
        """Read the data and build everything, before any step.

        Args:
            to_resume: a checkpoint will be loaded, so what it holds need not be measured.

        Raises:
            UserError: the data cannot be read, or the config does not fit them.
        """
        ...

    def evaluators(self, names: Sequence[str] | None = None, selected_by: str | None = None) -> list[Evaluator]:
        """Return what scores the run's checkpoints after training.

        Args:
            names: which, where the kind has several; None: the usual ones.
            selected_by: what chose the checkpoint, which is a part of the protocol; None: it is the last one.

        Raises:
            UserError: a name is unknown, or what an evaluator needs is missing.
        """
        ...

    def load(self, checkpoint: Path) -> Trained:
        """Rebuild the network to evaluate from a checkpoint.

        Raises:
            UserError: the file is not a checkpoint of this run.
        """
        ...

    def export(self, folder: RunFolder, training: Training, result: Measurement | None) -> Mapping[str, str]:
        """Write what a finished run leaves beside its checkpoints; return lines for the terminal."""
        ...

    def is_exported(self, folder: RunFolder, steps: int) -> bool:
        """Tell whether `export` has been done after so many steps."""
        ...
