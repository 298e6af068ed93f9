import math

import pytest
import torch
import torchattacks
from score_values import values_of
from sklearn.datasets import load_digits
from torch import nn

from ganmix.data import ImageData, to_float
from ganmix.evaluation.classifier import accuracy
from ganmix.evaluation.classifier.attacks import attack_scores, fgsm, pgd, unbounded_scores

CPU = torch.device("cpu")
EPSILON = 8 / 255


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bytes_of(num, channels=3, side=6):
    return torch.randint(256, (num, channels, side, side), dtype=torch.uint8, generator=seeded())


class PixelSpace(nn.Module):
    """The same classifier for images in [0, 1], as torchattacks wants them."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        return self.network(2 * pixels - 1)


@pytest.fixture(scope="module")
def convnet():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.Softplus(), nn.Flatten(), nn.Linear(32, 5)
    return nn.Sequential(*layers).double().eval()


@pytest.fixture(scope="module")
def batch():
    return to_float(bytes_of(20)).double(), torch.randint(5, (20,), generator=seeded(1))


@pytest.fixture(scope="module")
def digits():
    """A trained classifier of digits and the images it has not seen."""
    images, labels = load_digits(return_X_y=True)
    pixels = torch.from_numpy(images / 16 * 255).round().to(torch.uint8).view(-1, 1, 8, 8)
    data = ImageData(pixels, torch.from_numpy(labels).long(), "digits", "test")
    train, test = data.subset(torch.arange(1200)), data.subset(torch.arange(1200, 1797))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(to_float(train.images)), train.labels).backward()
        optimiser.step()
    optimiser.zero_grad()
    return network.eval(), test


def two_classes(weight):
    """A linear classifier whose second logit is the sum of weight [C, H, W] times the image, the first 0."""

    def predict(images):
        margin = (images * weight).sum((1, 2, 3))
        return torch.stack([torch.zeros_like(margin), margin], dim=1)

    return predict


def test_fgsm_is_that_of_torchattacks(convnet, batch):
    images, labels = batch
    expected = torchattacks.FGSM(PixelSpace(convnet), eps=EPSILON)((images + 1) / 2, labels)
    torch.testing.assert_close(fgsm(convnet, images, labels, epsilon=EPSILON), 2 * expected - 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 7])
def test_pgd_is_that_of_torchattacks(convnet, batch, steps):
    images, labels = batch
    attack = torchattacks.PGD(PixelSpace(convnet), eps=EPSILON, alpha=3 / 255, steps=steps, random_start=False)
    expected = 2 * attack((images + 1) / 2, labels) - 1
    found = pgd(convnet, images, labels, epsilon=EPSILON, step=3 / 255, steps=steps)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_pgd_from_a_random_start_is_that_of_torchattacks(convnet, batch):
    images, labels = batch
    attack = torchattacks.PGD(PixelSpace(convnet), eps=EPSILON, alpha=2 / 255, steps=5, random_start=True)
    torch.manual_seed(3)
    expected = 2 * attack((images + 1) / 2, labels) - 1
    found = pgd(convnet, images, labels, epsilon=EPSILON, step=2 / 255, steps=5, generator=seeded(3))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_fgsm_on_a_linear_classifier_moves_every_pixel_by_epsilon_along_the_weights():
    weight = torch.randn(3, 4, 4, generator=seeded())
    images = 0.5 * to_float(bytes_of(6, side=4))
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    away = torch.where(labels.bool(), -1, 1).view(-1, 1, 1, 1) * weight.sign()
    expected = images + 2 * 0.1 * away
    torch.testing.assert_close(fgsm(two_classes(weight), images, labels, epsilon=0.1), expected)


def test_epsilon_and_step_may_differ_by_channel():
    weight = torch.randn(3, 4, 4, generator=seeded())
    images, labels = to_float(bytes_of(6, side=4)), torch.zeros(6, dtype=torch.int64)
    epsilon = torch.tensor([0.1, 0.2, 0.4])
    moved = fgsm(two_classes(weight), images, labels, epsilon=epsilon, clamp=False) - images
    torch.testing.assert_close(moved, 2 * (epsilon.view(3, 1, 1) * weight.sign()).expand(6, -1, -1, -1))
    options = {"epsilon": epsilon, "step": epsilon / 4, "clamp": False}
    for steps, share in ((3, 0.75), (9, 1.0)):
        found = pgd(two_classes(weight), images, labels, steps=steps, **options) - images
        torch.testing.assert_close(found, share * moved)


def test_unclamped_attack_leaves_the_range_and_a_clamped_one_does_not(convnet, batch):
    images, labels = batch
    assert fgsm(convnet, images, labels, epsilon=0.3, clamp=False).abs().max() > 1.3
    clamped = fgsm(convnet, images, labels, epsilon=0.3)
    assert clamped.min() == -1
    assert clamped.max() == 1


@pytest.mark.parametrize("generator", [None, seeded(7)])
def test_pgd_stays_in_the_ball_and_reaches_its_surface(convnet, batch, generator):
    images, labels = batch
    found = pgd(convnet, images, labels, epsilon=0.05, step=0.02, steps=6, generator=generator)
    assert (found - images).abs().max().item() == pytest.approx(0.1, abs=1e-12)
    assert found.abs().max() <= 1
    free = pgd(convnet, images, labels, epsilon=0.05, step=0.02, steps=6, generator=generator, clamp=False)
    assert (free - images).abs().max().item() == pytest.approx(0.1, abs=1e-12)


def test_random_start_is_uniform_in_the_ball(batch):
    images, labels = torch.zeros(500, 3, 6, 6), torch.zeros(500, dtype=torch.int64)
    start = pgd(two_classes(torch.ones(3, 6, 6)), images, labels, epsilon=0.1, step=0.02, steps=0, generator=seeded())
    levels = torch.linspace(0, 1, 11)
    torch.testing.assert_close(start.flatten().quantile(levels), 0.4 * levels - 0.2, rtol=0, atol=0.005)


def test_pgd_of_one_whole_step_is_fgsm(convnet, batch):
    images, labels = batch
    single = pgd(convnet, images, labels, epsilon=EPSILON, step=EPSILON, steps=1)
    assert torch.equal(single, fgsm(convnet, images, labels, epsilon=EPSILON))


def test_steps_without_a_ball_add_up(batch):
    weight = torch.randn(3, 6, 6, generator=seeded())
    images, labels = 0.1 * to_float(bytes_of(20)), torch.zeros(20, dtype=torch.int64)
    predict = two_classes(weight)
    found = pgd(predict, images, labels, epsilon=math.inf, step=0.01, steps=20)
    torch.testing.assert_close(found, images + 0.4 * weight.sign())
    far = pgd(predict, images, labels, epsilon=math.inf, step=0.01, steps=120)
    torch.testing.assert_close(far, weight.sign().expand_as(far))
    free = pgd(predict, images, labels, epsilon=math.inf, step=0.01, steps=120, clamp=False)
    torch.testing.assert_close(free, images + 2.4 * weight.sign())


def test_random_start_without_a_ball_is_refused(convnet, batch):
    with pytest.raises(ValueError, match="finite epsilon"):
        pgd(convnet, *batch, epsilon=math.inf, step=0.01, steps=1, generator=seeded())


def test_attacks_leave_parameters_images_and_random_state_alone(convnet, batch):
    images, labels = batch
    before, state = images.clone(), torch.get_rng_state()
    with torch.no_grad():
        found = pgd(convnet, images, labels, epsilon=0.1, step=0.05, steps=2, generator=seeded())
    assert all(p.grad is None and p.requires_grad for p in convnet.parameters())
    assert torch.equal(images, before)
    assert not images.requires_grad
    assert not found.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    assert not pgd(convnet, images.clone().requires_grad_(), labels, epsilon=0.1, step=0.1, steps=1).requires_grad


def test_an_image_is_attacked_alike_in_any_batch(convnet, batch):
    images, labels = batch
    whole = pgd(convnet, images, labels, epsilon=0.1, step=0.03, steps=4)
    alone = [pgd(convnet, images[n : n + 1], labels[n : n + 1], epsilon=0.1, step=0.03, steps=4) for n in range(20)]
    torch.testing.assert_close(torch.cat(alone), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("std", [None, torch.tensor([0.2, 0.3, 2.0])])
def test_scores_on_a_linear_classifier_are_the_shares_of_large_margins(std):
    """A margin falls by twice epsilon times the weights' absolute sum: per channel, in units of std where given."""
    weight = torch.randn(3, 4, 4, generator=seeded(2))
    pixels = bytes_of(1300, side=4) // 2 + 64  # far enough from black and white that no step is clamped
    margin = (to_float(pixels) * weight).sum((1, 2, 3))
    noisy = margin + torch.randn(1300, generator=seeded(3))
    data = ImageData(pixels, (noisy > 0).long(), "made", "test")
    signed = torch.where(data.labels.bool(), margin, -margin)
    for epsilon in (0.01, 0.03):
        unit = torch.ones(3) if std is None else std
        fall = (2 * epsilon * unit.view(3, 1, 1) * weight.abs()).sum()
        expected = 100 * (signed > fall).float().mean().item()
        options = {"epsilon": epsilon, "pgd_step": epsilon / 2, "pgd_steps": 6, "seed": 0, "std": std}
        found = values_of(attack_scores(two_classes(weight), data, CPU, **options))
        assert found == pytest.approx({"FGSM": expected, "PGD": expected})
        assert 5 < expected < 95


