"""A trained network's weights, out of a run's checkpoint."""

from pathlib import Path

import torch
from torch.optim.swa_utils import AveragedModel

from ganmix.config.either import Config
from ganmix.engine.checkpoint import load_checkpoint
from ganmix.engine.identity import identity_of
from ganmix.engine.task import Trained
from ganmix.errors import UserError, first_line
from ganmix.networks import Staged


def load_weights(
    config: Config, checkpoint: Path, network: Staged, part: str | None, device: torch.device, ema: bool | None
) -> Trained:
    """Give a network the weights of a checkpoint, and freeze it in evaluation mode.

    Args:
        config: the run's.
        checkpoint: the file.
        network: of the config, on `device`; its weights are replaced.
        part: of the algorithm's state, that has the network: 'generator'; None: it is all of it.
        ema: the moving average of the weights, or the weights themselves; None: the average where there is one.

    Raises:
        UserError: not a checkpoint of this config, or it has no moving average.
    """
    content = load_checkpoint(checkpoint, device)
    identity_of(config).check(checkpoint, content)
    state = content.get("algorithm", {})
    state = state if part is None else state.get(part, {})
    ema = "ema" in state if ema is None else ema
    if ema and "ema" not in state:
        raise UserError(f"{checkpoint} has no moving average: training.ema was not set")
    holder = AveragedModel(network, use_buffers=True) if ema else network
    try:
        holder.load_state_dict(state["ema" if ema else "network"])
        step: int = state["steps_done"]
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{checkpoint} is not a checkpoint of this run's {part or 'network'} ({first_line(error)})"
        ) from error
    if isinstance(holder, AveragedModel):
        network.load_state_dict(holder.module.state_dict())
    return Trained(network.eval().requires_grad_(False), step, ema, checkpoint)
