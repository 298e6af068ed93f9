import copy
import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from made_trainings import check_stream_of_another_device
from torch import Tensor, nn

from ganmix.algorithms.gan import GanSettings, GanTrainer, discriminate, labels_of, term_weights
from ganmix.evaluation.gan.sampling import generate
from ganmix.losses import GAN_LOSSES, PENALTIES, GanLoss, Penalty
from ganmix.mixup import PAIRS, DiscriminatorMixup, MixPlan, no_mixes
from ganmix.networks import Staged
from ganmix.networks.gan import DISCRIMINATORS, GENERATORS

Z = 5
NUM = 4  # images in a batch
PAIR_SETS = [(), *((pair,) for pair in PAIRS), tuple(PAIRS), tuple(reversed(PAIRS))]
PENALTY_OPTIONS = {"zero_centred_real": {"of": "logit"}}
LOSSES = {  # D's for real, D's for fake, G's: written another way than in losses/gan.py
    "non_saturating": (
        lambda f: (1 + (-f).exp()).log(),
        lambda f: (1 + f.exp()).log(),
        lambda f: (1 + (-f).exp()).log(),
    ),
    "hinge": (lambda f: (1 - f).clamp(min=0), lambda f: (1 + f).clamp(min=0), lambda f: -f),
    "wasserstein": (lambda f: -f, lambda f: f, lambda f: -f),
}
UNARY = [name for name, loss in GAN_LOSSES.items() if not loss.paired]


class MadeBatches:
    """Endless random images; counts how often it was asked."""

    def __init__(self, resolution: int = 16):
        self.generator = torch.Generator().manual_seed(7)
        self.resolution = resolution
        self.taken = 0

    def next(self) -> tuple[Tensor, None]:
        self.taken += 1
        return torch.rand(NUM, 1, self.resolution, self.resolution, generator=self.generator) * 2 - 1, None

    def state_dict(self) -> dict[str, Tensor]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.generator.set_state(state["generator"])


class WithBatchNorm(Staged):
    """Convolution, batch norm, LeakyReLU; then the logits."""

    def __init__(self):
        first = nn.Sequential(nn.Conv2d(1, 4, 3, 2, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2))
        super().__init__({"first": first, "head": nn.Sequential(nn.Conv2d(4, 1, 8), nn.Flatten(0))})


def small_generator(seed: int = 0, resolution: int = 16, spectral_norm: bool = False) -> Staged:
    torch.manual_seed(seed)
    return GENERATORS["conv"](1, resolution, z=Z, width=4, spectral_norm=spectral_norm)


def small_discriminator(seed: int = 1, resolution: int = 16, spectral_norm: bool = False) -> Staged:
    torch.manual_seed(seed)
    return DISCRIMINATORS["conv"](1, resolution, width=4, spectral_norm=spectral_norm)


def build(generator: Staged | None = None, discriminator: Staged | None = None, **options) -> GanTrainer:
    return GanTrainer(
        generator or small_generator(),
        discriminator or small_discriminator(),
        options.pop("batches", None) or MadeBatches(),
        GanSettings(**{"noise_size": Z, "loss": GAN_LOSSES["non_saturating"], "total_steps": 10, **options}),
        noise_generator=torch.Generator().manual_seed(2),
        plan_generator=torch.Generator().manual_seed(3),
    )


def discriminator_record(trainer: GanTrainer, real: Tensor) -> dict[str, Tensor]:
    return trainer.record_of(trainer.discriminator_step(real))


def penalty(name: str, own_step: bool, weight: float = 10.0, every: int = 1) -> Penalty:
    return Penalty(partial(PENALTIES[name], **PENALTY_OPTIONS.get(name, {})), weight, every, own_step)


def draw_plan(pairs: tuple[str, ...], seed: int = 0, stage: int = 1, **options) -> MixPlan:
    if not pairs:
        return no_mixes(NUM)
    return DiscriminatorMixup((stage,), 1.0, pairs, **options).plan(NUM, torch.Generator().manual_seed(seed))


def mean_terms(loss: GanLoss, logits: dict[str, Tensor], labels: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: term.mean() for name, term in loss.discriminator(logits, labels).items()}


def real_images() -> Tensor:
    return MadeBatches().next()[0]


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def gradients(network: nn.Module) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in network.named_parameters()}


def moved(network: nn.Module, before: dict[str, Tensor]) -> list[bool]:
    return [not torch.equal(p, before[name]) for name, p in network.named_parameters()]


def next_noise(trainer: GanTrainer) -> Tensor:
    """The noise that the trainer draws next."""
    source = torch.Generator()
    source.set_state(trainer.noise_generator.get_state())
    return torch.randn(NUM, Z, generator=source)


