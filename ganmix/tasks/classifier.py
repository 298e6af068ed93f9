"""A classifier's training: built from its config, watched, scored, and exported; and its network read back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ganmix.algorithms.classifier_pass import ClassifierPass
from ganmix.algorithms.optimise import Descent, learning_rate
from ganmix.algorithms.semi_supervised import SemiSupervisedTrainer
from ganmix.algorithms.supervised import SupervisedTrainer, cutmix
from ganmix.config.classifier import ClassifierConfig, LabelledData, Mixup
from ganmix.config.settings import settings_from
from ganmix.data import DATASETS, ImageData, augment, check_labels, split_images
from ganmix.engine.device import memory_format
from ganmix.engine.files import write_atomically
from ganmix.engine.recorder import Recorder
from ganmix.engine.run_folder import RunFolder
from ganmix.engine.scores import Measurement
from ganmix.engine.seeds import seeds_of
from ganmix.engine.task import Best, Evaluator, Trained, Training
from ganmix.engine.world import World
from ganmix.errors import UserError, naming
from ganmix.losses import CLASSIFICATION_LOSSES
from ganmix.mixup import ClassifierMixup
from ganmix.networks import resolve_stages
from ganmix.networks.classifier import CLASSIFIERS, PREPARATIONS, prepare_for
from ganmix.networks.classifier.base import Classifier
from ganmix.networks.classifier.files import classifier_file
from ganmix.tasks.classifier_scores import EVALUATIONS, USUAL, ClassifierEvaluator
from ganmix.tasks.data import build_batches, image_shape, read_data, training_images
from ganmix.tasks.weights import load_weights

EXPORTED = "classifier.safetensors"
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


class ClassifierTask:
    """A classifier config as a task; see `engine.task.Task`.

    Args:
        device: where it computes.
        world: other processes; each scores runs of its own.
    """

    def __init__(self, config: ClassifierConfig, device: torch.device, world: World | None = None):
        self.config = config
        self.device = device

    def build(self, *, to_resume: bool) -> Training:
        """Read and split the images, and build network, trainer and evaluators."""
        config, select = self.config, self.config.evaluation.select
        images = read_images(config)
        steps_an_epoch = epoch_steps(config, images)
        steps = config.training.steps or (config.training.epochs or 0) * steps_an_epoch
        trainer = build_trainer(config, images, steps, steps_an_epoch, self.device, to_resume=to_resume)
        evaluators = {split: self._evaluator("clean", data) for split, data in images.held_out.items()}
        best = None if select == "last" else Best(evaluators[select], "accuracy", lower=False, selects=select)
        every = config.evaluation.every
        assert images.labelled.labels is not None
        return Training(
            trainer,
            steps,
            {"labelled": images.labelled.images, "labels": images.labelled.labels, "unlabelled": images.train.images},
            _summary(config, trainer, images),
            [],
            Pictures(config, images, trainer).show,
            lambda: trainer.descent.shown_network,
            list(evaluators.values()),
            steps_an_epoch if every == "epoch" else every,
            best=best,
        )

    def evaluators(self, names: Sequence[str] | None = None, selected_by: str | None = None) -> list[Evaluator]:
        """Return the evaluations called `names` on test images; None: all but the one that takes very long.

        Raises:
            UserError: one is unknown, or the images cannot be had.
        """
        if unknown := [name for name in names or () if name not in EVALUATIONS]:
            raise UserError(f"--what: expected {', '.join(EVALUATIONS)}, got {unknown[0]!r}")
        num, data = self.config.evaluation.num_test, read_labelled(self.config.data, "test")
        some = data if num is None else data.subset(torch.arange(min(num, data.num_images)))
        images = {name: data if name == "clean" else some for name in names or USUAL}
        return [self._evaluator(name, data, selected_by) for name, data in images.items()]

    def load(self, checkpoint: Path) -> Trained:
        """Rebuild the network, the moving average where there is one, from a checkpoint."""
        config = self.config
        with torch.random.fork_rng():  # its random initial weights are overwritten; the caller's draws must not move
            network = build_network(config, empty_preparation(config))
        network = network.to(self.device).lay_out(memory_format(config.device))
        ema = config.training.ema is not None
        return load_weights(config, checkpoint, network, None, self.device, ema)

    def export(self, folder: RunFolder, training: Training, result: Measurement | None) -> dict[str, str]:
        """Write the network as classifier.safetensors, which serves as an extractor too."""
        assert result is not None
        network = training.network()
        assert isinstance(network, Classifier)
        recipe = {"config": self.config.model_dump(), "scores": result.values, "steps": training.total_steps}
        write_atomically(folder.path / EXPORTED, classifier_file(network, recipe))
        return {"classifier": f"{folder.path / EXPORTED}"}

    def is_exported(self, folder: RunFolder, steps: int) -> bool:
        """Tell whether classifier.safetensors is there, whole and of so many steps."""
        try:
            with safe_open(folder.path / EXPORTED, framework="pt") as file:
                found: bool = json.loads(file.metadata()["recipe"]).get("steps") == steps
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return False
        return found

    def _evaluator(self, name: str, data: ImageData, selected_by: str | None = None) -> ClassifierEvaluator:
        ema, attacks = self.config.training.ema is not None, self.config.evaluation.attacks
        return ClassifierEvaluator(name, data, self.device, attacks, ema=ema, selected_by=selected_by)


def read_images(config: ClassifierConfig) -> Images:
    """Read and split the images that a config names.

    Raises:
        UserError: they cannot be had, or their labels are not what the config needs.
    """
    settings, seed = config.data, config.run.seed
    num_classes = DATASETS[settings.name].num_classes
    test, data = read_labelled(settings, "test"), read_labelled(settings, "train")
    if settings.crop_padding >= data.resolution:
        raise UserError(f"data.crop_padding must be less than the images' {data.resolution} pixels")
    data = training_images(data, settings, seed)
    assert data.labels is not None
    with naming("data"):
        split = split_images(
            data.labels,
            num_classes,
            seed=seed,
            labels_per_class=settings.labels_per_class,
            num_validation=settings.num_validation,
        )
    held_out = {"test": test}
    if settings.num_validation:
        held_out["validation"] = replace(data.subset(split.validation), split="validation")
    return Images(data.subset(split.labelled), data.subset(split.train), held_out)


def read_labelled(settings: LabelledData, split: str) -> ImageData:
    """Read images with labels, which are checked."""
    data = read_data(settings, split)
    with naming("data"):
        check_labels(data, DATASETS[settings.name].num_classes)
    return data


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
    shape, num_classes = image_shape(config.data), DATASETS[config.data.name].num_classes
    keys = config.network.model_dump(exclude={"name"})
    with naming("network"):
        return CLASSIFIERS[config.network.name](*shape, num_classes=num_classes, prepare=prepare, **keys)


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
    seeds = seeds_of(config.run.seed)
    with naming("data.prepare"):
        prepare = empty_preparation(config) if to_resume else prepare_for(config.data.prepare, images.train.images)
    with torch.random.fork_rng():
        torch.manual_seed(seeds.weights)
        network = build_network(config, prepare)
    network = network.to(device).lay_out(memory_format(config.device))
    generator = torch.Generator(device).manual_seed(seeds.noise)
    plan_generator = torch.Generator().manual_seed(seeds.plans)
    network_pass = ClassifierPass(
        network,
        noise=config.data.noise,
        generator=generator,
        loss_function=CLASSIFICATION_LOSSES[config.loss.name],
        label_smoothing=config.loss.label_smoothing,
        bf16=config.device.bf16,
        compile=config.device.compile,
    )
    training = config.training
    sgd = torch.optim.SGD(
        network.parameters(),
        training.lr,
        training.momentum,
        weight_decay=training.weight_decay,
        nesterov=training.nesterov,
    )
    drops = [drop * (steps_an_epoch if training.epochs else 1) for drop in training.drops]
    schedule = partial(learning_rate, training.lr, total_steps=steps, decay=training.decay, drops=drops)
    descent = Descent(network, sgd, schedule, l1=training.l1, l1_of=training.l1_of, ema=training.ema)
    batches = partial(build_batches, settings=config.data, generator=generator)
    labels = images.labelled.labels
    with naming("training.batch_size"):
        labelled = batches(images.labelled, labels, batch_size=training.batch_size, seed=seeds.order)
    mixup = mixup_settings(config.mixup, network, "mixup")
    semi = config.semi_supervised
    if semi is None:
        return SupervisedTrainer(
            network_pass,
            labelled,
            descent,
            mixup=mixup,
            cutmix=cutmix(config.cutmix.alpha, network.num_classes) if config.cutmix else None,
            generator=generator,
            plan_generator=plan_generator,
        )
    unlabelled_mixup = mixup_settings(semi.mixup, network, "semi_supervised.mixup")
    assert unlabelled_mixup is not None
    with naming("semi_supervised.batch_size"):
        unlabelled = batches(images.train, None, batch_size=semi.batch_size, seed=seeds.unlabelled)
    return SemiSupervisedTrainer(
        network_pass,
        labelled,
        unlabelled,
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


def mixup_settings(section: Mixup | None, network: Classifier, key: str) -> ClassifierMixup | None:
    """Return what a section says of mixing, with the network's numbers for its stages."""
    if section is None:
        return None
    with naming(f"{key}.stages"):
        stages = resolve_stages(section.stages, network.boundaries)
    return settings_from(section, ClassifierMixup, stages=stages, block_size=None)


