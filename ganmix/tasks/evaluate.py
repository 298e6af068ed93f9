"""Scores of runs' checkpoints after training, whatever they train."""

import json
from collections.abc import Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from ganmix.config.either import Config, read_either_config
from ganmix.config.gan import Evaluation, GanConfig
from ganmix.engine.progress import say
from ganmix.engine.run_folder import RunFolder, find_runs
from ganmix.engine.scores import Measurement, in_words
from ganmix.engine.scoring import known, measure
from ganmix.engine.task import Evaluator, Task
from ganmix.engine.world import World, world
from ganmix.errors import UserError
from ganmix.tasks import task_of
from ganmix.tasks.gan_scores import Scorer, real_scores

SETTABLE = ("evaluation.", "device.", "data.root", "data.path")  # nothing that would make it another run


def evaluate_runs(
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
    """Score checkpoints of the runs at or below `paths`; a score that a run has already is not computed again.

    Args:
        overrides: `evaluation.num_fake=5000` and the like, over the runs' configs.
        what: classifiers' evaluations, see `classifier_scores`; None: the usual ones.
        protocol: GANs are scored by this one instead of the evaluation section of a run's config.
        checkpoint: "latest", "best" or a path; None: the latest, or what a classifier's `evaluation.select` chose.
        every_kept: score every kept checkpoint, and the latest one.
        real_too: also score real images of the split that is not a GAN's reference: the best there is to reach.
        save_reference_to: write the mean and covariance of a GAN's real images there as .npz.

    Raises:
        UserError: no runs, no checkpoint, or nothing to score them by; each with what to do about it.
    """
    folders = find_runs(paths)
    configs = [read_either_config(folder.config) for folder in folders]
    num_gans = sum(isinstance(config, GanConfig) for config in configs)
    for_gans = {"--protocol": protocol, "--real": real_too, "--save-reference": save_reference_to}
    problems = [f"{name} is for GANs, and all these runs are classifiers" for name, on in for_gans.items() if on]
    problems = [] if num_gans else problems
    if what is not None and num_gans == len(configs):
        problems.append("--what is for classifiers, and all these runs are GANs")
    problems += [
        f"command line {override!r}: a finished run takes only these: {', '.join(SETTABLE)}"
        for override in overrides
        if not override.startswith(SETTABLE)
    ]
    if problems:
        raise UserError(problems)
    compared: set[str] = set()  # protocols whose real images have been scored
    with world() as here:
        for place, (folder, own) in enumerate(zip(folders, configs, strict=True)):
            # All processes share the passes over a GAN's images; one scores a classifier.
            sharing = here if isinstance(own, GanConfig) else World()
            if sharing.size < here.size and place % here.size != here.rank:
                continue
            try:
                folder.check_format()
                config = read_either_config(folder.config, [*_evaluation(own, protocol), *overrides])
                task = task_of(config, here)
                selected = None if checkpoint or every_kept else _selected(folder, config)
                evaluators = task.evaluators(what, selected.protocol["selected_by"] if selected else None)
                for scorer in evaluators:
                    if isinstance(scorer, Scorer) and save_reference_to is not None and here.speaks:
                        scorer.save_reference(save_reference_to)
                        save_reference_to = None
                    if isinstance(scorer, Scorer) and real_too and scorer.title not in compared:
                        compared.add(scorer.title)
                        real_scores(scorer, config.data)
                kept = folder.kept_checkpoints if every_kept else []
                chosen = [*kept, folder.checkpoint(checkpoint or ("best" if selected else "latest"))]
                if sharing.speaks:
                    say(f"run          {folder.path}")
                _evaluate_run(folder, task, evaluators, chosen, selected, sharing)
            except UserError as error:  # the other runs can be scored all the same
                problems += error.problems
    if problems:
        raise UserError(list(dict.fromkeys(problems)))


def _evaluate_run(
    folder: RunFolder,
    task: Task,
    evaluators: Sequence[Evaluator],
    checkpoints: Sequence[Path],
    selected: Measurement | None,
    here: World,
) -> None:
    """Score checkpoints of a run.

    Args:
        selected: what its training said of the checkpoint that it selected; None: it selected none.
        here: the processes that share the work.
    """
    done: set[int] = set()
    for path in checkpoints:
        trained = task.load(path)
        if selected and trained.step != selected.checkpoint:
            raise UserError(_unselected(folder))
        if trained.step in done:  # the latest checkpoint is often the last that is kept
            continue
        done.add(trained.step)
        step = selected.step if selected else trained.step
        for evaluator in evaluators:
            earlier = here.share(folder.measurements)
            found = known(earlier, evaluator, step)
            measurement = found or measure(evaluator, trained.network, step, trained.step)
            if not here.speaks:
                continue
            if found is None:
                folder.add_measurement(measurement)
                with SummaryWriter(str(folder.path)) as writer:
                    for tag, value in measurement.tagged(evaluator.tag(earlier)).items():
                        writer.add_scalar(tag, value, step)
            again = ", known" if found else ""
            say(f"step {trained.step:<8}{in_words(measurement.scores)} ({evaluator.title}{again})")


def _selected(folder: RunFolder, config: Config) -> Measurement | None:
    """Return what the training said of the checkpoint that it selected; None: the config selects the last."""
    select = getattr(config.evaluation, "select", "last")
    if select == "last":
        return None
    found = [each for each in folder.measurements if each.protocol.get("selected_by") == select]
    if not found:
        raise UserError(_unselected(folder))
    return found[-1]


def _unselected(folder: RunFolder) -> str:
    return f"{folder.path} has not been trained to its end, so no checkpoint is selected; --checkpoint latest takes one"


def _evaluation(config: Config, protocol: str | None) -> list[str]:
    """Return what gives a GAN's config the protocol, or one at all, as an override."""
    if not isinstance(config, GanConfig) or (protocol is None and config.evaluation is not None):
        return []
    weights = config.evaluation.weights if config.evaluation is not None else None  # where they are is no protocol
    return [f"evaluation={json.dumps({'protocol': protocol or Evaluation().protocol, 'weights': weights})}"]
