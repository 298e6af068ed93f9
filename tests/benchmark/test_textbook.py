import inspect

import pytest
import torch
from torch import Tensor

from ganmix.benchmark.textbook import PLAIN, TextbookTrainer, unfolded
from ganmix.losses import GAN_LOSSES
from ganmix.networks import DISCRIMINATORS, GENERATORS, Staged
from ganmix.training.gan import GanTrainer, MixupSettings

TINY = {"z": 5, "width": 4, "stem": 3, "spectral_norm": False}
TABLES = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}
NETWORKS = [(role, name) for role, table in TABLES.items() for name in table]
PAIRS = sorted(GENERATORS.keys() & DISCRIMINATORS.keys())
NUM = 6


def build(role: str, name: str, **changes) -> Staged:
    function = TABLES[role][name]
    parameters = list(inspect.signature(function).parameters.values())[2:]
    keys = {**TINY, **changes}
    torch.manual_seed(0)
    return function(16, 1, **{p.name: keys[p.name] for p in parameters if p.default is p.empty})


def batch(role: str) -> Tensor:
    shape = (5,) if role == "generator" else (1, 16, 16)
    return torch.randn(NUM, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("role", "name"), NETWORKS)
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_unfolded_network_computes_the_same_function(role: str, name: str, spectral_norm: bool):
    network, x = build(role, name, spectral_norm=spectral_norm).double(), batch(role).double()
    plain = unfolded(network)
    replaced = [type(m) for m in plain.modules() if "forward" in vars(m)]
    assert len(replaced) == sum(isinstance(m, tuple(PLAIN)) for m in network.modules())
    for training in (True, False):
        torch.testing.assert_close(plain.train(training)(x), network.train(training)(x), rtol=1e-9, atol=1e-12)


def test_networks_hold_every_kind_that_is_unfolded():
    kinds = {type(m) for network in NETWORKS for m in build(*network).modules()}
    assert kinds >= PLAIN.keys()


def test_unfolded_network_is_a_copy():
    network = build("discriminator", "sngan")
    images = batch("discriminator")
    before = network(images)
    plain = unfolded(network)
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

    def make(name: str, loss: str, mixup: MixupSettings | None) -> tuple[GanTrainer, TextbookTrainer, Tensor]:
        networks = build("generator", name), build("discriminator", name)
        textbook = TextbookTrainer(*networks, GAN_LOSSES[loss], lr=1e-3, betas=(0.0, 0.9))
        ours = GanTrainer(
            *networks,
            None,
            noise_size=5,
            loss=GAN_LOSSES[loss],
            mixup=mixup,
            total_steps=1,
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
    mixup = MixupSettings(stages=(stage,), alpha=1.0, pairs=pairs) if pairs else None
    ours, textbook, noise = make_trainers(name, loss, mixup)
    real = batch("discriminator")
    record = ours.discriminator_step(real)
    got = textbook.discriminator_step(real, noise, ours.last_plan)
    terms = [value for key, value in record.items() if key.startswith("loss_D/")]
    assert len(terms) == 2 + len(pairs)
    torch.testing.assert_close(sum(terms), got.float(), rtol=1e-6, atol=1e-6)
    expected = gradients(textbook.discriminator)
    assert expected.keys() == dict(ours.discriminator.named_parameters()).keys()
    torch.testing.assert_close(gradients(ours.discriminator), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("loss", GAN_LOSSES)
def test_generator_step_equals_ours(make_trainers, name: str, loss: str):
    ours, textbook, noise = make_trainers(name, loss, None)
    record = ours.generator_step(batch("discriminator"))
    torch.testing.assert_close(record["loss_G"], textbook.generator_step(noise).float(), rtol=1e-6, atol=1e-6)
    expected = gradients(textbook.generator)
    assert expected.keys() == dict(ours.generator.named_parameters()).keys()
    torch.testing.assert_close(gradients(ours.generator), expected, rtol=1e-5, atol=1e-7)
