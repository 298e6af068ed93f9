"""The network with drawable hidden states of the paper's Figures 5 and 8."""

from typing import Unpack

from torch import nn

from ganmix.networks.classifier.base import Classifier, Shared


class BottleneckMLP(Classifier):
    """Two hidden layers, a linear bottleneck of two units, two hidden layers; LeakyReLU 0.01.

    The paper mixes at, and draws, the boundary 'bottleneck'. The network follows the paper's text; the authors' code
    has a third hidden layer before the bottleneck, and batch norm after it.
    """

    name = "bottleneck_mlp"

    def __init__(
        self, channels: int, resolution: int, *, hidden: int = 1024, bottleneck: int = 2, **shared: Unpack[Shared]
    ):
        num_pixels = channels * resolution * resolution
        stages = {
            "hidden1": nn.Sequential(nn.Flatten(), *_hidden_layer(num_pixels, hidden)),
            "hidden2": nn.Sequential(*_hidden_layer(hidden, hidden)),
            "bottleneck": nn.Linear(hidden, bottleneck),
            "hidden3": nn.Sequential(*_hidden_layer(bottleneck, hidden)),
            "hidden4": nn.Sequential(*_hidden_layer(hidden, hidden)),
        }
        super().__init__(stages, hidden, channels, resolution, {"hidden": hidden, "bottleneck": bottleneck}, **shared)


def _hidden_layer(num_in: int, num_out: int) -> tuple[nn.Module, nn.Module]:
    return nn.Linear(num_in, num_out), nn.LeakyReLU(inplace=True)
