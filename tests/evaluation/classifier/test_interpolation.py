import pytest
import torch
import torch.nn.functional as F
from score_values import values_of
from torch import nn

from ganmix.data import ImageData, to_float
from ganmix.evaluation.classifier import interpolation
from ganmix.evaluation.classifier.accuracy import clean_scores
from ganmix.evaluation.classifier.interpolation import interpolation_nll, interpolation_scores
from ganmix.networks import Staged

CPU = torch.device("cpu")


class Scale(nn.Module):
    def forward(self, images):
        return 1.5 * images + 0.25


class Network(Staged):
    """Three stages, one with batch norm and one with dropout, that see prepared images."""

    def __init__(self):
        convolution = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        hidden = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Dropout())
        super().__init__({"conv": convolution, "hidden": hidden, "linear": nn.Linear(8, 3)})
        self.prepare = Scale()

    def predict(self, images):
        return self(self.prepare(images))


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = Network()
    network(torch.randn(64, 1, 4, 4))  # statistics of batch norm that are not 0 and 1
    for p in network.parameters():
        p.data *= 2
    return network.eval()


def random_data(num=40):
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(256, (num, 1, 4, 4), dtype=torch.uint8, generator=draw)
    return ImageData(images, torch.randint(3, (num,), generator=draw), "made", "test")


def permutation(num, seed):
    return torch.randperm(num, generator=torch.Generator().manual_seed(seed))


def by_loops(network, data, k, lambdas, seed):
    """Figure 1 in its own words, in float64 and pair by pair."""
    network = network.double()
    images, stages = to_float(data.images).double(), list(network.stages.values())
    curve = []
    for lam in lambdas:
        total = 0.0
        for i, j in enumerate(permutation(data.num_images, seed).tolist()):
            first, second = (network.prepare(images[n : n + 1]) for n in (i, j))
            for stage in stages[:k]:
                first, second = stage(first), stage(second)
            logits = lam * first + (1 - lam) * second
            for stage in stages[k:]:
                logits = stage(logits)
            losses = [F.cross_entropy(logits, data.labels[n : n + 1]).item() for n in (i, j)]
            total += lam * losses[0] + (1 - lam) * losses[1]
        curve.append(total / data.num_images)
    network.float()
    return curve


def test_curves_are_those_of_a_plain_loop(network):
    data = random_data()
    found = interpolation_nll(network, data, CPU, num_lambdas=6, seed=3)
    assert list(found) == ["input", "conv", "hidden"]
    with torch.no_grad():
        for k, curve in enumerate(found.values()):
            expected = by_loops(network, data, k, [0, 0.2, 0.4, 0.6, 0.8, 1], seed=3)
            assert curve == pytest.approx(expected, rel=1e-4)
            assert max(curve) > 1.03 * min(curve)


def test_both_ends_are_the_clean_loss_at_every_boundary(network):
    data = random_data()
    clean = values_of(clean_scores(network.predict, data, CPU))["nll"]
    for curve in interpolation_nll(network, data, CPU, num_lambdas=51, seed=0).values():
        assert len(curve) == 51
        assert [curve[0], curve[-1]] == pytest.approx([clean, clean], rel=1e-5)


def test_swapped_pairs_have_the_curve_backwards(network):
    """A permutation that is its own inverse pairs both ways, so that its curve is its own reverse."""
    data = random_data(6)
    own_inverse = next(
        seed
        for seed in range(1000)
        if torch.equal(permutation(6, seed)[permutation(6, seed)], torch.arange(6))
        and (permutation(6, seed) != torch.arange(6)).all()
    )
    for curve in interpolation_nll(network, data, CPU, num_lambdas=11, seed=own_inverse).values():
        assert curve == pytest.approx(curve[::-1], rel=1e-5)


def test_images_are_paired_with_a_permutation_of_all(network):
    data = random_data()
    found = interpolation_nll(network, data, CPU, num_lambdas=3, seed=7)["conv"]
    h = network.hidden(network.prepare(to_float(data.images)), 1)
    partners = permutation(40, 7)
    logits = network.stages["hidden"]((h + h[partners]) / 2)
    losses = [
        F.cross_entropy(network.stages["linear"](logits), labels) for labels in (data.labels, data.labels[partners])
    ]
    assert found[1] == pytest.approx(sum(losses).item() / 2, rel=1e-5)


def test_curves_depend_on_the_seed_and_not_on_the_batch(network, monkeypatch):
    data = random_data()
    expected = interpolation_nll(network, data, CPU, num_lambdas=5, seed=0)
    other = interpolation_nll(network, data, CPU, num_lambdas=5, seed=1)
    for batch in (1, 33):
        monkeypatch.setattr(interpolation, "BATCH", batch)
        found = interpolation_nll(network, data, CPU, num_lambdas=5, seed=0)
        for name, curve in found.items():
            assert curve == pytest.approx(expected[name], rel=1e-5)
            assert curve != pytest.approx(other[name], rel=1e-3)


def test_images_pass_the_lower_stages_once_for_all_lambdas_and_mixes_the_rest_in_batches(network):
    below, above = [], []
    for stage, rows in (("conv", below), ("linear", above)):
        network.stages[stage].register_forward_hook(lambda _, __, output, rows=rows: rows.append(len(output)))
    interpolation_nll(network, random_data(), CPU, num_lambdas=20, seed=0)
    # Where the input is mixed all 800 mixes pass 'conv', for the two boundaries above it the 80 parents alone.
    assert sum(below) == 800 + 2 * 80
    assert above == [500] * 3 + [300] * 3


def test_network_keeps_its_modes_and_gets_no_gradients(network):
    data = random_data()
    expected = interpolation_nll(network, data, CPU, num_lambdas=3, seed=0)
    network.train()
    network.stages["conv"].eval()
    modes = [module.training for module in network.modules()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert interpolation_nll(network, data, CPU, num_lambdas=3, seed=0) == expected
    assert [module.training for module in network.modules()] == modes
    assert all(p.grad is None for p in network.parameters())


def test_scores_are_means_over_lambda():
    curves = {"input": [1.0, 2.0, 6.0], "layer1": [0.5, 0.5, 0.5]}
    assert values_of(interpolation_scores(curves)) == {"mixed nll input": 3.0, "mixed nll layer1": 0.5}
