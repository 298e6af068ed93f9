"""The training loop: when to record, show, score, save and stop. It knows no algorithm."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint
from ganmix.engine.files import copy_file
from ganmix.engine.identity import Identity
from ganmix.engine.recorder import Recorder
from ganmix.engine.run_folder import RunFolder
from ganmix.engine.signals import handling_signals
from ganmix.errors import DivergedError, Stopped, UserError, first_line
from ganmix.mixup import MixPlan

ECHO_SECONDS = 0.5


class Algorithm(Protocol):
    """What the loop trains."""

    @property
    def steps_done(self) -> int:
        """Steps taken since the start of the training."""
        ...

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step."""
        ...

    @property
    def last_plan(self) -> MixPlan | None:
        """The mixing of the last step; None: nothing was mixed."""
        ...

    def step(self) -> Mapping[str, Tensor | float]:
        """Take one step; return the values to record, 0-d tensors or numbers under the same names each time."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on: tensors and plain Python."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called."""
        ...


@dataclass(frozen=True)
class Action:
    """Something done every so many steps, and at the end. It must bear being done twice at the same step.

    Args:
        run: takes the step.
        every: steps; None: at the end only.
        at_start: also before the first step.
        slow: save a checkpoint first, so that a kill while it runs costs no steps.
    """

    run: Callable[[int], None]
    every: int | None
    at_start: bool = False
    slow: bool = False

    def due(self, step: int, total_steps: int) -> bool:
        """Tell whether it is to be done after `step` steps."""
        if step == 0:
            return self.at_start
        return step == total_steps or (self.every is not None and step % self.every == 0)


