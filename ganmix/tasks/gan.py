"""A GAN's training: built from its config, watched, scored; and its generator read back."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ganmix.algorithms.gan import GanSettings, GanTrainer
from ganmix.config.gan import GanConfig
from ganmix.config.settings import settings_from
from ganmix.data import ImageData, to_float
from ganmix.engine.device import memory_format
from ganmix.engine.recorder import Recorder
from ganmix.engine.run_folder import RunFolder
from ganmix.engine.scores import Measurement
from ganmix.engine.seeds import seeds_of
from ganmix.engine.task import Best, Evaluator, Trained, Training
from ganmix.engine.world import World
from ganmix.errors import UserError, naming
from ganmix.evaluation.gan.sampling import generate
from ganmix.losses import GAN_LOSSES, PENALTIES, Penalty
from ganmix.mixup import DiscriminatorMixup
from ganmix.networks import Staged, is_affine, resolve_stages
from ganmix.networks.gan import DISCRIMINATORS, GENERATORS
from ganmix.tasks.data import build_batches, image_shape, read_data, training_images
from ganmix.tasks.gan_scores import Scorer
from ganmix.tasks.weights import load_weights

GRID = 64  # images in a sample grid


class GanTask:
    """A GAN config as a task; see `engine.task.Task`.

    Args:
        device: where it computes.
        world: the processes that share the work of its scores.
    """

    def __init__(self, config: GanConfig, device: torch.device, world: World | None = None):
        self.config = config
        self.device = device
        self._world = world

    def build(self, *, to_resume: bool) -> Training:
        """Read the images, and build networks, trainer and scorer."""
        config = self.config
        all_data = read_data(config.data, "train")
        data = training_images(all_data, config.data, config.run.seed)
        trainer = build_trainer(config, data, self.device)
        training = partial(
            Training,
            algorithm=trainer,
            total_steps=config.training.steps,
            images={"images": data.images},
            summary=_summary(config, data, trainer),
            notes=[*_input_mixup(trainer, to_float(data.images[:1])), *_surprises(config)],
            show=Pictures(config, data, trainer).show,
        )
        if config.evaluation is None:
            return training(network=lambda: trainer.shown_generator, evaluators=[], evaluate_every=None)
        scorer = self._scorer(all_data)
        return training(
            network=lambda: trainer.shown_generator if scorer.ema else trainer.generator,
            evaluators=[scorer],
            evaluate_every=config.evaluation.every,
            evaluate_at_start=config.evaluation.at_start,
            best=Best(scorer, "FID", lower=True),
        )

    def evaluators(self, names: Sequence[str] | None = None, selected_by: str | None = None) -> list[Evaluator]:
        """Return the scorer by the config's protocol; there is one, and it scores the last checkpoint."""
        return [self._scorer()]

    def load(self, checkpoint: Path) -> Trained:
        """Rebuild from a checkpoint the generator that is scored."""
        ema = self.config.evaluation.ema if self.config.evaluation is not None else None
        return load_generator(self.config, checkpoint, device=self.device, ema=ema)

    def export(self, folder: RunFolder, training: Training, result: Measurement | None) -> dict[str, str]:
        """Return where the last samples are; a generator is exported as checkpoints alone."""
        return {"samples": f"{folder.samples}/fakes_{training.total_steps:06d}.png"}

    def is_exported(self, folder: RunFolder, steps: int) -> bool:
        """Tell that nothing is missing."""
        return True

    def _scorer(self, train_data: ImageData | None = None) -> Scorer:
        config = self.config
        assert config.evaluation is not None
        return Scorer(
            config.evaluation,
            config.data,
            self.device,
            noise_size=config.generator.z,
            has_average=config.training.ema is not None,
            world=self._world,
            train_data=train_data,
        )


def build_trainer(config: GanConfig, data: ImageData, device: torch.device) -> GanTrainer:
    """Build networks, losses, batches and random streams of a config, before any step."""
    training = config.training
    seeds = seeds_of(config.run.seed)
    with torch.random.fork_rng():
        torch.manual_seed(seeds.weights)
        networks = [build_network("generator", config), build_network("discriminator", config)]
    generator, discriminator = (network.to(device).lay_out(memory_format(config.device)) for network in networks)
    noise_generator = torch.Generator(device).manual_seed(seeds.noise)
    with naming("training.batch_size"):
        batches = build_batches(
            data, None, config.data, batch_size=training.batch_size, seed=seeds.order, generator=noise_generator
        )
    settings = GanSettings(
        noise_size=config.generator.z,
        loss=GAN_LOSSES[config.loss.name],
        total_steps=training.steps,
        penalties=_penalties(config),
        mixup=_mixup(config, discriminator),
        n_dis=training.n_dis,
        lr=training.lr,
        betas=training.betas,
        decay=training.decay,
        ema=training.ema,
        bf16=config.device.bf16,
        compile=config.device.compile,
    )
    plan_generator = torch.Generator().manual_seed(seeds.plans)
    return GanTrainer(
        generator, discriminator, batches, settings, noise_generator=noise_generator, plan_generator=plan_generator
    )