# --- the terms of D's loss


def mixed_logits(network: Staged, real: Tensor, fake: Tensor, plan: MixPlan, rows: slice) -> Tensor:
    """The logits of some of a plan's mixes, from passes of their own."""
    h = torch.cat([network.hidden(real, plan.stage), network.hidden(fake, plan.stage)])
    lam = plan.lam.to(h.dtype).expand(len(plan.a))[rows].reshape(-1, *[1] * (h.ndim - 1))
    x = lam * h[plan.a[rows]] + (1 - lam) * h[plan.b[rows]]
    for stage in list(network.stages.values())[plan.stage :]:
        x = stage(x)
    return x


@pytest.mark.parametrize("lam_per", ["sample", "batch"])
@pytest.mark.parametrize("labels", ["fake", "soft"])
@pytest.mark.parametrize("loss", UNARY)
@pytest.mark.parametrize("pairs", PAIR_SETS, ids="+".join)
def test_terms_from_one_pass_equal_terms_computed_apart(pairs: tuple[str, ...], loss: str, labels: str, lam_per: str):
    network = small_discriminator().double()
    real, fake = torch.randn(2, NUM, 1, 16, 16, dtype=torch.float64)
    l_real, l_fake, _ = LOSSES[loss]
    mixup = DiscriminatorMixup((0,), 1.0, pairs, labels=labels) if pairs else None
    for stage in range(len(network.boundaries)):
        plan = draw_plan(pairs, stage, stage, lam_per=lam_per, clamp=False)
        plan = replace(plan, lam=plan.lam.double())

        lam = plan.lam.expand(len(plan.a))
        is_real = lam * (plan.a < NUM) + (1 - lam) * (plan.b < NUM)
        expected_logits = {"real": network(real), "fake": network(fake)}
        expected = {"real": l_real(network(real)).mean(), "fake": l_fake(network(fake)).mean()}
        for i, pair in enumerate(pairs):
            f = mixed_logits(network, real, fake, plan, slice(i * NUM, (i + 1) * NUM))
            share_of_real = is_real[i * NUM :][:NUM] if labels == "soft" else 0
            expected_logits[pair] = f
            expected[pair] = (share_of_real * l_real(f) + (1 - share_of_real) * l_fake(f)).mean()

        logits = discriminate(network, real, fake, plan, apart=False)
        terms = mean_terms(GAN_LOSSES[loss], logits, labels_of(plan, mixup))
        assert list(terms) == list(expected)
        in_float32 = {"rtol": 1e-6, "atol": 1e-6, "check_dtype": False}  # as `discriminate` returns logits
        torch.testing.assert_close(logits, expected_logits, **in_float32)
        torch.testing.assert_close(terms, expected, **in_float32)
        in_float64 = {name: label.double() for name, label in labels_of(plan, mixup).items()}
        exact = mean_terms(GAN_LOSSES[loss], expected_logits, in_float64)
        torch.testing.assert_close(exact, expected, rtol=1e-9, atol=1e-12)

        parameters = list(network.parameters())
        got = torch.autograd.grad(sum(terms.values()), parameters, allow_unused=True)
        wanted = torch.autograd.grad(sum(expected.values()), parameters, allow_unused=True)
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-8)


def test_terms_weigh_one_by_the_paper_and_each_side_weighs_one_when_balanced():
    def weights_of(pairs: tuple[str, ...] = ("FR", "FF"), **options) -> dict[str, float]:
        return term_weights(DiscriminatorMixup((0,), 1.0, pairs, **options))

    assert weights_of(weights="paper") == dict.fromkeys(["real", "fake", "FR", "FF"], 1)
    assert weights_of() == pytest.approx({"real": 1, "fake": 1 / 3, "FR": 1 / 3, "FF": 1 / 3})
    assert weights_of(labels="soft") == {"real": 1, "fake": 0.5, "FR": 1, "FF": 0.5}
    assert weights_of(("FR",), labels="soft", generator_sees_mixes=True) == {"FR": 1}  # eq. 1
    assert term_weights(None) == {"real": 1, "fake": 1}


