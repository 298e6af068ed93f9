"""A classifier config made into a running training: built, resumed, watched, evaluated, written as a network."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ganmix.algorithms.optimise import Descent, DescentSettings
from ganmix.algorithms.semi_supervised import SemiSupervisedTrainer
from ganmix.algorithms.supervised import ClassifierPass, MixupSettings, SupervisedTrainer
from ganmix.config.classifier import ClassifierConfig, LabelledData, Mixup
from ganmix.data import NUM_CLASSES, ImageData, augment, check_labels, split_images
from ganmix.engine.checkpoint import BEST, last_checkpoint, load_checkpoint, save_checkpoint, write_atomically
from ganmix.engine.identity import Identity
from ganmix.engine.loop import Action, resume, train
from ganmix.engine.old_run_folder import RunFolder, append_line, read_lines
from ganmix.engine.recorder import Recorder
from ganmix.engine.versions import library_versions
from ganmix.errors import UserError
from ganmix.evaluation.classifier.accuracy import clean_scores
from ganmix.evaluation.gan.extractors import sha256_of
from ganmix.networks import resolve_stages
from ganmix.networks.classifier import CLASSIFIERS, PREPARATIONS, prepare_for
from ganmix.networks.classifier.base import Classifier, classifier_file
from ganmix.networks.modes import evaluating
from ganmix.tasks.common import (
    AUGMENTATION,
    build_batches,
    child_seeds,
    image_shape,
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
from ganmix.tasks.identity import check_same_run, check_steps, identity_of, more_steps
from ganmix.tasks.tensorboard import show_config, show_result

EXPORTED = "classifier.safetensors"
SELECTIONS = {"validation": "best validation accuracy", "test": "best test accuracy"}
GRID = 64  # images in a grid of a batch

Trainer = SupervisedTrainer | SemiSupervisedTrainer


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a run.

    Args:
        labelled: what is trained on with labels.
        train: all training images but those for validation: the unlabelled ones, too.
        held_out: by split, what is evaluated on: "test", and "validation" where the config has it.
    """

    labelled: ImageData
    train: ImageData
    held_out: Mapping[str, ImageData]


def run_classifier(config: ClassifierConfig, config_path: Path) -> None:
    """Train what the config says, from where its run stands; write the chosen network as classifier.safetensors.

    Raises:
        UserError, DivergedError, Stopped: see errors.py and loop.py.
    """
    device = prepare_device(config.device)
    images = read_images(config)
    steps_an_epoch = epoch_steps(config, images)
    steps = config.training.steps or (config.training.epochs or 0) * steps_an_epoch
    identity = identity_of(config, _trained_on(images))
    path = run_path(config.run.dir, config_path)
    to_resume = last_checkpoint(path / "checkpoints") is not None
    trainer = build_trainer(config, images, steps, steps_an_epoch, device, to_resume=to_resume)
    with RunFolder(path) as folder:
        check_same_run(folder, config, also_fixed=["evaluation.select"])
        recorder_state = resume(folder, trainer, identity, checkpoint_every=config.logging.checkpoint_every)
        check_steps(folder, trainer.steps_done, steps)
        exported = folder.path / EXPORTED
        if trainer.steps_done >= steps and _exported_at(exported) == steps:
            say(f"{folder.path} is finished ({trainer.steps_done} steps){more_steps(config)}")
            return
        write_config(folder, config)
        record_session(folder, device, trainer.steps_done, steps)
        introduce(images.labelled, _parts(config, trainer, images), config.device, device, folder, trainer.steps_done)
        images_a_step = config.training.batch_size
        images_a_step += config.semi_supervised.batch_size if config.semi_supervised else 0
        recorder = Recorder(folder, trainer.steps_done, steps, images_a_step, recorder_state)
        watch = Watch(config, images, trainer, identity, recorder)
        every = config.evaluation.every
        try:
            show_config(recorder.writer, config)
            train(
                trainer,
                recorder,
                folder,
                identity,
                total_steps=steps,
                scalars_every=config.logging.scalars_every,
                checkpoint_every=config.logging.checkpoint_every,
                keep_every=config.logging.keep_every,
                actions=[
                    Action(watch.show_batch, config.logging.images_every, at_start=True),
                    Action(watch.evaluate, steps_an_epoch if every == "epoch" else every, slow=True),
                ],
                extra_scalars=watch.extra_scalars,
            )
            chosen = watch.choose(steps)
            show_result(recorder.writer, config, chosen["scores"])
        finally:
            recorder.close()
        recipe = {"config": config.model_dump(), "scores": chosen["scores"], "steps": steps}
        write_atomically(exported, classifier_file(shown_network(trainer), recipe))
        say(f"test         {scores_in_words(chosen)}")
        say(f"classifier   {exported}")
        say(f"TensorBoard  tensorboard --logdir {folder.path}")


