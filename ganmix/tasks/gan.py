"""A GAN config made into a running training: built, resumed, watched, scored."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ganmix.algorithms.gan import GanTrainer, MixupSettings, PenaltySettings
from ganmix.config.gan import GanConfig
from ganmix.data import ImageData, to_float
from ganmix.engine.checkpoint import BEST, save_checkpoint
from ganmix.engine.identity import Identity
from ganmix.engine.loop import Action, resume, train
from ganmix.engine.old_run_folder import RunFolder, append_line, read_lines
from ganmix.engine.recorder import Recorder
from ganmix.errors import UserError
from ganmix.evaluation.gan.sampling import generate
from ganmix.losses import GAN_LOSSES, PENALTIES
from ganmix.networks import Staged, is_affine, resolve_stages
from ganmix.networks.gan import DISCRIMINATORS, GENERATORS
from ganmix.tasks.common import (
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
from ganmix.tasks.gan_scores import Scorer, score_lines
from ganmix.tasks.identity import check_same_run, check_steps, identity_of, more_steps
from ganmix.tasks.tensorboard import show_config, show_result

GRID = 64  # images in a sample grid


def run_gan(config: GanConfig, config_path: Path) -> None:
    """Train what the config says, from where its run stands; print where the results are.

    Raises:
        UserError, DivergedError, Stopped: see errors.py and loop.py.
    """
    device = prepare_device(config.device)
    all_data = read_data(config.data, "train")
    data = training_images(all_data, config.data, config.run.seed)
    trainer = build_trainer(config, data, device)
    scorer = Scorer(config, config.evaluation, device, train_data=all_data) if config.evaluation else None
    identity = identity_of(config, {"images": data.images})
    with RunFolder(run_path(config.run.dir, config_path)) as folder:
        check_same_run(folder, config)
        recorder_state = resume(folder, trainer, identity, checkpoint_every=config.logging.checkpoint_every)
        steps = config.training.steps
        check_steps(folder, trainer.steps_done, steps)
        if trainer.steps_done >= steps and _is_scored(folder, scorer, trainer.steps_done):
            say(f"{folder.path} is finished ({trainer.steps_done} steps){more_steps(config)}")
            return
        write_config(folder, config)
        record_session(folder, device, trainer.steps_done, steps)
        introduce(data, _parts(config, trainer), config.device, device, folder, trainer.steps_done)
        _note_input_mixup(trainer, to_float(data.images[:1]))
        _note_surprises(config)
        images_per_step = config.training.n_dis * config.training.batch_size
        recorder = Recorder(folder, trainer.steps_done, steps, images_per_step, recorder_state)
        watch = Watch(config, data, trainer, recorder)
        actions = [Action(watch.show_samples, config.logging.images_every, at_start=True)]
        if scorer is not None:
            score = partial(_score, scorer, trainer, folder, identity, recorder)
            actions.append(Action(score, scorer.settings.every, scorer.settings.at_start, slow=True))
        try:
            show_config(recorder.writer, config)
            watch.show_setting()
            train(
                trainer,
                recorder,
                folder,
                identity,
                total_steps=steps,
                scalars_every=config.logging.scalars_every,
                checkpoint_every=config.logging.checkpoint_every,
                keep_every=config.logging.keep_every,
                actions=actions,
                extra_scalars=watch.extra_scalars,
            )
            scored = scorer.earlier(read_lines(folder.scores)) if scorer is not None else []  # evaluate adds others
            scored.sort(key=lambda line: line["step"])
            show_result(recorder.writer, config, scored[-1]["scores"] if scored else {})
        finally:
            recorder.close()
        say(f"samples      {folder.samples}/fakes_{steps:06d}.png")
        say(f"TensorBoard  tensorboard --logdir {folder.path}")
        if scorer is not None:
            say(f"scores       {folder.scores}")
            for line in score_lines(scorer.earlier(read_lines(folder.scores))):
                say(f"             {line}")


def build_trainer(config: GanConfig, data: ImageData, device: torch.device) -> GanTrainer:
    """Build networks, losses, batches and random streams of a config, before any step."""
    training = config.training
    init_seed, order_seed, noise_seed, plan_seed = child_seeds(config.run.seed, 4)
    with torch.random.fork_rng():
        torch.manual_seed(init_seed)
        networks = [build_network("generator", config), build_network("discriminator", config)]
    generator, discriminator = (network.to(device).lay_out(memory_format(config.device)) for network in networks)
    noise_generator = torch.Generator(device).manual_seed(noise_seed)
    batches = build_batches(
        data, None, config.data, batch_size=training.batch_size, seed=order_seed, generator=noise_generator
    )
    return GanTrainer(
        generator,
        discriminator,
        batches,
        noise_size=config.generator.z,
        loss=GAN_LOSSES[config.loss.name],
        penalty=_penalty(config),
        mixup=_mixup(config, discriminator),
        n_dis=training.n_dis,
        lr=training.lr,
        betas=training.betas,
        decay=training.decay,
        total_steps=training.steps,
        ema=training.ema,
        noise_generator=noise_generator,
        plan_generator=torch.Generator().manual_seed(plan_seed),
        bf16=config.device.bf16,
        compile=config.device.compile,
    )


def build_network(role: str, config: GanConfig) -> Staged:
    """Build the config's "generator" or "discriminator" with fresh weights, on the CPU."""
    section = getattr(config, role)
    table = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}[role]
    keys = section.model_dump(exclude={"name"})
    channels, resolution = image_shape(config.data)
    try:
        return table[section.name](resolution, channels, **keys)
    except ValueError as error:
        raise UserError(f"{role}: {error}; data.resolution sets another") from None