@pytest.mark.parametrize("weights", ["paper", "balanced"])
@pytest.mark.parametrize("pairs", PAIR_SETS[1:], ids="+".join)
def test_discriminator_descends_the_weighted_sum(pairs: tuple[str, ...], weights: str):
    network = small_discriminator().double()
    trainer = build(discriminator=copy.deepcopy(network), mixup=DiscriminatorMixup((0,), 1.0, pairs, weights=weights))
    real = real_images()
    with torch.no_grad():
        fake = trainer.generator(next_noise(trainer)).double()
    trainer.discriminator_step(real.double())
    plan = replace(trainer.last_plan, lam=trainer.last_plan.lam.double())
    loss = F.softplus(-network(real.double())).mean()
    share = 1.0 if weights == "paper" else 1 / (1 + len(pairs))
    loss = loss + share * F.softplus(network(fake)).mean()
    for i in range(len(pairs)):
        mixes = mixed_logits(network, real.double(), fake, plan, slice(i * NUM, (i + 1) * NUM))
        loss = loss + share * F.softplus(mixes).mean()
    loss.backward()
    torch.testing.assert_close(gradients(trainer.discriminator), gradients(network), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("weights", "shift"), [("paper", 2.0), ("balanced", 0.0)])
def test_balanced_wasserstein_is_blind_to_a_common_shift_of_the_logits(weights: str, shift: float):
    mixup = DiscriminatorMixup((0,), 1.0, ("FR", "FF"), weights=weights)
    common = torch.zeros((), requires_grad=True)
    logits = {name: torch.randn(NUM) + common for name in ("real", "fake", "FR", "FF")}
    terms = mean_terms(GAN_LOSSES["wasserstein"], logits, labels_of(draw_plan(("FR", "FF")), mixup))
    sum(w * terms[name] for name, w in term_weights(mixup).items()).backward()
    assert float(common.grad) == pytest.approx(shift, abs=1e-6)


@pytest.mark.parametrize("pairs", PAIR_SETS, ids="+".join)
def test_passes_apart_equal_one_pass_without_batch_norm(pairs: tuple[str, ...]):
    network = small_discriminator().double()
    real, fake = torch.randn(2, NUM, 1, 16, 16, dtype=torch.float64)
    plan = draw_plan(pairs)
    one, apart = (discriminate(network, real, fake, plan, apart=apart) for apart in (False, True))
    assert list(one) == list(apart) == ["real", "fake", *pairs]
    torch.testing.assert_close(one, apart)


def test_clean_logits_of_a_discriminator_with_batch_norm_do_not_see_the_mixes():
    records = []
    for mixup in (None, DiscriminatorMixup((0,), 1.0), DiscriminatorMixup((1,), 1.0)):
        torch.manual_seed(0)
        records.append(discriminator_record(build(discriminator=WithBatchNorm(), mixup=mixup), real_images()))
    for key in ("logit/real", "logit/fake", "loss_D/real", "loss_D/fake"):
        assert records[0][key] == records[1][key] == records[2][key]
    assert records[1]["logit/FR"] != records[2]["logit/FR"]


def test_real_images_of_a_discriminator_with_batch_norm_do_not_see_the_fakes():
    real = real_images()
    records = []
    for seed in (0, 5):
        torch.manual_seed(0)
        discriminator = WithBatchNorm()
        records.append(discriminator_record(build(small_generator(seed), discriminator), real))
    assert records[0]["logit/real"] == records[1]["logit/real"]
    assert records[0]["logit/fake"] != records[1]["logit/fake"]