def read_images(config: ClassifierConfig) -> Images:
    """Read and split the images that a config names.

    Raises:
        UserError: they cannot be had, or their labels are not what the config needs.
    """
    settings, seed = config.data, config.run.seed
    num_classes = NUM_CLASSES[settings.name]
    test, data = read_labelled(settings, "test"), read_labelled(settings, "train")
    if settings.crop_padding >= data.resolution:
        raise UserError(f"data.crop_padding must be less than the images' {data.resolution} pixels")
    data = training_images(data, settings, seed)
    assert data.labels is not None
    split = split_images(
        data.labels,
        num_classes,
        seed=seed,
        labels_per_class=settings.labels_per_class,
        num_validation=settings.num_validation,
    )
    held_out = {"test": test}
    if settings.num_validation:
        held_out["validation"] = data.subset(split.validation)
    return Images(data.subset(split.labelled), data.subset(split.train), held_out)


def read_labelled(settings: LabelledData, split: str) -> ImageData:
    """Read images with labels, which are checked."""
    data = read_data(settings, split)
    check_labels(data, NUM_CLASSES[settings.name])
    return data


def _trained_on(images: Images) -> dict[str, Tensor]:
    """Return what a training depends on of its images: the labels of those that it sees with labels."""
    assert images.labelled.labels is not None
    return {
        "labelled": images.labelled.images,
        "labels": images.labelled.labels,
        "unlabelled": images.train.images,
    }


def _exported_at(path: Path) -> int | None:
    """Return the steps of the training that wrote a network's file; None where there is none, or a damaged one."""
    try:
        with safe_open(path, framework="pt") as file:
            steps: int | None = json.loads(file.metadata()["recipe"]).get("steps")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return steps