def build_network(role: str, config: GanConfig) -> Staged:
    """Build the config's "generator" or "discriminator" with fresh weights, on the CPU."""
    section = getattr(config, role)
    table = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}[role]
    keys = section.model_dump(exclude={"name"})
    try:
        return table[section.name](*image_shape(config.data), **keys)
    except ValueError as error:
        raise UserError(f"{role}: {error}; data.resolution sets another") from None


def load_generator(config: GanConfig, checkpoint: Path, *, device: torch.device, ema: bool | None = None) -> Trained:
    """Rebuild a run's generator from one of its checkpoints; see `load_weights`."""
    with torch.random.fork_rng():  # its random initial weights are overwritten; the caller's draws must not move
        network = build_network("generator", config).to(device).lay_out(memory_format(config.device))
    return load_weights(config, checkpoint, network, "generator", device, ema)


def _penalties(config: GanConfig) -> list[Penalty]:
    terms = {"weight", "every", "own_step"}
    return [
        Penalty(
            partial(PENALTIES[section.name], **section.model_dump(exclude={"name", *terms})),
            **section.model_dump(include=terms),
        )
        for section in config.penalties
    ]


def _mixup(config: GanConfig, discriminator: Staged) -> DiscriminatorMixup | None:
    if config.mixup is None:
        return None
    with naming("mixup.stages"):
        stages = resolve_stages(config.mixup.stages, discriminator.boundaries)
    return settings_from(config.mixup, DiscriminatorMixup, stages=stages, block_size=None)


class Pictures:
    """What a person looks at: grids of the same noise, of real images, and of mixes as D sees them at its input."""

    def __init__(self, config: GanConfig, data: ImageData, trainer: GanTrainer):
        self._trainer = trainer
        self._draw = torch.Generator().manual_seed(config.run.seed)
        self._noise = torch.randn(GRID, config.generator.z, generator=self._draw)
        self._reals = to_float(data.images[torch.randperm(data.num_images, generator=self._draw)[:GRID]])

    def show(self, step: int, recorder: Recorder) -> None:
        """Write the grids of a step; that of real images before the first one."""
        if step == 0:
            recorder.grid(0, "reals", self._reals, "reals.png")
        fakes = generate(self._trainer.shown_generator, self._noise).cpu()
        recorder.grid(step, "fakes", fakes)
        mixup = self._trainer.mixup
        if mixup is not None and self._trainer.last_plan is not None:
            num = len(self._reals)
            plan = mixup.plan(num, self._draw)
            recorder.grid(step, "mixes", plan.mixes(torch.cat([self._reals, fakes[:num]])))


def _summary(config: GanConfig, data: ImageData, trainer: GanTrainer) -> dict[str, str]:
    size_g, size_d = (sum(p.numel() for p in net.parameters()) for net in (trainer.generator, trainer.discriminator))
    parts = {
        "data": data.in_words(),
        "networks": f"G {config.generator.name} {size_g:,} parameters, D {config.discriminator.name} {size_d:,}",
        "loss": ", ".join([config.loss.name, *(f"{penalty.name} x {penalty.weight}" for penalty in config.penalties)]),
    }
    if trainer.mixup is not None:
        names = ", ".join(trainer.discriminator.boundaries[k] for k in trainer.mixup.stages)
        mixup = trainer.mixup
        parts["mixup"] = f"{'+'.join(mixup.pairs)} at {names}, alpha {mixup.alpha}, {mixup.weights} weights"
    return parts


def _input_mixup(trainer: GanTrainer, example: Tensor) -> Iterator[str]:
    for k in trainer.mixup.stages if trainer.mixup is not None else ():
        if k > 0 and is_affine(trainer.discriminator, k, example):
            name = trainer.discriminator.boundaries[k]
            yield f"mixing at '{name}' is input mixup, exactly: it is an affine image of the input"


def _surprises(config: GanConfig) -> Iterator[str]:
    mixup = config.mixup
    if mixup is not None and mixup.labels == "soft" and mixup.clamp:
        of_whom = "footnote 3 of the paper has the clamp, Zhang et al. (2017) have none (mixup.clamp=false)"
        yield f"mixup.clamp keeps lambda at most 1/2, so no mix is labelled more than half real; {of_whom}"
    if config.penalties and config.discriminator.spectral_norm:
        one = "penalties=[] or discriminator.spectral_norm=false leaves one"
        yield f"the penalty and discriminator.spectral_norm both regularise D; {one}"
