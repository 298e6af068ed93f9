"""Scores of a run's networks, on the way and afterwards: measured once, logged, drawn, and the best network kept."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint
from ganmix.engine.identity import Identity
from ganmix.engine.progress import say
from ganmix.engine.recorder import Recorder
from ganmix.engine.run_folder import RunFolder
from ganmix.engine.scores import Measurement, in_words
from ganmix.engine.task import Evaluator, Training
from ganmix.engine.versions import library_versions
from ganmix.errors import UserError


def known(measurements: Sequence[Measurement], evaluator: Evaluator, step: int) -> Measurement | None:
    """Return what an evaluator found at a step already."""
    return next((each for each in reversed(measurements) if each.step == step and evaluator.has(each)), None)


def measure(evaluator: Evaluator, network: nn.Module, step: int, checkpoint: int) -> Measurement:
    """Score a network; nothing is written."""
    found = evaluator(network)
    return Measurement(step, checkpoint, found.scores, evaluator.protocol, library_versions(), found.curves)


class Scoring:
    """The scores of a training on the way, and its result.

    Args:
        training: whose networks are scored.
        folder: of the run.
        identity: of the run, which best.pt holds.
    """

    def __init__(self, training: Training, folder: RunFolder, identity: Identity):
        self._training = training
        self._folder = folder
        self._identity = identity

    def is_done(self, step: int) -> bool:
        """Tell whether every evaluator has scored a step."""
        measurements = self._folder.measurements
        return all(known(measurements, evaluator, step) for evaluator in self._training.evaluators)

    def score(self, step: int, recorder: Recorder) -> None:
        """Score the network as it is, unless that was done, and keep its checkpoint where it is the best so far."""
        earlier, found = self._folder.measurements, []
        network = self._training.network()
        for evaluator in self._training.evaluators:
            measurement = known(earlier, evaluator, step)
            if measurement is None:
                measurement = measure(evaluator, network, step, step)
                recorder.scalars(step, measurement.tagged(evaluator.tag(earlier)))
            found.append(measurement)
        new = [each for each in found if each not in earlier]
        best = self._training.best
        if new and best is not None and best.score(found) > best.score([e for e in earlier if e.step != step]):
            self._save_best(found)
        for measurement in new:
            self._folder.add_measurement(measurement)
        if new:
            say(f"step {step}: {in_words(found[0].scores)} ({self._training.evaluators[0].title})")
            recorder.restart_clock(step)

    def result(self, step: int) -> Measurement | None:
        """Return the scores of the network that the config selects, and make the algorithm hold it; None: no scores.

        Args:
            step: the last one.

        Raises:
            UserError: that network is lost.
        """
        best = self._training.best
        if not self._training.evaluators:
            return None
        if best is None or best.selects is None:
            return known(self._folder.measurements, self._training.evaluators[0], step)
        path = self._folder.best
        try:
            state = load_checkpoint(path)
            self._identity.check(path, state)
        except UserError as error:
            raise UserError(f"{error}; it had the network to choose, so train again in another run.dir") from error
        found = [Measurement.from_line(line) for line in state["measurements"]]  # the log may lack them after a kill
        if best.score(found) < best.score(self._folder.measurements):
            raise UserError(
                f"{path} is less accurate than the best network of the scores in {self._folder.path}, which is lost; "
                "train again in another run.dir"
            )
        self._training.algorithm.load_state_dict(state["algorithm"])
        selected = replace(found[0], step=step, protocol={**found[0].protocol, "selected_by": best.selects})
        if selected not in self._folder.measurements:
            self._folder.add_measurement(selected)
        return selected

    def _save_best(self, found: Sequence[Measurement]) -> None:
        state = {"identity": self._identity.state_dict(), "algorithm": self._training.algorithm.state_dict()}
        save_checkpoint(self._folder.best, {**state, "measurements": [each.to_line() for each in found]})