def epoch_steps(config: ClassifierConfig, images: Images) -> int:
    """Return the steps of a pass over the labelled images or, semi-supervised, over the unlabelled ones."""
    if config.semi_supervised is not None:
        return max(1, images.train.num_images // config.semi_supervised.batch_size)
    return max(1, images.labelled.num_images // config.training.batch_size)


def empty_preparation(config: ClassifierConfig) -> torch.nn.Module | None:
    """Return the preparation that the config names, for a checkpoint to fill."""
    return PREPARATIONS[config.data.prepare].empty(*image_shape(config.data)) if config.data.prepare else None


def build_network(config: ClassifierConfig, prepare: torch.nn.Module | None) -> Classifier:
    """Build the config's network with fresh weights, on the CPU.

    Args:
        prepare: of the kind that `config.data.prepare` names.

    Raises:
        UserError: the network cannot be so.
    """
    channels, resolution = image_shape(config.data)
    keys = config.network.model_dump(exclude={"name"})
    try:
        return CLASSIFIERS[config.network.name](
            resolution, channels, num_classes=NUM_CLASSES[config.data.name], prepare=prepare, **keys
        )
    except ValueError as error:
        raise UserError(f"network: {error}") from None


def build_trainer(
    config: ClassifierConfig,
    images: Images,
    steps: int,
    steps_an_epoch: int,
    device: torch.device,
    *,
    to_resume: bool = False,
) -> Trainer:
    """Build network, batches and random streams of a config, before any step.

    Args:
        to_resume: a checkpoint will be loaded, which has what the preparation measured: whitening takes minutes.
    """
    init_seed, order_seed, augment_seed, plan_seed, _, unlabelled_seed = child_seeds(config.run.seed, 6)
    try:
        prepare = empty_preparation(config) if to_resume else prepare_for(config.data.prepare, images.train.images)
    except ValueError as error:
        raise UserError(f"data.prepare: {error}") from None
    with torch.random.fork_rng():
        torch.manual_seed(init_seed)
        network = build_network(config, prepare)
    network = network.to(device).lay_out(memory_format(config.device))
    generator = torch.Generator(device).manual_seed(augment_seed)
    plan_generator = torch.Generator().manual_seed(plan_seed)
    network_pass = ClassifierPass(
        network,
        noise=config.data.noise,
        generator=generator,
        loss=config.loss.name,
        label_smoothing=config.loss.label_smoothing,
        bf16=config.device.bf16,
        compile=config.device.compile,
    )
    training = config.training
    settings = training.model_dump(include=set(DescentSettings.__dataclass_fields__))
    drops = [drop * (steps_an_epoch if training.epochs else 1) for drop in training.drops]
    descent = Descent(network, DescentSettings(**settings | {"drops": drops}), steps)
    batches = partial(build_batches, settings=config.data, generator=generator)
    labels = images.labelled.labels
    labelled = batches(images.labelled, labels, batch_size=training.batch_size, seed=order_seed)
    mixup = mixup_settings(config.mixup, network, "mixup")
    semi = config.semi_supervised
    if semi is None:
        return SupervisedTrainer(
            network_pass,
            labelled,
            descent,
            mixup=mixup,
            cutmix_alpha=config.cutmix.alpha if config.cutmix else None,
            generator=generator,
            plan_generator=plan_generator,
        )
    unlabelled_mixup = mixup_settings(semi.mixup, network, "semi_supervised.mixup")
    assert unlabelled_mixup is not None
    return SemiSupervisedTrainer(
        network_pass,
        labelled,
        batches(images.train, None, batch_size=semi.batch_size, seed=unlabelled_seed),
        descent,
        mixup=mixup,
        unlabelled_mixup=unlabelled_mixup,
        weight=semi.weight,
        ramp_steps=max(1, round(semi.ramp * steps)),
        targets=semi.targets,
        batch_norm=semi.batch_norm,
        generator=generator,
        plan_generator=plan_generator,
    )


def mixup_settings(section: Mixup | None, network: Classifier, key: str) -> MixupSettings | None:
    """Return what a section says of mixing, with the network's numbers for its stages."""
    if section is None:
        return None
    try:
        stages = resolve_stages(section.stages, network.boundaries)
    except ValueError as error:
        raise UserError(f"{key}.stages: {error}") from None
    return MixupSettings(**section.model_dump(exclude={"stages"}), stages=tuple(stages))


def shown_network(trainer: Trainer) -> Classifier:
    """Return the network to evaluate, the moving average where there is one."""
    network = trainer.descent.shown_network
    assert isinstance(network, Classifier)
    return network


def clean_protocol(data: ImageData, split: str, *, ema: bool) -> dict[str, Any]:
    """Return what scores on clean images depend on beside the network."""
    assert data.labels is not None
    return {
        "what": "clean",
        "dataset": data.name,
        "split": split,
        "num": data.num_images,
        "digest": sha256_of({"images": data.images, "labels": data.labels}),
        "ema": ema,
    }


def scores_in_words(line: Mapping[str, Any]) -> str:
    """Say a line of scores."""
    values = ", ".join(
        f"{name} {value:.2f} %" if name == "accuracy" else f"{name} {value:.4g}"
        for name, value in line["scores"].items()
    )
    how = f" (step {line['checkpoint_step']}, {line['protocol']['selection']})" if "checkpoint_step" in line else ""
    return values + how


class Watch:
    """What a person looks at: batches as they are trained on, scores on clean images, lambda."""

    def __init__(
        self, config: ClassifierConfig, images: Images, trainer: Trainer, identity: Identity, recorder: Recorder
    ):
        self._config = config
        self._trainer = trainer
        self._identity = identity
        self._recorder = recorder
        self._folder = recorder.folder
        self._select = config.evaluation.select
        self._held_out = images.held_out
        self._device = trainer.generator.device
        ema = config.training.ema is not None
        self._protocols = {split: clean_protocol(data, split, ema=ema) for split, data in images.held_out.items()}
        self._draw = torch.Generator().manual_seed(config.run.seed)
        self._shown = images.labelled.images[:GRID]

    def show_batch(self, step: int) -> None:
        """Write a grid of training images, augmented, and of their mixes where the input is mixed."""
        keys = self._config.data.model_dump(include=AUGMENTATION)
        batch = augment(self._shown, generator=self._draw, **keys)
        self._recorder.grid(step, "batch", batch)
        mixup = self._trainer.mixup
        if mixup is not None and 0 in mixup.stages:
            plan = mixup.plan(len(batch), self._draw, torch.device("cpu"))
            self._recorder.grid(step, "mixes", plan.mixes(batch))

    def extra_scalars(self) -> dict[str, float]:
        """Return the learning rate, and write the last step's lambda."""
        plan = self._trainer.last_plan
        if plan is not None:
            self._recorder.writer.add_histogram("mix/lambda", plan.lam.float().cpu(), self._trainer.steps_done)
        return {"learning_rate": self._trainer.descent.current_lr}

    def evaluate(self, step: int) -> None:
        """Score the network on clean images, and keep its checkpoint where it is the best so far."""
        known = {line["protocol"]["split"] for line in self._lines() if line["step"] == step}
        if known >= self._held_out.keys():
            return
        network = shown_network(self._trainer)
        lines: list[dict[str, Any]] = []
        for split, data in self._held_out.items():
            with evaluating(network):
                scores = clean_scores(network.predict, data, self._device)
            tag = "score" if split == "test" else split
            self._recorder.scalars(step, {f"{tag}/{name}": value for name, value in scores.items()})
            versions = library_versions()
            lines.append({"step": step, "scores": scores, "protocol": self._protocols[split], "versions": versions})
        if self._select != "last" and self._accuracy(lines) > self._accuracy(self._lines()):
            best = {"identity": self._identity.state_dict(), "algorithm": self._trainer.state_dict(), "lines": lines}
            save_checkpoint(self._folder.checkpoints / BEST, best)
        for line in lines:
            append_line(self._folder.scores, line)
        self._recorder.say(f"step {step}: {scores_in_words(lines[0])}")
        self._recorder.restart_clock(step)

    def choose(self, step: int) -> dict[str, Any]:
        """Return the scores on test images of the network that the config selects, and make the trainer hold it.

        Raises:
            UserError: that network is lost.
        """
        if self._select == "last":
            return _of_test(line for line in self._lines() if line["step"] == step)
        path = self._folder.checkpoints / BEST
        try:
            state = load_checkpoint(path)
            self._identity.check(path, state)
        except UserError as error:
            raise UserError(f"{error}; it had the network to choose, so train again in another run.dir") from error
        lines = state["lines"]  # its own, which the log may lack after a kill
        if self._accuracy(lines) < self._accuracy(self._lines()):
            raise UserError(
                f"{path} is less accurate than the best network in {self._folder.scores}, which is lost; "
                "train again in another run.dir"
            )
        self._trainer.load_state_dict(state["algorithm"])
        test = _of_test(lines)
        selected = test | {"step": step, "checkpoint_step": test["step"]}
        selected["protocol"] = test["protocol"] | {"selection": SELECTIONS[self._select]}
        if selected not in read_lines(self._folder.scores):
            append_line(self._folder.scores, selected)
        return selected

    def _lines(self) -> list[dict[str, Any]]:
        """Return the scores that this training made."""
        known = list(self._protocols.values())
        return [line for line in read_lines(self._folder.scores) if line["protocol"] in known]

    def _accuracy(self, lines: Iterable[Mapping[str, Any]]) -> float:
        """Return the best accuracy of some lines on the images that the config selects by."""
        return max(
            (float(line["scores"]["accuracy"]) for line in lines if line["protocol"]["split"] == self._select),
            default=-1.0,
        )


def _of_test(lines: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the first of some lines that is of test images."""
    return next(line for line in lines if line["protocol"]["split"] == "test")


def _parts(config: ClassifierConfig, trainer: Trainer, images: Images) -> dict[str, str]:
    network = trainer.descent.network
    size = sum(parameter.numel() for parameter in network.parameters())
    parts = {"network": f"{config.network.name} {size:,} parameters", "loss": config.loss.name}
    if isinstance(trainer, SemiSupervisedTrainer):
        parts["unlabelled"] = f"{images.train.num_images} images, {_mixing(trainer.unlabelled_mixup, network)}"
    if trainer.mixup is not None:
        parts["mixup"] = _mixing(trainer.mixup, network)
    if config.cutmix is not None:
        parts["cutmix"] = f"alpha {config.cutmix.alpha:g}"
    return parts


def _mixing(mixup: MixupSettings, network: torch.nn.Module) -> str:
    assert isinstance(network, Classifier)
    return f"at {', '.join(network.boundaries[k] for k in mixup.stages)}, alpha {mixup.alpha:g}"
