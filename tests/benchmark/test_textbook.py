import inspect
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ganmix.algorithms.classifier_pass import ClassifierPass
from ganmix.algorithms.gan import GanSettings, GanTrainer
from ganmix.algorithms.optimise import Descent
from ganmix.algorithms.supervised import SupervisedTrainer
from ganmix.benchmark.textbook import PLAIN, TextbookClassifierTrainer, TextbookGanTrainer, mix, numpy_draw, plain_copy
from ganmix.benchmark.timing import gflop
from ganmix.losses import CLASSIFICATION_LOSSES, GAN_LOSSES
from ganmix.mixup import ClassifierMixup, DiscriminatorMixup, MixPlan
from ganmix.networks import Staged
from ganmix.networks.classifier import CLASSIFIERS, Classifier
from ganmix.networks.gan import DISCRIMINATORS, GENERATORS

TINY = {"z": 5, "width": 4, "stem": 3, "flat_bypass": True, "spectral_norm": False}
TABLES = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}
NETWORKS = [(role, name) for role, table in TABLES.items() for name in table]
PAIRS = sorted(GENERATORS.keys() & DISCRIMINATORS.keys())
CLASSIFIER_SIZES = {
    "conv": ("conv", {"width": 4, "downsample": "stride"}),
    "conv_max_pool": ("conv", {"width": 4, "downsample": "max_pool"}),
    "preact_resnet18": ("preact_resnet", {"depth": 18, "width": 8}),
    "preact_resnet152": ("preact_resnet", {"depth": 152, "width": 8}),
    "wide_resnet": ("wide_resnet", {"depth": 10, "width": 1}),
    "bottleneck_mlp": ("bottleneck_mlp", {"hidden": 16, "bottleneck": 3}),
}
NUM = 6


def build(role: str, name: str, **changes) -> Staged:
    function = TABLES[role][name]
    parameters = list(inspect.signature(function).parameters.values())[2:]
    keys = {**TINY, **changes}
    torch.manual_seed(0)
    return function(1, 16, **{p.name: keys[p.name] for p in parameters if p.default is p.empty})


def build_classifier(name: str) -> Classifier:
    torch.manual_seed(0)
    table_name, keys = CLASSIFIER_SIZES[name]
    return CLASSIFIERS[table_name](1, 8, num_classes=4, **keys)


def batch(role: str, resolution: int = 16) -> Tensor:
    shape = (5,) if role == "generator" else (1, resolution, resolution)
    return torch.randn(NUM, *shape, generator=torch.Generator().manual_seed(1))


def assert_plain_copy_computes_the_same(network: Staged, x: Tensor):
    network, x = network.double(), x.double()
    plain = plain_copy(network)
    replaced = [type(m) for m in plain.modules() if "forward" in vars(m)]
    assert len(replaced) == sum(isinstance(m, tuple(PLAIN)) for m in network.modules())
    for training in (True, False):
        torch.testing.assert_close(plain.train(training)(x), network.train(training)(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("role", "name"), NETWORKS)
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_plain_copy_computes_the_same_function(role: str, name: str, spectral_norm: bool):
    assert_plain_copy_computes_the_same(build(role, name, spectral_norm=spectral_norm), batch(role))


@pytest.mark.parametrize("name", CLASSIFIER_SIZES)
def test_plain_copy_of_a_classifier_computes_the_same_function(name: str):
    network, images = build_classifier(name), batch("classifier", 8)
    assert_plain_copy_computes_the_same(network, images)
    network, images = network.eval().float(), images.float()
    with torch.no_grad():
        assert gflop(partial(plain_copy(network), images)) == gflop(partial(network, images)) > 0


def test_networks_hold_every_kind_that_is_replaced():
    networks = [build(*network) for network in NETWORKS] + [build_classifier(name) for name in CLASSIFIER_SIZES]
    assert {type(m) for network in networks for m in network.modules()} >= PLAIN.keys()


def test_sizes_are_of_every_classifier():
    assert {name for name, _ in CLASSIFIER_SIZES.values()} == CLASSIFIERS.keys()


class InPlaceActivations(TorchDispatchMode):
    """Counts them."""

    num = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.num += function in (torch.ops.aten.relu_.default, torch.ops.aten.leaky_relu_.default)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CLASSIFIER_SIZES)
def test_plain_copy_of_a_classifier_activates_nothing_in_place(name: str):
    network = build_classifier(name)
    counts = []
    for counted in (network, plain_copy(network)):
        with torch.no_grad(), InPlaceActivations() as mode:
            counted(batch("classifier", 8))
        counts.append(mode.num)
    assert counts[0] > 0
    assert counts[1] == 0


def test_plain_copy_is_a_copy():
    network = build("discriminator", "sngan")
    images = batch("discriminator")
    before = network(images)
    plain = plain_copy(network)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(1)
    assert torch.equal(network(images), before)
    assert not any("forward" in vars(m) for m in network.modules())


