"""Finished and unfinished runs read back: their folders, configs and networks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.either import read_either_config
from ganmix.config.gan import GanConfig
from ganmix.engine.checkpoint import BEST, KEPT, LATEST, load_checkpoint
from ganmix.errors import UserError, first_line
from ganmix.networks.classifier.base import Classifier
from ganmix.tasks.classifier import build_network as build_classifier
from ganmix.tasks.classifier import empty_preparation
from ganmix.tasks.common import memory_format
from ganmix.tasks.gan import build_network
from ganmix.tasks.identity import Config, identity_of

CONFIG = "config.yaml"


@dataclass(frozen=True, eq=False)
class TrainedGenerator:
    """A generator out of a checkpoint, on a device, in evaluation mode and without gradients.

    Args:
        network: noise [N, z] -> images [N, C, R, R] in [-1, 1].
        noise_size: z.
        step: G steps it was trained for.
        ema: whether these are the weights' moving average.
        checkpoint: the file.
    """

    network: nn.Module
    noise_size: int
    step: int
    ema: bool
    checkpoint: Path


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A classifier out of a checkpoint, on a device, in evaluation mode and without gradients of its weights.

    Args:
        step: steps it was trained for.
        ema: whether these are the weights' moving average.
    """

    network: Classifier
    step: int
    ema: bool


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Return the run folders that are, or lie anywhere below, the paths given; each once, in order of their names.

    Below a run there may be others: `--seeds` trains into seed-N below the folder of a single training.

    Raises:
        UserError: there is none at or below one of them.
    """
    found: dict[Path, None] = {}
    problems = []
    for path in paths:
        here = sorted(file.parent for file in path.rglob(CONFIG))
        if not here:
            problems.append(f"{path}: there is no run here, no folder with a {CONFIG}")
        found |= dict.fromkeys(here)
    if problems:
        raise UserError(problems)
    return list(found)


def read_run_config(run: Path) -> GanConfig:
    """Read the config that a GAN's run was trained by.

    Raises:
        UserError: there is no run, or it is not a GAN's.
    """
    config = read_either_run_config(run)
    if isinstance(config, ClassifierConfig):
        raise UserError(f"{run}: a classifier's run, not a GAN's")
    return config


def read_either_run_config(run: Path) -> GanConfig | ClassifierConfig:
    """Read the config that a run was trained by.

    Raises:
        UserError: there is no run, or its config cannot be read.
    """
    if not (run / CONFIG).is_file():
        raise UserError(f"{run}: there is no run here, no {CONFIG}")
    return read_either_config(run / CONFIG)


def checkpoint_path(run: Path, name: str) -> Path:
    """Return the file that "best", "latest" or a path means for a run.

    Raises:
        UserError: it is not there.
    """
    known = {"best": BEST, "latest": LATEST}
    path = run / "checkpoints" / known[name] if name in known else Path(name)
    if not path.is_file():
        there = ", ".join(file.name for file in sorted((run / "checkpoints").glob("*.pt"))) or "none yet"
        raise UserError(f"there is no checkpoint {path} (this run has: {there})")
    return path


def kept_checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints that the run keeps for good, in the order of their steps."""
    return sorted((run / "checkpoints").glob(KEPT), key=lambda path: int(path.stem.removeprefix("step_")))


def load_generator(
    config: GanConfig, checkpoint: Path, *, device: torch.device, ema: bool | None = None
) -> TrainedGenerator:
    """Rebuild a run's generator from one of its checkpoints.

    Args:
        config: the run's.
        checkpoint: the file.
        device: where the generator shall be.
        ema: the moving average of the weights, or the weights themselves; None: the average where there is one.

    Raises:
        UserError: not a checkpoint of this config, or it has no moving average.
    """
    state = _algorithm_state(config, checkpoint, device)
    ema = "ema" in state if ema is None else ema
    if ema and "ema" not in state:
        raise UserError(f"{checkpoint} has no moving average: training.ema was not set")
    with torch.random.fork_rng():  # its random initial weights are overwritten; the caller's draws must not move
        network = build_network("generator", config).to(device).lay_out(memory_format(config.device))
    _fill(network, state, "generator", checkpoint, ema=ema)
    return TrainedGenerator(network, config.generator.z, state["steps_done"], ema, checkpoint)


def load_trained_classifier(config: ClassifierConfig, checkpoint: Path, *, device: torch.device) -> TrainedClassifier:
    """Rebuild a run's classifier, the moving average where there is one, from one of its checkpoints.

    Raises:
        UserError: not a checkpoint of this config.
    """
    state = _algorithm_state(config, checkpoint, device)
    with torch.random.fork_rng():  # its random initial weights are overwritten; the caller's draws must not move
        network = build_classifier(config, empty_preparation(config)).to(device).lay_out(memory_format(config.device))
    ema = config.training.ema is not None
    _fill(network, state, "network", checkpoint, ema=ema)
    return TrainedClassifier(network, state["steps_done"], ema)


def _algorithm_state(config: Config, checkpoint: Path, device: torch.device) -> dict[str, Any]:
    """Return what a checkpoint of a config says of its algorithm."""
    content = load_checkpoint(checkpoint, device)
    identity_of(config).check(checkpoint, content)
    state: dict[str, Any] = content.get("algorithm", {})
    return state


def _fill(network: nn.Module, state: Mapping[str, Any], name: str, checkpoint: Path, *, ema: bool) -> None:
    """Give a network the weights called `name`, or their moving average, and freeze it in evaluation mode."""
    holder = AveragedModel(network, use_buffers=True) if ema else network
    try:
        holder.load_state_dict(state["ema" if ema else name])
    except (KeyError, RuntimeError) as error:  # of another version, whose network was another
        raise UserError(f"{checkpoint} is not a checkpoint of this run's {name} ({first_line(error)})") from error
    if isinstance(holder, AveragedModel):
        network.load_state_dict(holder.module.state_dict())
    network.eval().requires_grad_(False)
