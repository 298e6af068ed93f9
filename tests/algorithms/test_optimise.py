import copy
import io
import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ganmix.algorithms.optimise import Descent, l1_norm, learning_rate
from ganmix.networks.gan.layers import spectrally_normalise

TOTAL = 10
EXACT = {"rtol": 1e-12, "atol": 1e-14}


def make_network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double()


def batch(step: int) -> Tensor:
    return torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(step))


def loss_of(network: nn.Module, step: int) -> Tensor:
    return network(batch(step)).square().mean()


def build(network: nn.Module | None = None, **settings) -> Descent:
    network = network or make_network()
    schedule = {name: settings.pop(name) for name in ("decay", "drops") if name in settings}
    of_descent = {name: settings.pop(name) for name in ("l1", "l1_of", "ema") if name in settings}
    sgd = torch.optim.SGD(network.parameters(), 0.3, **{"momentum": 0.9, "nesterov": True, **settings})
    rate = partial(learning_rate, 0.3, total_steps=TOTAL, **{"decay": "constant", **schedule})
    return Descent(network, sgd, rate, **of_descent)


def descend(descent: Descent, num_steps: int) -> None:
    for _ in range(num_steps):
        descent.step(loss_of(descent.network, descent.steps_done))


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.8, False), (0.8, True)])
@pytest.mark.parametrize("decay", ["constant", "linear"])
def test_steps_are_those_of_sgd_by_hand(decay: str, momentum: float, nesterov: bool, weight_decay: float):
    descent = build(decay=decay, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    network = copy.deepcopy(descent.network)
    parameters = list(network.parameters())
    velocities = [torch.zeros_like(w) for w in parameters]
    for step in range(4):
        lr = 0.3 * (1 - step / TOTAL) if decay == "linear" else 0.3
        gradients = torch.autograd.grad(loss_of(network, step), parameters)
        with torch.no_grad():
            for w, v, gradient in zip(parameters, velocities, gradients, strict=True):
                g = gradient + weight_decay * w
                v.mul_(momentum).add_(g)
                w.sub_(lr * (g + momentum * v if nesterov else v))
    descend(descent, 4)
    assert descent.steps_done == 4
    torch.testing.assert_close(state(descent.network), state(network), **EXACT)


def test_constant_rate_stays():
    assert [learning_rate(0.1, step, 100, decay="constant") for step in (0, 50, 100)] == [0.1] * 3


def test_linear_rate_falls_in_a_line_to_zero():
    rates = [learning_rate(0.8, step, 100, decay="linear") for step in (0, 25, 50, 99, 100)]
    assert rates == pytest.approx([0.8, 0.6, 0.4, 0.008, 0.0], rel=1e-12, abs=1e-15)


def test_cosine_rate_falls_along_half_a_period_to_zero():
    rates = [learning_rate(0.8, step, 90, decay="cosine") for step in (0, 30, 45, 60, 90)]
    assert rates == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0], rel=1e-12, abs=1e-15)


def test_multistep_rate_falls_to_a_tenth_at_each_drop_and_not_before():
    rates = [learning_rate(0.1, step, 100, decay="multistep", drops=[40, 80]) for step in (0, 39, 40, 79, 80, 100)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rel=1e-12)


def test_unknown_decay_is_refused():
    with pytest.raises(ValueError, match=r"^decay must be constant, linear, cosine or multistep, got 'step'$"):
        learning_rate(0.1, 0, 10, decay="step")


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine", "multistep"])
def test_each_step_is_taken_at_the_rate_that_is_shown_before_it(decay: str):
    network = nn.Linear(1, 1, bias=False).double()
    settings = {"decay": decay, "drops": [2], "momentum": 0.0, "nesterov": False}
    descent = build(network, **settings)
    for step in range(4):
        lr, before = descent.current_lr, network.weight.item()
        assert lr == learning_rate(0.3, step, TOTAL, decay=decay, drops=[2])
        descent.step(network.weight.sum())  # of gradient 1
        assert before - network.weight.item() == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize(("l1_of", "names"), [("all", ["0.weight", "3.weight"]), ("first", ["0.weight"])])