def _penalty(config: GanConfig) -> PenaltySettings | None:
    section = config.penalty
    if section is None:
        return None
    options = section.model_dump(exclude={"name", "weight", "own_step"})
    return PenaltySettings(partial(PENALTIES[section.name], **options), section.weight, section.own_step)


def _mixup(config: GanConfig, discriminator: Staged) -> MixupSettings | None:
    if config.mixup is None:
        return None
    try:
        stages = resolve_stages(config.mixup.stages, discriminator.boundaries)
    except ValueError as error:
        raise UserError(f"mixup.stages: {error}") from None
    return MixupSettings(**config.mixup.model_dump(exclude={"stages"}), stages=tuple(stages))


def _score(
    scorer: Scorer, trainer: GanTrainer, folder: RunFolder, identity: Identity, recorder: Recorder, step: int
) -> None:
    earlier = scorer.earlier(read_lines(folder.scores))
    if any(line["step"] == step for line in earlier):
        return
    scores = scorer(trainer.shown_generator if scorer.ema else trainer.generator)
    recorder.scalars(step, {f"score/{name}": value for name, value in scores.items()})
    if scores[scorer.fid] < min((line["scores"][scorer.fid] for line in earlier), default=float("inf")):
        best = {"identity": identity.state_dict(), "algorithm": trainer.state_dict(), "scores": scores}
        save_checkpoint(folder.checkpoints / BEST, best)
    line = scorer.line(step, scores)
    append_line(folder.scores, line)
    recorder.say(score_lines([line])[0])
    recorder.restart_clock(step)


def _is_scored(folder: RunFolder, scorer: Scorer | None, step: int) -> bool:
    return scorer is None or any(line["step"] == step for line in scorer.earlier(read_lines(folder.scores)))


class Watch:
    """What a person looks at: grids of the same noise, of real images and of mixes, lambda."""

    def __init__(self, config: GanConfig, data: ImageData, trainer: GanTrainer, recorder: Recorder):
        self._trainer = trainer
        self._recorder = recorder
        draw = torch.Generator().manual_seed(config.run.seed)
        self._noise = torch.randn(GRID, config.generator.z, generator=draw)
        self._reals = to_float(data.images[torch.randperm(data.num_images, generator=draw)[:GRID]])
        self._draw = draw

    def show_setting(self) -> None:
        """Write a grid of real images, which do not change."""
        self._recorder.grid(0, "reals", self._reals, "reals.png")

    def show_samples(self, step: int) -> None:
        """Write a grid of generated images, and of mixes as the discriminator sees them at its input."""
        fakes = generate(self._trainer.shown_generator, self._noise).cpu()
        self._recorder.grid(step, "fakes", fakes)
        mixup = self._trainer.mixup
        if mixup is not None and self._trainer.last_plan is not None:
            num = len(self._reals)
            plan = mixup.plan(num, self._draw, torch.device("cpu"))
            self._recorder.grid(step, "mixes", plan.mixes(torch.cat([self._reals, fakes[:num]])))

    def extra_scalars(self) -> dict[str, float]:
        """Return the learning rate, and write the histograms of the last step's lambda and stage."""
        plan, step = self._trainer.last_plan, self._trainer.steps_done
        if plan is not None:
            self._recorder.writer.add_histogram("mix/lambda", plan.lam.float().cpu(), step)
        return {"learning_rate": self._trainer.current_lr}


def _parts(config: GanConfig, trainer: GanTrainer) -> dict[str, str]:
    size_g, size_d = (sum(p.numel() for p in net.parameters()) for net in (trainer.generator, trainer.discriminator))
    parts = {
        "networks": f"G {config.generator.name} {size_g:,} parameters, D {config.discriminator.name} {size_d:,}",
        "loss": config.loss.name + (f", {config.penalty.name} x {config.penalty.weight}" if config.penalty else ""),
    }
    if trainer.mixup is not None:
        names = ", ".join(trainer.discriminator.boundaries[k] for k in trainer.mixup.stages)
        mixup = trainer.mixup
        parts["mixup"] = f"{'+'.join(mixup.pairs)} at {names}, alpha {mixup.alpha}, {mixup.weights} weights"
    return parts


def _note_input_mixup(trainer: GanTrainer, example: Tensor) -> None:
    for k in trainer.mixup.stages if trainer.mixup is not None else ():
        if k > 0 and is_affine(trainer.discriminator, k, example):
            name = trainer.discriminator.boundaries[k]
            say(f"note: mixing at '{name}' is input mixup, exactly: it is an affine image of the input")


def _note_surprises(config: GanConfig) -> None:
    mixup = config.mixup
    if mixup is not None and mixup.labels == "soft" and mixup.clamp:
        of_whom = "footnote 3 of the paper has the clamp, Zhang et al. (2017) have none (mixup.clamp=false)"
        say(f"note: mixup.clamp keeps lambda at most 1/2, so no mix is labelled more than half real; {of_whom}")
    if config.penalty is not None and config.discriminator.spectral_norm:
        one = "penalty=null or discriminator.spectral_norm=false leaves one"
        say(f"note: the penalty and discriminator.spectral_norm both regularise D; {one}")
