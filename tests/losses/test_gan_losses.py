import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.losses import GAN_LOSSES

for_every_loss = pytest.mark.parametrize("name", [name for name, loss in GAN_LOSSES.items() if not loss.paired])
PARTS = ("real", "fake", "generator")
LOGITS = torch.tensor([-30.0, -2.5, -1.0, -0.4, 0.0, 0.3, 1.0, 1.7, 30.0], dtype=torch.float64)


def part_of(name: str, part: str):
    """What a loss makes of logits of one group: D's term for real or fake ones, or G's."""
    loss = GAN_LOSSES[name]
    if part == "generator":
        return lambda f: loss.generator({"fake": f})
    label = {"real": torch.ones, "fake": torch.zeros}[part]
    return lambda f: loss.discriminator({"group": f}, {"group": label(len(f), dtype=f.dtype)})["group"]


def soft(name: str, logits: Tensor, labels: Tensor) -> Tensor:
    return GAN_LOSSES[name].discriminator({"mixes": logits}, {"mixes": labels})["mixes"]


def cross_entropy(label: float):
    return lambda f: F.binary_cross_entropy_with_logits(f, torch.full_like(f, label), reduction="none")


# name -> part -> formula, written another way than in losses/gan.py
FORMULAS = {
    "non_saturating": {"real": cross_entropy(1), "fake": cross_entropy(0), "generator": cross_entropy(1)},
    "hinge": {
        "real": lambda f: torch.where(f < 1, 1 - f, 0 * f),
        "fake": lambda f: torch.where(f > -1, 1 + f, 0 * f),
        "generator": lambda f: 0 - f,
    },
    "wasserstein": {"real": lambda f: 0 - f, "fake": lambda f: f.clone(), "generator": lambda f: 0 - f},
}


def gradient(function, logits: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(function(logits).sum(), logits)[0]


@for_every_loss
@pytest.mark.parametrize("part", PARTS)
def test_losses_and_their_gradients_equal_their_formulas(name: str, part: str):
    ours, formula = part_of(name, part), FORMULAS[name][part]
    torch.testing.assert_close(ours(LOGITS), formula(LOGITS), rtol=1e-12, atol=1e-14)
    smooth = LOGITS[LOGITS.abs() != 1]  # the hinge has no derivative at its corners
    torch.testing.assert_close(gradient(ours, smooth), gradient(formula, smooth), rtol=1e-12, atol=1e-14)


@for_every_loss
def test_discriminator_wants_higher_logits_of_real_and_lower_of_fake_images(name: str):
    near_zero = torch.tensor([-0.5, 0.0, 0.5])
    assert (gradient(part_of(name, "real"), near_zero) < 0).all()
    assert (gradient(part_of(name, "fake"), near_zero) > 0).all()
    assert (gradient(part_of(name, "generator"), near_zero) < 0).all()


def test_non_saturating_stays_exact_at_huge_logits():
    logits = torch.tensor([-1e4, 1e4])
    for part, values, slopes in (
        ("real", [1e4, 0.0], [-1.0, 0.0]),
        ("fake", [0.0, 1e4], [0.0, 1.0]),
        ("generator", [1e4, 0.0], [-1.0, 0.0]),
    ):
        ours = part_of("non_saturating", part)
        torch.testing.assert_close(ours(logits), torch.tensor(values))
        torch.testing.assert_close(gradient(ours, logits), torch.tensor(slopes))


@for_every_loss
def test_soft_loss_lies_on_the_line_between_fake_and_real(name: str):
    at_fake, at_real = (soft(name, LOGITS, torch.full_like(LOGITS, label)) for label in (0, 1))
    torch.testing.assert_close(at_fake, FORMULAS[name]["fake"](LOGITS), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(at_real, FORMULAS[name]["real"](LOGITS), rtol=1e-12, atol=1e-14)
    for label in (0.1, 0.5, 0.8):
        got = soft(name, LOGITS, torch.tensor(label, dtype=torch.float64))
        torch.testing.assert_close(got, at_fake + label * (at_real - at_fake), rtol=1e-12, atol=1e-14)


@for_every_loss
def test_soft_loss_takes_a_label_for_each_logit(name: str):
    labels = torch.linspace(0, 1, len(LOGITS), dtype=torch.float64)
    one_by_one = torch.stack([soft(name, f, label) for f, label in zip(LOGITS, labels, strict=True)])
    torch.testing.assert_close(soft(name, LOGITS, labels), one_by_one, rtol=1e-12, atol=1e-14)


@for_every_loss
def test_terms_stand_under_the_names_of_their_groups(name: str):
    groups = {group: LOGITS + shift for shift, group in enumerate(("real", "fake", "FR"))}
    labels = {group: torch.full_like(LOGITS, label) for group, label in (("real", 1.0), ("fake", 0.0), ("FR", 0.3))}
    terms = GAN_LOSSES[name].discriminator(groups, labels)
    assert list(terms) == list(groups)
    for group, term in terms.items():
        torch.testing.assert_close(term, soft(name, groups[group], labels[group]), rtol=0, atol=0)


def test_soft_loss_of_non_saturating_is_cross_entropy_with_soft_targets():
    labels = torch.linspace(0, 1, len(LOGITS), dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(LOGITS, labels, reduction="none")
    torch.testing.assert_close(soft("non_saturating", LOGITS, labels), expected, rtol=1e-12, atol=1e-14)