def test_l1_moves_the_weights_it_names_towards_zero_and_nothing_else(l1_of: str, names: list[str]):
    lr, l1, plain = 0.3, 0.01, {"momentum": 0.0, "nesterov": False}
    with_l1, without = build(l1=l1, l1_of=l1_of, **plain), build(**plain)
    before = state(with_l1.network)
    for descent in (with_l1, without):
        descend(descent, 1)
    after, expected = state(with_l1.network), state(without.network)
    for name in names:
        expected[name] -= lr * l1 * before[name].sign()
    torch.testing.assert_close(after, expected, **EXACT)


def test_l1_norm_is_the_sum_of_absolute_values():
    assert l1_norm([torch.tensor([[1.0, -2.0]]), torch.tensor([[-3.5], [0.0]])]).item() == 6.5


def test_step_aside_has_the_last_rate_and_moves_neither_schedule_nor_average():
    network = nn.Linear(1, 1, bias=False).double()
    descent = build(network, decay="linear", momentum=0.0, nesterov=False, ema=0.5)
    descent.step(network.weight.sum())  # of gradient 1
    average, before = descent.shown_network.weight.item(), network.weight.item()
    descent.step_aside(network.weight.sum())
    assert before - network.weight.item() == pytest.approx(0.3, rel=1e-12)
    assert descent.shown_network.weight.item() == average == before
    assert descent.steps_done == 1
    assert descent.current_lr == pytest.approx(0.3 * 0.9)


def test_gradient_norm_is_that_of_all_gradients_of_the_last_step():
    descent = build()
    descent.network[0].requires_grad_(False)
    descend(descent, 2)
    squares = [p.grad.square().sum() for p in descent.network.parameters() if p.requires_grad]
    torch.testing.assert_close(descent.gradient_norm(), torch.stack(squares).sum().sqrt(), **EXACT)


def test_moving_average_follows_its_closed_form_with_the_running_statistics():
    beta = 0.7
    descent = build(ema=beta)
    history = []
    for _ in range(4):
        descend(descent, 1)
        history.append(state(descent.network))
    assert descent.shown_network is not descent.network
    average = state(descent.shown_network)
    for name in average:
        if average[name].is_floating_point():
            # The first step's, then a share of 1 - beta for each that follows.
            expected = beta**3 * history[0][name]
            expected = expected + (1 - beta) * sum(beta ** (3 - i) * history[i][name] for i in (1, 2, 3))
            torch.testing.assert_close(average[name], expected, **EXACT)
            assert not torch.equal(average[name], history[-1][name])


def test_shown_network_has_the_singular_vectors_of_the_trained_one():
    network = make_network()
    spectrally_normalise(network)
    descent = build(network, ema=0.9)
    descend(descent, 3)
    shown = dict(descent.shown_network.named_buffers())
    vectors = {name: b for name, b in network.named_buffers() if name.endswith(("_u", "_v"))}
    assert len(vectors) == 4
    assert all(torch.equal(shown[name], vector) for name, vector in vectors.items())


def test_without_an_average_the_network_itself_is_shown():
    descent = build()
    assert descent.shown_network is descent.network


@pytest.mark.parametrize("ema", [None, 0.9])
def test_resumed_descent_goes_on_to_the_bit(ema: float | None):
    settings = {"decay": "cosine", "weight_decay": 0.1, "l1": 0.01, "ema": ema}
    descent = build(**settings)
    descend(descent, 3)
    file = io.BytesIO()
    torch.save(descent.state_dict(), file)
    file.seek(0)
    resumed = build(make_network(seed=9), **settings)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.current_lr == descent.current_lr == pytest.approx(0.3 * (1 + math.cos(0.3 * math.pi)) / 2)
    for each in (descent, resumed):
        descend(each, 3)
    assert resumed.steps_done == 6
    for name in ("network", "shown_network"):
        expected, got = (state(getattr(each, name)) for each in (descent, resumed))
        assert all(torch.equal(expected[key], got[key]) for key in expected)