class StandardDeviation(nn.Module):
    """The batch's standard deviation as one more channel, as StyleGAN has it (Karras et al. 2018)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.std(0).mean().expand(len(x), 1, *x.shape[2:])], 1)


def with_standard_deviation() -> Staged:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Conv2d(1, 4, 3, 2, padding=1), nn.LeakyReLU(0.2))
    head = nn.Sequential(StandardDeviation(), nn.Conv2d(5, 1, 8), nn.Flatten(0))
    return Staged({"first": first, "head": head})


def test_clean_logits_do_not_see_the_mixes_where_passes_apart_are_asked_for():
    records = [
        discriminator_record(build(discriminator=with_standard_deviation(), apart=apart, mixup=mixup), real_images())
        for apart in (True, None)
        for mixup in (None, DiscriminatorMixup((0,), 1.0), DiscriminatorMixup((1,), 1.0))
    ]
    for key in ("logit/real", "logit/fake"):
        assert records[0][key] == records[1][key] == records[2][key]
        assert records[3][key] != records[4][key]


def test_one_pass_can_be_asked_for_although_there_is_batch_norm():
    def logit(apart: bool | None) -> Tensor:
        torch.manual_seed(0)
        return discriminator_record(build(discriminator=WithBatchNorm(), apart=apart), real_images())["logit/real"]

    assert logit(None) == logit(True) != logit(False)


@pytest.mark.parametrize("apart", [False, True])
def test_discriminator_that_begins_in_place_leaves_the_callers_images_alone(apart: bool):
    network = Staged({"first": nn.LeakyReLU(0.2, inplace=True), "head": small_discriminator().double()})
    reference = Staged({"first": nn.LeakyReLU(0.2), "head": network.stages["head"]})
    real, fake = torch.randn(2, NUM, 1, 16, 16, dtype=torch.float64)
    before = real.clone(), fake.clone()
    for plan in (draw_plan(("FR", "FF")), no_mixes(NUM)):
        got = discriminate(network, real, fake, plan, apart=apart)
        assert torch.equal(real, before[0])
        assert torch.equal(fake, before[1])
        torch.testing.assert_close(got, discriminate(reference, real, fake, plan, apart=apart))


# --- the shape of the logits


def with_logits_of(network: Staged, shape: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *arguments: shape(network(*arguments))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("labels", ["fake", "soft"])
def test_logits_in_a_column_give_the_terms_of_logits_in_a_row(labels: str, apart: bool):
    network = small_discriminator()
    column = with_logits_of(network, lambda logits: logits[:, None])
    real, fake = torch.randn(2, NUM, 1, 16, 16)
    plan = draw_plan(("FR", "FF"))
    row, of_column = (discriminate(d, real, fake, plan, apart=apart) for d in (network, column))
    assert all(logits.shape == (NUM,) for logits in of_column.values())
    torch.testing.assert_close(of_column, row, rtol=0, atol=0)
    loss, called = GAN_LOSSES["non_saturating"], labels_of(plan, DiscriminatorMixup((1,), 1.0, labels=labels))
    expected = mean_terms(loss, row, called)
    torch.testing.assert_close(mean_terms(loss, of_column, called), expected, rtol=0, atol=0)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("shape", "come"),
    [
        (lambda logits: logits[:, None, None, None].expand(-1, 1, 2, 3), r", 1, 2, 3\]"),
        (lambda logits: logits[:, None].expand(-1, 2), r", 2\]"),
        (lambda logits: logits[1:], r"\]"),
        (lambda logits: logits.mean(), r"\[\]"),
    ],
    ids=["patches", "two", "too_few", "none"],
)
def test_logits_that_are_not_one_for_each_image_are_refused(shape: Callable[[Tensor], Tensor], come: str, apart: bool):
    images = torch.randn(2, NUM, 1, 16, 16)
    num = NUM if apart else 4 * NUM
    message = rf"^a discriminator must return one logit for each image, \[{num}\] or \[{num}, 1\], got \[?.*{come}; "
    with pytest.raises(ValueError, match=message):
        discriminate(with_logits_of(small_discriminator(), shape), *images, draw_plan(("FR", "FF")), apart=apart)


# --- the steps


@pytest.mark.parametrize("loss", UNARY)
def test_record_of_a_step_equals_its_closed_forms(loss: str):
    mixup = DiscriminatorMixup((2,), 1.0)
    trainer = build(loss=GAN_LOSSES[loss], mixup=mixup)
    list(trainer.discriminator.parameters())[-1].data.fill_(1.0)  # all logits positive: right for the real images alone
    real, fake = real_images(), copy.deepcopy(trainer.generator)(next_noise(trainer)).detach()
    network = copy.deepcopy(trainer.discriminator)
    record = discriminator_record(trainer, real)
    l_real, l_fake, l_generator = LOSSES[loss]
    f_real, f_fake = network(real), network(fake)
    assert (f_real > 0).all()
    assert (f_fake > 0).all()
    expected = {
        "loss_D/real": l_real(f_real).mean(),
        "loss_D/fake": l_fake(f_fake).mean(),
        "logit/real": f_real.mean(),
        "logit/fake": f_fake.mean(),
        "accuracy_D": torch.tensor(0.5),
        "mix/stage": torch.tensor(2.0),
        "gradient_norm/D": torch.stack([p.grad.square().sum() for p in trainer.discriminator.parameters()])
        .sum()
        .sqrt(),
    }
    torch.testing.assert_close({key: record[key] for key in expected}, expected)
    noise = next_noise(trainer)
    before = copy.deepcopy(trainer.generator)
    got, _ = trainer.generator_step(real)
    expected = l_generator(trainer.discriminator(before(noise))).mean()
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("name", [None, *PENALTIES])
@pytest.mark.parametrize("own_step", [False, True])
@pytest.mark.parametrize("pairs", PAIR_SETS, ids="+".join)
def test_discriminator_step_moves_the_discriminator_alone(name: str | None, own_step: bool, pairs: tuple[str, ...]):
    mixup = DiscriminatorMixup((0, 1, 2), 1.0, pairs) if pairs else None
    trainer = build(mixup=mixup, penalties=[penalty(name, own_step)] if name else [], ema=0.9)
    networks = [trainer.generator, trainer.shown_generator, trainer.discriminator]
    before = [weights(network) for network in networks]
    trainer.discriminator_step(real_images())
    assert not any(moved(networks[0], before[0]) + moved(networks[1], before[1]))
    assert all(moved(networks[2], before[2]))
    assert all(gradient is None for gradient in gradients(trainer.generator).values())


@pytest.mark.parametrize("generator_sees_mixes", [False, True])
def test_generator_step_moves_the_generator_and_its_average_alone(generator_sees_mixes: bool):
    mixup = DiscriminatorMixup((1,), 1.0, ("FR",), labels="soft", generator_sees_mixes=generator_sees_mixes)
    trainer = build(mixup=mixup, ema=0.9)
    networks = [trainer.generator, trainer.shown_generator, trainer.discriminator]
    before = [weights(network) for network in networks]
    trainer.generator_step(real_images())
    assert all(moved(networks[0], before[0]))
    assert all(moved(networks[1], before[1]))
    assert not any(moved(networks[2], before[2]))


@pytest.mark.parametrize("n_dis", [1, 2])
def test_frozen_parts_of_the_discriminator_stay_frozen(n_dis: int):
    trainer = build(n_dis=n_dis, mixup=DiscriminatorMixup((0, 1, 2), 1.0))
    backbone = trainer.discriminator.stages["down1"].requires_grad_(False)
    before, rest = weights(backbone), weights(trainer.discriminator)
    for _ in range(3):
        trainer.step()
    assert not any(moved(backbone, before))
    assert sum(moved(trainer.discriminator, rest)) == len(rest) - len(before)
    assert not any(p.requires_grad for p in backbone.parameters())


def test_discriminator_is_thawed_even_after_an_error():
    trainer = build()
    trainer._g = None
    with pytest.raises(TypeError):
        trainer.generator_step(real_images())
    assert all(p.requires_grad for p in trainer.discriminator.parameters())


def test_generator_step_leaves_no_gradient_on_the_discriminator_and_thaws_it():
    trainer = build()
    trainer.generator_step(real_images())
    assert all(gradient is None for gradient in gradients(trainer.discriminator).values())
    assert all(p.requires_grad for p in trainer.discriminator.parameters())
    assert all(gradient is not None for gradient in gradients(trainer.generator).values())


@pytest.mark.parametrize("n_dis", [1, 3])
def test_each_discriminator_step_has_a_fresh_batch(n_dis: int):
    trainer = build(n_dis=n_dis)
    seen = []
    original = trainer.discriminator_step
    trainer.discriminator_step = lambda real: seen.append(real) or original(real)
    for _ in range(2):
        trainer.step()
    fresh = MadeBatches()
    assert trainer.batches.taken == len(seen) == 2 * n_dis
    assert all(torch.equal(real, fresh.next()[0]) for real in seen)
    assert trainer.steps_done == 2


@pytest.mark.parametrize("n_dis", [1, 3])
def test_record_has_the_means_over_all_discriminator_steps(n_dis: int):
    mixup = DiscriminatorMixup((0, 1, 2), 1.0)
    trainer, alike = (build(n_dis=n_dis, mixup=mixup, penalties=[penalty("interpolate", False)]) for _ in range(2))
    batches = MadeBatches()
    records = [discriminator_record(alike, batches.next()[0]) for _ in range(n_dis)]
    record = trainer.step()
    assert record.keys() == records[0].keys() | {"loss_G", "gradient_norm/G"}
    for key in records[0]:
        expected = sum(each[key] for each in records) / n_dis
        torch.testing.assert_close(record[key], expected, rtol=1e-6, atol=1e-7)
    assert len({each["loss_D/real"].item() for each in records}) == n_dis


def test_all_that_a_discriminator_step_records_lies_on_its_device():
    networks = small_generator().to("meta"), small_discriminator().to("meta")
    trainer = build(*networks, mixup=DiscriminatorMixup((1,), 1.0))
    trainer.d_descent.optimizer = torch.optim.SGD(networks[1].parameters())  # the fused Adam knows no meta device
    record = discriminator_record(trainer, real_images().to("meta"))
    assert "mix/stage" in record
    assert all(value.device.type == "meta" for value in record.values())


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("own_step", [False, True])
def test_penalty_is_a_term_of_the_loss_or_a_second_step(name: str, own_step: bool):
    lr, betas = 1e-3, (0.5, 0.9)
    settings = penalty(name, own_step)
    trainer = build(penalties=[settings], lr=lr, betas=betas)
    network = copy.deepcopy(trainer.discriminator)
    optimizer = torch.optim.Adam(network.parameters(), lr, betas, fused=True)
    generator = torch.Generator().manual_seed(3)  # as the trainer's plan_generator
    real, fake = real_images(), copy.deepcopy(trainer.generator)(next_noise(trainer)).detach()

    def weighted() -> Tensor:
        return 10.0 * settings.function(network, real, fake, generator=generator)

    def descend(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    logits = network(torch.cat([real, fake]))
    terms = F.softplus(-logits[:NUM]).mean() + F.softplus(logits[NUM:]).mean()
    if own_step:
        descend(terms)
        after_first = weights(network)
        value = weighted()
        descend(value)
        assert all(moved(network, after_first)[:-1])  # all but the last bias, which no gradient of D depends on
    else:
        value = weighted()
        descend(terms + value)
    record = discriminator_record(trainer, real)
    torch.testing.assert_close(record["loss_D/penalty"], value.detach())
    torch.testing.assert_close(weights(trainer.discriminator), weights(network), rtol=0, atol=1e-2 * lr)


def test_several_penalties_are_terms_in_one_step_and_steps_of_their_own():
    lr = 1e-3
    settings = [penalty("interpolate", False, 2.0), penalty("zero_centred_real", False, 3.0)]
    settings += [penalty("zero_centred_real", True, 5.0), penalty("interpolate", True, 7.0)]
    trainer = build(penalties=settings, lr=lr)
    network, generator = copy.deepcopy(trainer.discriminator), torch.Generator().manual_seed(3)
    optimizer = torch.optim.Adam(network.parameters(), lr, (0.0, 0.9), fused=True)
    real, fake = real_images(), copy.deepcopy(trainer.generator)(next_noise(trainer)).detach()
    values = []

    def weighted(each: Penalty) -> Tensor:
        values.append(each.weight * each.function(network, real, fake, generator=generator))
        return values[-1]

    loss = F.softplus(-network(real)).mean() + F.softplus(network(fake)).mean()
    for losses in (loss + weighted(settings[0]) + weighted(settings[1]),), settings[2:3], settings[3:]:
        for each in losses:
            optimizer.zero_grad()
            (weighted(each) if isinstance(each, Penalty) else each).backward()
            optimizer.step()
    record = discriminator_record(trainer, real)
    torch.testing.assert_close(record["loss_D/penalty"], torch.stack(values).sum().detach())
    torch.testing.assert_close(weights(trainer.discriminator), weights(network), rtol=0, atol=1e-2 * lr)


@pytest.mark.parametrize("own_step", [False, True])
def test_lazy_penalty_is_computed_in_one_of_every_so_many_discriminator_steps_also_after_a_resume(own_step: bool):
    computed = []

    def function(discriminator: nn.Module, *images: Tensor, generator: torch.Generator) -> Tensor:
        computed.append(trainer.d_descent.steps_done - own_step)  # its own step comes when D's is counted
        return PENALTIES["zero_centred_real"](discriminator, *images, of="logit", generator=generator)

    options = {"penalties": [Penalty(function, 1.0, 3, own_step)], "n_dis": 2}
    trainer = build(**options)
    for _ in range(4):
        state, trainer = trainer.state_dict(), build(**options)
        trainer.load_state_dict(state)
        trainer.step()
    assert computed == [0, 3, 6]


def test_record_has_a_lazy_penalty_in_each_step_and_its_mean_is_that_of_one_that_is_not():
    lazy = build(penalties=[Penalty(lambda *_, generator: next(lazy.discriminator.parameters()).sum() * 0 + 2, 1.5, 4)])
    records = [discriminator_record(lazy, real_images()) for _ in range(8)]
    assert {tuple(record) for record in records} == {tuple(records[0])}
    values = [record["loss_D/penalty"].item() for record in records]
    assert values == [12, 0, 0, 0] * 2
    assert sum(values) / 8 == 1.5 * 2


def relativistic() -> GanLoss:
    """Of pairs of logits, a real image's against that of a fake or a mix (Jolicoeur-Martineau 2018)."""
    return GanLoss(
        lambda logits, labels: {name: F.softplus(f - logits["real"]) for name, f in logits.items() if name != "real"},
        lambda logits: F.softplus(logits["real"] - logits["fake"]),
        paired=True,
    )


