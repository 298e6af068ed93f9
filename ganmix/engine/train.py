"""A run from its start, or from where it stands, to its end, whatever it trains."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ganmix.config.common import Device
from ganmix.config.either import Config
from ganmix.config.reader import dump_config
from ganmix.engine.device import hardware, has_fast_bf16
from ganmix.engine.files import write_atomically
from ganmix.engine.identity import check_same_run, identity_of
from ganmix.engine.loop import Action, resume, train
from ganmix.engine.progress import say
from ganmix.engine.recorder import Recorder
from ganmix.engine.run_folder import RunFolder
from ganmix.engine.scores import in_words
from ganmix.engine.scoring import Scoring
from ganmix.engine.task import Task, Training
from ganmix.engine.versions import library_versions
from ganmix.errors import UserError


def train_run(task: Task, path: Path) -> None:
    """Train what a config says, from where its run stands; say where the results are.

    Args:
        path: the run's folder.

    Raises:
        UserError, DivergedError, Stopped: see errors.py and loop.py.
    """
    config, folder = task.config, RunFolder(path)
    training = task.build(to_resume=folder.last_checkpoint is not None)
    algorithm, steps = training.algorithm, training.total_steps
    identity = identity_of(config, training.images)
    with folder.held():
        check_same_run(folder, config)
        recorder_state = resume(folder, algorithm, identity, checkpoint_every=config.logging.checkpoint_every)
        if algorithm.steps_done > steps:
            raise UserError(f"training.steps: {path} has done {algorithm.steps_done} already, more than {steps}")
        scoring = Scoring(training, folder, identity)
        if algorithm.steps_done >= steps and scoring.is_done(steps) and task.is_exported(folder, steps):
            say(f"{path} is finished ({steps} steps){_more_steps(config)}")
            return
        write_atomically(folder.config, dump_config(config).encode())
        started = {"total_steps": steps, "started": datetime.now(UTC).isoformat(timespec="seconds")}
        machine = {"hardware": hardware(task.device), "versions": library_versions()}
        folder.add_session(algorithm.steps_done, started | machine)
        _introduce(training, task, path)
        recorder = Recorder(folder, algorithm.steps_done, steps, config.images_per_step, recorder_state)
        actions = [Action(lambda step: training.show(step, recorder), config.logging.images_every, at_start=True)]
        if training.evaluators:
            score = partial(scoring.score, recorder=recorder)
            actions.append(Action(score, training.evaluate_every, training.evaluate_at_start, slow=True))
        try:
            recorder.show_config(config)
            train(
                algorithm,
                recorder,
                folder,
                identity,
                total_steps=steps,
                scalars_every=config.logging.scalars_every,
                checkpoint_every=config.logging.checkpoint_every,
                keep_every=config.logging.keep_every,
                actions=actions,
                extra_scalars=partial(_extra_scalars, training, recorder),
            )
            result = scoring.result(steps)
            recorder.show_result(config, result.values if result else {})
        finally:
            recorder.close()
        exported = task.export(folder, training, result)
    lines = {"samples": f"{folder.samples}", "TensorBoard": f"tensorboard --logdir {path}", **exported}
    if result is not None:
        of = f" (step {result.checkpoint})" if result.checkpoint != steps else ""
        lines["scores"] = f"{in_words(result.scores)}{of}"
    for name, text in lines.items():
        say(f"{name:<12} {text}")


def run_path(run_dir: str | None, config_path: Path) -> Path:
    """Return the run's folder: the config's, or runs/ and the config file's name.

    Raises:
        UserError: it begins with ~ and a name that nobody has.
    """
    if not run_dir:
        return Path("runs") / config_path.stem
    try:
        return Path(run_dir).expanduser()
    except RuntimeError as error:
        raise UserError(f"run.dir: {run_dir!r} is in the home of a user unknown here") from error


def _more_steps(config: Config) -> str:
    """Return how a finished run would go on, where it may."""
    length = config.training.model_dump(include={"steps", "epochs"}, exclude_none=True)
    (key, number), *_ = length.items()
    return f"; training.{key}={2 * number} would go on" if config.can_go_on else ""


def _introduce(training: Training, task: Task, path: Path) -> None:
    """Say what is about to be trained, on what and where."""
    settings: Device = task.config.device
    resumed = f", resumed at step {training.algorithm.steps_done}" if training.algorithm.steps_done else ""
    lines = {
        **training.summary,
        "device": f"{hardware(task.device)}, {'bfloat16 autocast' if settings.bf16 else 'float32'}",
        "run": f"{path}{resumed}",
    }
    for name, text in lines.items():
        say(f"{name:<12} {text}")
    if settings.bf16 and not has_fast_bf16(task.device):
        say("warning: this device emulates bfloat16; device.bf16=false is faster on it")
    for note in training.notes:
        say(f"note: {note}")


def _extra_scalars(training: Training, recorder: Recorder) -> dict[str, float]:
    """Return the learning rate, and write the histogram of the last step's lambda."""
    plan = training.algorithm.last_plan
    if plan is not None:
        recorder.writer.add_histogram("mix/lambda", plan.lam.float().cpu(), training.algorithm.steps_done)
    return {"learning_rate": training.algorithm.current_lr}