def test_attacks_in_units_of_std_are_not_clamped():
    """White images that must grow brighter to be lost."""
    data = ImageData(
        torch.full((4, 1, 2, 2), 255, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), "made", "test"
    )

    def predict(images):
        return torch.stack([torch.full((len(images),), 4.1), images.sum((1, 2, 3))], dim=1)

    options = {"epsilon": 0.1, "pgd_step": 0.05, "pgd_steps": 4, "seed": 0}
    assert values_of(attack_scores(predict, data, CPU, **options)) == {"FGSM": 100, "PGD": 100}
    assert values_of(attack_scores(predict, data, CPU, std=torch.ones(1), **options)) == {"FGSM": 0, "PGD": 0}


def test_pgd_is_the_stronger_attack_and_both_hurt_a_trained_classifier(digits):
    network, data = digits
    clean = values_of(accuracy.clean_scores(network, data, CPU))["accuracy"]
    found = values_of(attack_scores(network, data, CPU, epsilon=0.1, pgd_step=0.02, pgd_steps=10, seed=0))
    assert clean > 85
    assert 5 < found["PGD"] <= found["FGSM"] < clean - 10
    assert all(p.grad is None for p in network.parameters())


def test_attack_without_a_ball_leaves_a_trained_classifier_nothing(digits):
    network, data = digits
    assert values_of(unbounded_scores(network, data, CPU, step=0.01, steps=200)) == pytest.approx(
        {"unbounded PGD": 0}, abs=0.5
    )
    few = values_of(unbounded_scores(network, data, CPU, step=0.01, steps=2))
    assert 0 < few["unbounded PGD"] < 100


def test_unbounded_attack_leaves_images_images():
    data = ImageData(bytes_of(30, 1, 2), torch.zeros(30, dtype=torch.int64), "made", "test")
    seen = []

    def predict(images):
        seen.append(images.detach())
        return torch.stack([torch.zeros(len(images)), images.sum((1, 2, 3)) - 3.9], dim=1)

    assert values_of(unbounded_scores(predict, data, CPU, step=0.1, steps=30)) == {"unbounded PGD": 0}
    assert len(seen) == 31
    assert torch.stack(seen).abs().max() == 1


def test_scores_depend_on_the_seed_and_not_on_the_batch(digits, monkeypatch):
    network, data = digits
    options = {"epsilon": 0.1, "pgd_step": 0.1, "pgd_steps": 1}
    expected = values_of(attack_scores(network, data, CPU, seed=0, **options))
    monkeypatch.setattr(accuracy, "BATCH", 37)
    assert values_of(attack_scores(network, data, CPU, seed=0, **options)) == expected
    others = [values_of(attack_scores(network, data, CPU, seed=seed, **options))["PGD"] for seed in range(1, 5)]
    assert set(others) != {expected["PGD"]}
