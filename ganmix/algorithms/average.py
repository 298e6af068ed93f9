"""The moving average of a network's weights: of a GAN's generator, and of a classifier."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

# Spectral norm's estimates of the first singular vectors, in torch's parametrization and in its older form.
SINGULAR_VECTORS = {"_u", "_v", "weight_u", "weight_v"}


class MovingAverage(AveragedModel):
    """The exponential moving average of parameters and buffers, beginning with those of the first update.

    The singular vectors of spectral norm are the network's own: an average of unit vectors is shorter than they are, so
    that weights divided by the norm it estimates would come out too large.

    Args:
        network: copied.
        decay: what each update leaves of the average, in (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take in the weights that `model`, the network that was copied, has now."""
        super().update_parameters(model)
        for (name, average), current in zip(self.module.named_buffers(), model.buffers(), strict=True):
            if name.rpartition(".")[2] in SINGULAR_VECTORS:
                average.copy_(current)