def resume(
    folder: RunFolder, algorithm: Algorithm, identity: Identity, *, checkpoint_every: int
) -> dict[str, Any] | None:
    """Load the run's last good checkpoint into `algorithm`; where none was saved yet, leave it as it is.

    That is the previous one where the latest is missing or damaged. The logs forget what came after it.

    Args:
        identity: of the run.
        checkpoint_every: steps after which a run has a checkpoint.

    Returns:
        The recorder's state; None where no checkpoint was saved yet.

    Raises:
        UserError: the run's checkpoints are lost, damaged or another run's, or a line of a log is damaged.
    """
    recorder_state = None
    if folder.last_checkpoint:
        path, state, problem = _last_good(folder)
        identity.check(path, state)
        try:
            recorder_state = {name: state["recorder"][name] for name in ("names", "pending")}
            algorithm.load_state_dict(state["algorithm"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:  # each part has its own
            raise UserError(f"{path} is not a checkpoint of this run ({first_line(error)})") from error
        if problem:
            _set_aside(folder.latest)
            print(f"warning: {problem}; the run goes on from {path}", file=sys.stderr)
    elif _has_begun(folder, checkpoint_every):
        print("no checkpoint was saved yet; the run starts again at step 0", file=sys.stderr)
    folder.forget_after(algorithm.steps_done)
    return recorder_state


def train(
    algorithm: Algorithm,
    recorder: Recorder,
    folder: RunFolder,
    identity: Identity,
    *,
    total_steps: int,
    scalars_every: int,
    checkpoint_every: int,
    keep_every: int | None = None,
    actions: Sequence[Action],
    extra_scalars: Callable[[], dict[str, float]] = dict,
) -> None:
    """Step until `total_steps`, recording, acting and saving on the way; start anywhere.

    Args:
        identity: of the run, which its checkpoints hold.
        keep_every: steps between checkpoints that no later one replaces; None: there are none.

    Raises:
        DivergedError: a recorded value is not finite. Nothing is saved after that step.
        Stopped: SIGINT or SIGTERM came; the step was finished and saved. A second signal does not wait for that.
    """
    saved = algorithm.steps_done  # to save again what was just loaded would lose the previous checkpoint
    signals = _Signals()
    with handling_signals(signals.receive), _naming_last_good(folder):
        while True:
            step = algorithm.steps_done
            done = step >= total_steps
            due = [action for action in actions if action.due(step, total_steps)]
            keep = keep_every is not None and step > 0 and step % keep_every == 0
            slow = any(action.slow for action in due)
            if step > saved and (step % checkpoint_every == 0 or keep or done or signals.received or slow):
                _save(algorithm, recorder, folder, identity)
                saved = step
            if keep and not folder.kept(step).exists():  # also where a kill came between the saving and the keeping
                copy_file(folder.latest, folder.kept(step))
            if signals.received:
                raise Stopped(signals.received)
            for action in due:
                action.run(step)
            if done:
                break
            recorder.push(algorithm.step())
            step = algorithm.steps_done
            if step % scalars_every == 0 or step == total_steps:
                recorder.flush(step, **extra_scalars())
            recorder.progress(step)


def _last_good(folder: RunFolder) -> tuple[Path, dict[str, Any], str]:
    """Return a run's last readable checkpoint, what is in it, and what is wrong with a later one."""
    latest, previous = folder.latest, folder.previous
    problem = f"{latest} is missing"
    if latest.exists():
        try:
            return latest, load_checkpoint(latest), ""
        except UserError as error:
            problem = str(error)
    try:
        return previous, load_checkpoint(previous), problem
    except UserError as error:
        raise UserError(f"{problem}, and there is no good {previous.name}; {_ways_on(folder)}") from error


def _set_aside(path: Path) -> None:
    """Rename a damaged checkpoint, which the next save would give the name of the good previous one."""
    if path.exists():
        path.replace(path.with_name(f"{path.name}.damaged"))


def _has_begun(folder: RunFolder, checkpoint_every: int) -> bool:
    """Tell whether a run without a checkpoint has logged steps.

    Raises:
        UserError: it has had a checkpoint, so that to start again would lose what it was trained to.
    """
    logged, begun = (max((line["step"] for line in log), default=0) for log in (folder.metrics, folder.sessions))
    scored = max((measurement.step for measurement in folder.measurements), default=0)
    # A step is scored, and a session begins, where a checkpoint is; the line of a step is written before its own.
    if logged > checkpoint_every or scored or begun or folder.kept_checkpoints:
        raise UserError(
            f"{folder.path} has been trained, but its latest.pt and previous.pt are gone; {_ways_on(folder)}"
        )
    return logged > 0


def _ways_on(folder: RunFolder) -> str:
    way = f"copy a good checkpoint, as a kept step_*.pt, to {folder.latest} to go on"
    return f"{way}, or take another run.dir to start again"


def _save(algorithm: Algorithm, recorder: Recorder, folder: RunFolder, identity: Identity) -> None:
    recorder.check(algorithm.steps_done)  # what diverged must not replace what is good
    recorder.writer.flush()
    state = {"identity": identity.state_dict(), "algorithm": algorithm.state_dict(), "recorder": recorder.state_dict()}
    save_checkpoint(folder.latest, state, previous=folder.previous)


@contextmanager
def _naming_last_good(folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except DivergedError as error:
        path = folder.last_checkpoint
        last_good = f"the last good checkpoint is {path}" if path else "no checkpoint was saved before"
        raise DivergedError(f"{error}; {last_good}") from None


class _Signals:
    """Notes the first SIGINT or SIGTERM for the loop to see; the second one interrupts at once.

    One that comes again within `ECHO_SECONDS` is the same: a scheduler signals every process of a job, and the parent
    among them passes it on.
    """

    def __init__(self) -> None:
        self.received = 0
        self._since = 0.0

    def receive(self, signum: int) -> None:
        if signum == self.received and time.monotonic() - self._since < ECHO_SECONDS:
            return
        if self.received:
            raise KeyboardInterrupt
        self.received, self._since = signum, time.monotonic()
        print("\nfinishing this step and saving; once more to stop at once", file=sys.stderr)