@pytest.mark.parametrize("pairs", PAIR_SETS, ids="+".join)
def test_paired_loss_has_the_logits_of_both_kinds_in_both_steps(pairs: tuple[str, ...]):
    mixup = DiscriminatorMixup((1,), 1.0, pairs, weights="paper") if pairs else None
    trainer = build(loss=relativistic(), mixup=mixup)
    real, fake = real_images(), copy.deepcopy(trainer.generator)(next_noise(trainer)).detach()
    network = copy.deepcopy(trainer.discriminator)
    step = trainer.discriminator_step(real)
    logits = {"fake": network(fake)} | {
        pair: mixed_logits(network, real, fake, step.plan, slice(i * NUM, (i + 1) * NUM))
        for i, pair in enumerate(pairs)
    }
    loss = sum(F.softplus(f - network(real)).mean() for f in logits.values())
    assert list(step.terms) == list(logits)
    torch.testing.assert_close(sum(step.terms.values()), loss)
    loss.backward()
    torch.testing.assert_close(gradients(trainer.discriminator), gradients(network), rtol=1e-4, atol=1e-6)

    noise, before = next_noise(trainer), copy.deepcopy(trainer.generator)
    got, _ = trainer.generator_step(real)
    expected = F.softplus(trainer.discriminator(real) - trainer.discriminator(before(noise))).mean()
    torch.testing.assert_close(got, expected.detach())
    expected.backward()
    torch.testing.assert_close(gradients(trainer.generator), gradients(before), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("loss", GAN_LOSSES)
def test_generator_step_runs_the_discriminator_on_real_images_only_where_the_loss_is_paired(loss: str):
    trainer, seen = build(loss=GAN_LOSSES[loss]), []
    trainer.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    trainer.generator_step(real_images())
    assert seen == [2 * NUM if GAN_LOSSES[loss].paired else NUM]


def test_learning_rate_decays_to_zero_in_a_line_or_stays():
    for decay, expected in (("linear", [0.4, 0.3, 0.2, 0.1]), ("constant", [0.4] * 4)):
        trainer = build(lr=0.4, decay=decay, total_steps=4, n_dis=2)
        for lr in expected:
            assert trainer.current_lr == pytest.approx(lr)
            trainer.step()
            state = trainer.state_dict()
            for network in ("generator", "discriminator"):
                assert state[network]["optimizer"]["param_groups"][0]["lr"] == pytest.approx(lr)
        assert trainer.current_lr == pytest.approx(0.0 if decay == "linear" else 0.4)


def test_moving_average_follows_its_closed_form():
    beta = 0.7
    trainer = build(ema=beta, lr=1e-2)
    history = []
    for _ in range(4):
        trainer.step()
        history.append(weights(trainer.generator))
    average = weights(trainer.shown_generator)
    for name in average:
        # The first step's weights, then a share of 1 - beta for each that follows.
        expected = beta**3 * history[0][name]
        expected = expected + (1 - beta) * sum(beta ** (3 - i) * history[i][name] for i in (1, 2, 3))
        torch.testing.assert_close(average[name], expected, rtol=1e-5, atol=1e-7)
    assert all(moved(trainer.generator, average))


def test_shown_generator_has_the_singular_vectors_of_the_trained_one():
    trainer = build(small_generator(spectral_norm=True), ema=0.9, lr=0.01)
    for _ in range(3):
        trainer.step()
    shown = dict(trainer.shown_generator.named_buffers())
    vectors = {name: b for name, b in trainer.generator.named_buffers() if name.endswith(("_u", "_v"))}
    assert len(vectors) == 8
    assert all(torch.equal(shown[name], vector) for name, vector in vectors.items())


def test_without_an_average_the_generator_itself_is_shown():
    trainer = build()
    assert trainer.shown_generator is trainer.generator


# --- equation 1


@pytest.mark.parametrize("loss", UNARY)
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_in_equation_1_the_discriminator_sees_soft_labelled_mixes_alone(loss: str, stage: int):
    mixup = DiscriminatorMixup((stage,), 1.0, ("FR",), clamp=False, labels="soft", generator_sees_mixes=True)
    trainer = build(loss=GAN_LOSSES[loss], mixup=mixup)
    real, fake = real_images(), copy.deepcopy(trainer.generator)(next_noise(trainer)).detach()
    network = copy.deepcopy(trainer.discriminator)
    record = discriminator_record(trainer, real)
    l_real, l_fake, _ = LOSSES[loss]
    plan = trainer.last_plan
    f = mixed_logits(network, real, fake, plan, slice(NUM))
    expected = (plan.lam * l_real(f) + (1 - plan.lam) * l_fake(f)).mean()
    assert [key for key in record if key.startswith("loss_D/")] == ["loss_D/FR"]
    torch.testing.assert_close(record["loss_D/FR"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", UNARY)
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_in_equation_1_the_generator_maximises_the_discriminators_loss(loss: str, stage: int):
    mixup = DiscriminatorMixup((stage,), 1.0, ("FR",), clamp=False, labels="soft", generator_sees_mixes=True)
    trainer = build(loss=GAN_LOSSES[loss], mixup=mixup)
    real, noise, before = real_images(), next_noise(trainer), copy.deepcopy(trainer.generator)
    got, norm = trainer.generator_step(real)
    l_real, l_fake, _ = LOSSES[loss]
    plan = trainer.last_plan
    f = mixed_logits(trainer.discriminator, real, before(noise), plan, slice(NUM))
    expected = -(plan.lam * l_real(f) + (1 - plan.lam) * l_fake(f)).mean()
    torch.testing.assert_close(got, expected.detach(), rtol=1e-5, atol=1e-6)
    expected.backward()
    torch.testing.assert_close(gradients(trainer.generator), gradients(before), rtol=1e-3, atol=1e-6)
    assert norm > 0


# --- resuming, precision, layout, compilation


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mixup": DiscriminatorMixup((0, 1, 2), 0.5), "ema": 0.9, "decay": "linear", "n_dis": 2},
        {"penalties": [penalty("interpolate", True)], "mixup": DiscriminatorMixup((1,), 1.0, labels="soft")},
        {"mixup": DiscriminatorMixup((0, 2), 1.0, ("FR",), labels="soft", generator_sees_mixes=True)},
    ],
    ids=["plain", "mixup", "penalty", "equation_1"],
)
def test_resumed_trainer_continues_to_the_bit(options: dict):
    trainer = build(discriminator=small_discriminator(spectral_norm=True), **options)
    for _ in range(2):
        trainer.step()
    file = io.BytesIO()
    torch.save(trainer.state_dict(), file)
    file.seek(0)
    fresh = build(small_generator(8), small_discriminator(9, spectral_norm=True), **options)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(3):
        expected, got = trainer.step(), fresh.step()
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[key], got[key]) for key in expected)
    assert fresh.steps_done == 5
    for name in ("generator", "discriminator", "shown_generator"):
        expected, got = (getattr(t, name).state_dict() for t in (trainer, fresh))
        assert all(torch.equal(expected[key], got[key]) for key in expected)


