"""Scores of GANs' checkpoints by any protocol, added to what the runs were scored at while they trained."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from ganmix.config.common import FolderData
from ganmix.config.gan import Evaluation, GanConfig
from ganmix.config.reader import read_config
from ganmix.engine.old_run_folder import append_line, read_lines
from ganmix.engine.world import World
from ganmix.errors import UserError
from ganmix.evaluation.gan import same_protocol
from ganmix.evaluation.gan.reference import save_reference
from ganmix.tasks.common import prepare_device, read_data, say
from ganmix.tasks.gan_scores import Scorer, score_lines, scores_in_words
from ganmix.tasks.load import CONFIG, checkpoint_path, kept_checkpoints, load_generator, read_run_config


def evaluate_gans(
    runs: Sequence[Path],
    overrides: Sequence[str],
    here: World,
    *,
    protocol: str | None = None,
    checkpoint: str = "latest",
    every_kept: bool = False,
    real_too: bool = False,
    save_reference_to: Path | None = None,
) -> None:
    """Score checkpoints of GANs' runs; what has that score already is not scored again.

    Args:
        overrides: `evaluation.num_fake=5000` and the like, over the runs' configs.
        here: the processes that share each score's work.
        protocol: scores by this one, instead of the evaluation section of a run's config.
        checkpoint: "latest", "best" or a path.
        every_kept: score every checkpoint that a run keeps, and the latest one.
        real_too: say what real images of the split that is not the reference score, which is what there is to reach.
        save_reference_to: write the reference's mean and covariance there as .npz.

    Raises:
        UserError: no checkpoint, or nothing to score it by; each with what to do about it.
    """
    scorers: dict[Any, Scorer] = {}
    anchored: set[Any] = set()
    for run in runs:
        config = _run_config(run, protocol, overrides)
        assert config.evaluation is not None
        # Runs of one setting share a scorer: the reference is read and prepared once.
        data = config.data.model_copy(update={"num_images": None})
        key = (data, config.evaluation, config.training.ema is None, config.generator.z, config.device.name)
        if key not in scorers:
            scorers[key] = Scorer(config, config.evaluation, prepare_device(config.device), world=here)
        scorer = scorers[key]
        if save_reference_to is not None and here.speaks:
            save_reference(save_reference_to, scorer.reference, scorer.extractor)
            say(f"reference    {save_reference_to}")
            save_reference_to = None
        if real_too and key not in anchored:
            anchored.add(key)
            _say_real(config, scorer, here)
        kept = kept_checkpoints(run) if every_kept else []
        chosen = [*kept, checkpoint_path(run, "latest" if every_kept else checkpoint)]
        _score_run(run, config, chosen, scorer, here)


def _score_run(run: Path, config: GanConfig, checkpoints: Sequence[Path], scorer: Scorer, here: World) -> None:
    log = run / "scores.jsonl"
    if here.speaks:
        say(f"run          {run}")
    done: set[int] = set()
    for path in checkpoints:
        trained = load_generator(config, path, device=scorer.device, ema=scorer.ema)
        if trained.step in done:  # the latest checkpoint is often the last that is kept
            continue
        done.add(trained.step)
        known = here.share([line for line in scorer.earlier(read_lines(log)) if line["step"] == trained.step])
        if known:
            line = known[-1]
        else:
            line = scorer.line(trained.step, scorer(trained.network))
            if here.speaks:
                append_line(log, line)
                _draw(run, line)
        if here.speaks:
            say(f"             {score_lines([line])[0]}{' (known)' if known else ''}")


def _say_real(config: GanConfig, scorer: Scorer, here: World) -> None:
    if isinstance(config.data, FolderData):
        raise UserError("--real: a folder of images has no other split")
    split = "test" if scorer.reference.identity.get("split") == "train" else "train"
    data = read_data(config.data, split)
    scores = scorer.score_images(data.images)
    if here.speaks:
        num = min(data.num_images, scorer.protocol["num_fake"])
        say(f"real         {num} {split} images of {data.name}: {scores_in_words(scores)}")


def _draw(run: Path, line: dict[str, Any]) -> None:
    """Add the scores to the run's curves in TensorBoard, under other names where its training used another protocol."""
    lines = read_lines(run / "scores.jsonl")
    own = same_protocol(lines[0]["protocol"], line["protocol"])
    tag = "score" if own else f"score ({line['protocol']['name']})"
    with SummaryWriter(str(run)) as writer:
        for name, value in line["scores"].items():
            writer.add_scalar(f"{tag}/{name}", value, line["step"])


def _run_config(run: Path, protocol: str | None, overrides: Sequence[str]) -> GanConfig:
    config = read_run_config(run)
    if protocol is None and config.evaluation is not None:
        return read_config(GanConfig, run / CONFIG, overrides)
    weights = config.evaluation.weights if config.evaluation is not None else None  # where they are is no protocol
    section = {"protocol": protocol or Evaluation().protocol, "weights": weights}
    return read_config(GanConfig, run / CONFIG, [f"evaluation={json.dumps(section)}", *overrides])
