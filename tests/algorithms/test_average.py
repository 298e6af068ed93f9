import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ganmix.algorithms.optimise import MovingAverage

BETA = 0.99


def make_network(spectral_norm=parametrizations.spectral_norm) -> nn.Module:
    torch.manual_seed(0)
    layers = [spectral_norm(nn.Linear(6, 8)), nn.BatchNorm1d(8), nn.Tanh(), spectral_norm(nn.Linear(8, 6))]
    return nn.Sequential(*layers).double()


def train(network: nn.Module, averages: list[AveragedModel], num_steps: int = 300, lr: float = 0.2) -> None:
    """Towards noise, so that the singular vectors turn."""
    draw = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(network.parameters(), lr)
    for _ in range(num_steps):
        x, y = torch.randn(2, 16, 6, dtype=torch.float64, generator=draw)
        loss = (network(x) - 3 * y).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for average in averages:
            average.update_parameters(network)


def largest_singular_values(network: nn.Module) -> list[float]:
    """Of the weights as the layers use them in eval mode."""
    network.eval()
    network(torch.zeros(2, 6, dtype=torch.float64))
    return [torch.linalg.matrix_norm(network[k].weight, 2).item() for k in (0, 3)]


@pytest.mark.parametrize(
    "spectral_norm", [parametrizations.spectral_norm, nn.utils.spectral_norm], ids=["parametrization", "old"]
)
def test_average_of_a_spectrally_normalised_network_is_normalised(spectral_norm):
    network = make_network(spectral_norm)
    ours = MovingAverage(network, BETA)
    plain = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(BETA), use_buffers=True)
    train(network, [ours, plain])
    assert largest_singular_values(ours.module) == pytest.approx([1, 1], abs=0.02)
    assert max(largest_singular_values(plain.module)) > 1.05  # with the average of the vectors


def floats(network: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in network.state_dict().items() if t.is_floating_point()}


def test_parameters_and_running_statistics_follow_the_closed_form():
    network = make_network()
    average = MovingAverage(network, BETA)
    history = []
    for _ in range(4):
        train(network, [average], num_steps=1)
        history.append(floats(network))
    for name, value in floats(average.module).items():
        if name.endswith(("_u", "_v")):
            expected = history[-1][name]
        else:
            expected = BETA**3 * history[0][name] + (1 - BETA) * sum(
                BETA ** (3 - k) * history[k][name] for k in (1, 2, 3)
            )
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14)


def test_its_state_is_that_of_torchs_average():
    network = make_network()
    average = MovingAverage(network, BETA)
    train(network, [average], num_steps=2)
    read = AveragedModel(make_network(), use_buffers=True)
    read.load_state_dict(average.state_dict())
    torch.testing.assert_close(read.module.state_dict(), average.module.state_dict(), rtol=0, atol=0)