class Pictures:
    """What a person looks at: the same images as they are trained on, and their mixes where the input is mixed."""

    def __init__(self, config: ClassifierConfig, images: Images, trainer: Trainer):
        self._augmentation = config.data.augmentation
        self._trainer = trainer
        self._draw = torch.Generator().manual_seed(config.run.seed)
        self._images = images.labelled.images[:GRID]

    def show(self, step: int, recorder: Recorder) -> None:
        """Write the grids of a step."""
        batch = augment(self._images, generator=self._draw, **self._augmentation)
        recorder.grid(step, "batch", batch)
        mixup = self._trainer.mixup
        if mixup is not None and 0 in mixup.stages:
            plan = mixup.plan(len(batch), self._draw)
            recorder.grid(step, "mixes", plan.mixes(batch))


def _summary(config: ClassifierConfig, trainer: Trainer, images: Images) -> dict[str, str]:
    network = trainer.descent.network
    size = sum(parameter.numel() for parameter in network.parameters())
    parts = {
        "data": images.labelled.in_words(),
        "network": f"{config.network.name} {size:,} parameters",
        "loss": config.loss.name,
    }
    if isinstance(trainer, SemiSupervisedTrainer):
        parts["unlabelled"] = f"{images.train.num_images} images, {_mixing(trainer.unlabelled_mixup, network)}"
    if trainer.mixup is not None:
        parts["mixup"] = _mixing(trainer.mixup, network)
    if config.cutmix is not None:
        parts["cutmix"] = f"alpha {config.cutmix.alpha:g}"
    return parts


def _mixing(mixup: ClassifierMixup, network: torch.nn.Module) -> str:
    assert isinstance(network, Classifier)
    return f"at {', '.join(network.boundaries[k] for k in mixup.stages)}, alpha {mixup.alpha:g}"
