"""A classifier config made into a running training: built, resumed, watched, scored, written as an extractor."""

from functools import partial
from pathlib import Path

import torch

from ganmix.config.classifier import ClassifierConfig
from ganmix.data import ImageData
from ganmix.errors import UserError
from ganmix.evaluation.accuracy import accuracy_scores
from ganmix.networks import CLASSIFIERS
from ganmix.networks.classifier import save_classifier
from ganmix.runs.common import (
    build_batches,
    check_same_run,
    child_seeds,
    introduce,
    memory_format,
    prepare_device,
    read_data,
    record_session,
    run_path,
    say,
    training_images,
    write_config,
)
from ganmix.training.loop import Action, resume, train
from ganmix.training.recorder import Recorder
from ganmix.training.run_folder import RunFolder, append_line, read_lines
from ganmix.training.supervised import SupervisedTrainer


def run_classifier(config: ClassifierConfig, config_path: Path) -> None:
    """Train what the config says, from where its run stands; write the trained network as classifier.safetensors.

    Raises:
        UserError, DivergedError, Stopped: see errors.py and loop.py.
    """
    device = prepare_device(config.device)
    data = training_images(read_data(config.data, "train"), config.data, config.run.seed)
    test_data = read_data(config.data, "test")
    trainer = build_trainer(config, data, device)
    with RunFolder(run_path(config.run.dir, config_path)) as folder:
        check_same_run(folder, config, also_fixed=["training.steps"])  # over which the learning rate falls
        recorder_state = resume(folder, trainer)
        steps = config.training.steps
        exported = folder.path / "classifier.safetensors"
        if trainer.steps_done >= steps and exported.exists():
            say(f"{folder.path} is finished ({trainer.steps_done} steps)")
            return
        write_config(folder, config)
        record_session(folder, device, trainer.steps_done)
        network = f"{config.network.name} {sum(p.numel() for p in trainer.network.parameters()):,} parameters"
        introduce(data, {"network": network}, config.device, device, folder, trainer.steps_done)
        recorder = Recorder(folder, trainer.steps_done, steps, config.training.batch_size, recorder_state)
        evaluate = Action(partial(_evaluate, trainer, test_data, device, folder, recorder), config.evaluation.every)
        try:
            train(
                trainer,
                recorder,
                folder,
                total_steps=steps,
                scalars_every=config.logging.scalars_every,
                checkpoint_every=config.logging.checkpoint_every,
                keep_every=config.logging.keep_every,
                actions=[evaluate],
                extra_scalars=lambda: {"learning_rate": trainer.current_lr},
            )
        finally:
            recorder.close()
        scores = read_lines(folder.scores)[-1]["scores"]
        save_classifier(exported, trainer.network, {"config": config.model_dump(), "scores": scores})
        say(f"test         accuracy {scores['accuracy']:.4f}, NLL {scores['nll']:.4f}")
        say(f"classifier   {exported}, for evaluation.extractor")


def build_trainer(config: ClassifierConfig, data: ImageData, device: torch.device) -> SupervisedTrainer:
    """Build network, batches and random streams of a config, before any step."""
    if data.labels is None:
        raise UserError(f"data: {data.name} has no labels")
    init_seed, order_seed, augment_seed = child_seeds(config.run.seed, 3)
    with torch.random.fork_rng():
        torch.manual_seed(init_seed)
        keys = config.network.model_dump(exclude={"name"})
        num_classes = int(data.labels.max()) + 1
        network = CLASSIFIERS[config.network.name](data.resolution, data.channels, num_classes=num_classes, **keys)
    generator = torch.Generator(device).manual_seed(augment_seed)
    training = config.training
    batches = build_batches(
        data, data.labels, config.data, batch_size=training.batch_size, seed=order_seed, generator=generator
    )
    return SupervisedTrainer(
        network.to(device).lay_out(memory_format(config.device)),
        batches,
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        total_steps=training.steps,
        generator=generator,
        bf16=config.device.bf16,
        compile=config.device.compile,
    )


def _evaluate(
    trainer: SupervisedTrainer,
    data: ImageData,
    device: torch.device,
    folder: RunFolder,
    recorder: Recorder,
    step: int,
) -> None:
    if any(line["step"] == step for line in read_lines(folder.scores)):
        return
    scores = accuracy_scores(trainer.network, data, device)
    recorder.scalars(step, {f"score/{name}": value for name, value in scores.items()})
    protocol = {"dataset": data.name, "split": data.split, "num": data.num_images}
    append_line(folder.scores, {"step": step, "scores": scores, "protocol": protocol})
    recorder.restart_clock(step)