def test_trainer_goes_on_from_a_noise_stream_of_another_kind_of_device(capsys):
    check_stream_of_another_device(build, "noise_generator", capsys)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_channels_last_gives_the_same_steps(stage: int):
    records, found = [], []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        networks = [network.lay_out(memory_format) for network in (small_generator(), small_discriminator())]
        trainer = build(
            *networks, mixup=DiscriminatorMixup((stage,), 1.0), penalties=[penalty("zero_centred_real", False)]
        )
        records.append(trainer.step())
        found.append((gradients(trainer.discriminator), gradients(trainer.generator)))
    torch.testing.assert_close(records[0], records[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("own_step", [False, True])
def test_bfloat16_losses_are_close_to_float32_and_the_penalty_is_float32(own_step: bool):
    seen = []

    def spy(discriminator: nn.Module, real: Tensor, fake: Tensor, *, generator: torch.Generator) -> Tensor:
        seen.append((fake.dtype, discriminator(real).dtype))
        return PENALTIES["interpolate"](discriminator, real, fake, generator=generator)

    records = []
    for bf16 in (False, True):
        settings = Penalty(spy, 1.0, own_step=own_step)
        trainer = build(bf16=bf16, penalties=[settings], mixup=DiscriminatorMixup((1,), 1.0))
        dtypes = []
        trainer.discriminator.stages["head"].register_forward_hook(
            lambda _, x, y, dtypes=dtypes: dtypes.append(y.dtype)
        )
        records.append(trainer.step())
        assert (torch.bfloat16 in dtypes) is bf16
    assert seen == [(torch.float32, torch.float32)] * 2
    losses = [{key: value for key, value in record.items() if key.startswith("loss_")} for record in records]
    assert all(value.dtype == torch.float32 for value in losses[1].values())
    torch.testing.assert_close(losses[0], losses[1], rtol=2e-2, atol=2e-2)
    assert losses[0] != losses[1]


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # dynamo's own look
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="inductor needs a C++ compiler")
def test_compiled_steps_equal_eager_steps():
    """The slowest test here: half a minute where inductor's cache is empty."""
    trainers = []
    for compile in (False, True):
        networks = small_generator(resolution=8), small_discriminator(resolution=8)
        mixup = DiscriminatorMixup((0, 1), 1.0)
        trainers.append(build(*networks, batches=MadeBatches(8), mixup=mixup, compile=compile, lr=1e-4))
    stages = set()
    for step in range(4):
        expected, got = (trainer.step() for trainer in trainers)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        stages.add(trainers[1].last_plan.stage)
        if step == 1:  # scores and grids come between steps
            noise = torch.randn(3, Z)
            expected, got = (generate(trainer.shown_generator, noise) for trainer in trainers)
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-3)
    assert stages == {0, 1}