def gradients(network: Staged) -> dict[str, Tensor]:
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.fixture
def make_trainers():
    """Our trainer and the textbook's, of equal networks and equal noise, in float64 up to the logits."""
    torch.set_default_dtype(torch.float64)

    def make(name: str, loss: str, mixup: DiscriminatorMixup | None) -> tuple[GanTrainer, TextbookGanTrainer, Tensor]:
        networks = build("generator", name), build("discriminator", name)
        textbook = TextbookGanTrainer(*networks, GAN_LOSSES[loss], lr=1e-3, betas=(0.0, 0.9))
        ours = GanTrainer(
            *networks,
            None,
            GanSettings(noise_size=5, loss=GAN_LOSSES[loss], mixup=mixup, total_steps=1),
            noise_generator=torch.Generator().manual_seed(3),
            plan_generator=torch.Generator().manual_seed(4),
        )
        return ours, textbook, torch.randn(NUM, 5, generator=torch.Generator().manual_seed(3))

    yield make
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("loss", GAN_LOSSES)
@pytest.mark.parametrize("stage", [0, 2])
@pytest.mark.parametrize("pairs", [(), ("FR",), ("FR", "FF")], ids="+".join)
def test_discriminator_step_equals_ours(make_trainers, name: str, loss: str, stage: int, pairs: tuple[str, ...]):
    mixup = DiscriminatorMixup(stages=(stage,), alpha=1.0, pairs=pairs, weights="paper") if pairs else None
    ours, textbook, noise = make_trainers(name, loss, mixup)
    real = batch("discriminator")
    step = ours.discriminator_step(real)
    got = textbook.discriminator_step(real, noise, step.plan)
    terms = step.terms.values()
    assert len(terms) == 2 + len(pairs)
    torch.testing.assert_close(sum(terms), got.float(), rtol=1e-6, atol=1e-6)
    expected = gradients(textbook.discriminator)
    assert expected.keys() == dict(ours.discriminator.named_parameters()).keys()
    torch.testing.assert_close(gradients(ours.discriminator), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("loss", GAN_LOSSES)
def test_generator_step_equals_ours(make_trainers, name: str, loss: str):
    ours, textbook, noise = make_trainers(name, loss, None)
    loss, _ = ours.generator_step(batch("discriminator"))
    torch.testing.assert_close(loss, textbook.generator_step(noise).float(), rtol=1e-6, atol=1e-6)
    expected = gradients(textbook.generator)
    assert expected.keys() == dict(ours.generator.named_parameters()).keys()
    torch.testing.assert_close(gradients(ours.generator), expected, rtol=1e-5, atol=1e-7)


class OneBatch:
    """Batches that are all the same."""

    def __init__(self, images: Tensor, labels: Tensor):
        self.batch = images, labels

    def next(self) -> tuple[Tensor, Tensor]:
        return self.batch


SGD = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}


@pytest.mark.usefixtures("make_trainers")  # float64 by default
# Not 152 layers: they amplify the rounding of our logits to float32.
@pytest.mark.parametrize("name", sorted(CLASSIFIER_SIZES.keys() - {"preact_resnet152"}))
@pytest.mark.parametrize("place", [None, 0, 1, -1])
def test_classifier_step_equals_ours_with_the_same_draw(name: str, place: int | None):
    network = build_classifier(name)
    stage = None if place is None else range(len(network.boundaries))[place]
    textbook = TextbookClassifierTrainer(network.lay_out(torch.channels_last), **SGD)
    images, labels = batch("classifier", 8), torch.tensor([0, 3, 1, 2, 3, 0])
    descent = Descent(network, torch.optim.SGD(network.parameters(), **SGD), lambda step: SGD["lr"])
    generator = torch.Generator().manual_seed(0)
    ours = SupervisedTrainer(
        ClassifierPass(
            network, noise=0.0, generator=generator, loss_function=CLASSIFICATION_LOSSES["binary_cross_entropy"]
        ),
        OneBatch(images, labels),
        descent,
        mixup=None if stage is None else ClassifierMixup(stages=(stage,), alpha=2.0),
        generator=generator,
        plan_generator=torch.Generator().manual_seed(4),
    )
    assert all(p.is_contiguous() for p in textbook.network.parameters())
    for _ in range(2):  # the second has a momentum
        loss = ours.step()["loss"]
        plan = ours.last_plan
        draw = None if plan is None else lambda num, plan=plan: (plan.stage, plan.lam.item(), plan.b.numpy())
        torch.testing.assert_close(textbook.step(images, labels, draw).float(), loss, rtol=1e-5, atol=1e-7)
        expected = gradients(textbook.network)
        assert expected.keys() == dict(network.named_parameters()).keys()
        torch.testing.assert_close(gradients(network), expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(network.state_dict(), textbook.network.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 3), (6, 2, 4, 4)])
def test_textbook_mix_equals_a_plans(shape: tuple[int, ...]):
    h, partner = torch.randn(shape, generator=torch.Generator().manual_seed(0)), np.array([2, 0, 1, 5, 4, 3])
    plan = MixPlan(0, torch.arange(6), torch.from_numpy(partner), torch.tensor(0.3))
    torch.testing.assert_close(mix(h, torch.tensor([0.3]), partner), plan.mixes(h), rtol=1e-6, atol=1e-6)


def test_textbook_draws_stages_alike_lambdas_of_beta_and_permutations():
    draw = numpy_draw([0, 2], 2.0, np.random.default_rng(0))
    stages, lams, partners = zip(*(draw(5) for _ in range(4000)), strict=True)
    assert set(stages) == {0, 2}
    assert np.mean(np.equal(stages, 2)) == pytest.approx(0.5, abs=0.04)  # 5 standard errors
    assert np.mean(lams) == pytest.approx(0.5, abs=0.018)
    assert np.var(lams) == pytest.approx(1 / 20, abs=0.005)  # of Beta(2, 2)
    assert all(sorted(partner) == [0, 1, 2, 3, 4] for partner in partners)
    assert np.mean(np.equal(partners, np.arange(5))) == pytest.approx(1 / 5, abs=0.02)


def test_plain_copy_drops_the_same_units():
    torch.manual_seed(0)
    network = CLASSIFIERS["wide_resnet"](1, 8, num_classes=4, depth=10, width=1, dropout=0.3)
    plain, outputs = plain_copy(network), []
    for each in (network, plain):
        torch.manual_seed(1)
        outputs.append(each(batch("discriminator", 8)))
    torch.testing.assert_close(*outputs)
