import copy
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from made_trainings import (
    LR,
    NUM,
    K,
    MadeBatches,
    check_stream_of_another_device,
    generator,
    image_batches,
    mix,
    mixed_logits,
    sgd_descent,
    small_network,
    state,
    through_a_file,
)
from torch import Tensor, nn

from ganmix.algorithms.classifier_pass import ClassifierPass
from ganmix.algorithms.semi_supervised import SemiSupervisedTrainer, fixed_statistics, ramp_up
from ganmix.data import BatchOrder, ImageBatches, augment
from ganmix.mixup import ClassifierMixup, MixPlan
from ganmix.networks.classifier import Classifier

CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # weights in float64, logits in float32
RAMP_STEPS = 3
STATISTICS = ("batch", "running")
PLAN_SEED = 3


def build(network: Classifier | None = None, **options) -> SemiSupervisedTrainer:
    network = network or small_network().double()
    drawing = generator(2)
    noise = options.pop("noise", 0.0)
    descent = {name: options.pop(name) for name in ("ema", "decay", "l1") if name in options}
    return SemiSupervisedTrainer(
        ClassifierPass(network, noise=noise, generator=drawing),
        options.pop("labelled", None) or MadeBatches(7),
        options.pop("unlabelled", None) or MadeBatches(8, num=NUM + 3, labelled=False),
        sgd_descent(network, **descent),
        generator=drawing,
        plan_generator=generator(PLAN_SEED),
        **{
            "mixup": ClassifierMixup((0, 1, 2), 0.1),
            "unlabelled_mixup": ClassifierMixup((0, 1, 2), 2.0),
            "weight": 5.0,
            "ramp_steps": RAMP_STEPS,
            **options,
        },
    )


def build_with_images(network: Classifier, **options) -> SemiSupervisedTrainer:
    """As `build`, with float32 images that the trainer's own generator augments."""
    trainer = build(network, **options)
    trainer.labelled = image_batches(1, trainer.generator)
    trainer.unlabelled = image_batches(2, trainer.generator, num=40, labelled=False)
    return trainer


def watch(trainer: SemiSupervisedTrainer) -> list[tuple[Tensor, MixPlan | None]]:
    """The inputs and plans of all passes from now on, in order."""
    passes, original = [], trainer.network_pass.logits

    def logits(inputs: Tensor, plan: MixPlan | None) -> Tensor:
        passes.append((inputs, plan))
        return original(inputs, plan)

    trainer.network_pass.logits = logits
    return passes


# --- algorithm 1


@pytest.mark.parametrize(
    ("mixup", "unlabelled_mixup"),
    [
        (ClassifierMixup((0, 1, 2), 0.1), ClassifierMixup((0, 1, 2), 2.0)),
        (ClassifierMixup((0,), 1.0), ClassifierMixup((0,), 1.0)),  # algorithm 3
        (None, ClassifierMixup((1, 3), 1.0, "sample")),
    ],
    ids=["algorithm_1", "algorithm_3", "labelled_as_they_are"],
)
@pytest.mark.parametrize("batch_norm", STATISTICS)
@pytest.mark.parametrize("targets", ["softmax", "logits"])
def test_steps_are_those_of_algorithm_1_written_out(
    targets: str, batch_norm: str, mixup: ClassifierMixup | None, unlabelled_mixup: ClassifierMixup
):
    noise, weight, num_steps = 0.1, 5.0, 5
    options = {"mixup": mixup, "unlabelled_mixup": unlabelled_mixup, "noise": noise, "weight": weight}
    trainer = build(targets=targets, batch_norm=batch_norm, **options)
    network = copy.deepcopy(trainer.descent.network)
    optimizer = torch.optim.SGD(network.parameters(), LR, 0.9, nesterov=True)
    labelled, unlabelled = MadeBatches(7), MadeBatches(8, num=NUM + 3)
    draw_noise, draw_plan = generator(2), generator(PLAN_SEED)
    outputs = (lambda logits: logits.softmax(1)) if targets == "softmax" else (lambda logits: logits)

    def noisy(images: Tensor) -> Tensor:
        return images + noise * torch.randn(images.shape, generator=draw_noise)

    for k in range(num_steps):
        x_i, y_i = labelled.next()
        x_i, y_i = noisy(x_i), torch.eye(K, dtype=torch.float64)[y_i]
        if mixup is None:
            supervised = F.cross_entropy(network(x_i), y_i)
        else:
            plan = mixup.plan(len(x_i), draw_plan)
            logits = mixed_logits(network, x_i, plan.stage, plan.b, plan.lam)
            supervised = F.cross_entropy(logits, mix(y_i, plan.b, plan.lam))
        x_j, _ = unlabelled.next()
        x_j = noisy(x_j)
        teacher = copy.deepcopy(network).train(batch_norm == "batch")
        y_j = outputs(teacher(x_j)).detach()
        plan = unlabelled_mixup.plan(len(x_j), draw_plan)
        y_hat = outputs(mixed_logits(network, x_j, plan.stage, plan.b, plan.lam))
        consistency = ((y_hat - mix(y_j, plan.b, plan.lam)) ** 2).sum() / (len(x_j) * K)
        pi = weight * math.exp(-5 * (1 - min(1, k / RAMP_STEPS)) ** 2)
        optimizer.zero_grad()
        (supervised + pi * consistency).backward()
        optimizer.step()

        record = {name: value.double() for name, value in trainer.step().items()}
        expected = {
            "loss": supervised + pi * consistency,
            "loss/supervised": supervised,
            "loss/consistency": consistency,
            "consistency_coefficient": torch.tensor(pi).double(),
        }
        torch.testing.assert_close(record, {name: value.detach() for name, value in expected.items()}, **CLOSE)
        assert trainer.last_plan.stage == plan.stage
    assert trainer.steps_done == num_steps
    got, wanted = state(trainer.descent.network), state(network)
    torch.testing.assert_close(got, wanted, **CLOSE)


def test_pseudo_labels_get_no_gradient():
    trainer = build()
    required, original = [], trainer.network_pass.logits

    def logits(inputs: Tensor, plan: MixPlan | None) -> Tensor:
        result = original(inputs, plan)
        required.append(result.requires_grad)
        return result

    trainer.network_pass.logits = logits
    trainer.step()
    assert required == [True, False, True]


def test_labels_of_unlabelled_images_have_no_part_in_the_step():
    states = []
    for labelled in (False, True):
        batches = MadeBatches(8, num=NUM, labelled=labelled)
        trainer = build(unlabelled=batches)
        for _ in range(2):
            trainer.step()
        states.append(state(trainer.descent.network))
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)


def test_pseudo_labels_are_of_the_very_inputs_that_are_mixed():
    trainer = build(noise=0.5)
    passes = watch(trainer)
    trainer.step()
    (labelled, _), (plain, no_plan), (mixed, plan) = passes
    assert no_plan is None
    assert plan is trainer.last_plan
    assert torch.equal(plain, mixed)
    assert len(labelled) != len(plain)


def test_plans_of_labelled_and_unlabelled_images_are_independent():
    num_steps = 90
    trainer = build(mixup=ClassifierMixup((0, 1, 2), 1.0), unlabelled_mixup=ClassifierMixup((0, 1, 2), 1.0))
    trainer.descent.step = lambda loss: None  # the plans alone matter
    passes = watch(trainer)
    for _ in range(num_steps):
        trainer.step()
    first, second = ([plan for _, plan in passes[i::3]] for i in (0, 2))
    stages = torch.tensor([[a.stage, b.stage] for a, b in zip(first, second, strict=True)])
    pairs, counts = stages.unique(dim=0, return_counts=True)
    assert len(pairs) == 9
    assert counts.max() < 10 + 5 * 3  # of 10 each, within five standard deviations
    lams = torch.stack([torch.stack([plan.lam for plan in plans]) for plans in (first, second)])
    assert abs(lams.corrcoef()[0, 1].item()) < 4 / num_steps**0.5
    assert not any(a.b.tolist() == b.b[:NUM].tolist() for a, b in zip(first[:5], second[:5], strict=True))


@pytest.mark.parametrize(("labelled_alpha", "unlabelled_alpha"), [(1e-3, 1e4), (1e4, 1e-3)])
def test_each_batch_is_mixed_with_its_own_alpha(labelled_alpha: float, unlabelled_alpha: float):
    trainer = build(
        mixup=ClassifierMixup((0,), labelled_alpha), unlabelled_mixup=ClassifierMixup((1,), unlabelled_alpha)
    )
    passes = watch(trainer)
    for _ in range(5):
        trainer.step()
    for i, alpha, stage in ((0, labelled_alpha, 0), (2, unlabelled_alpha, 1)):
        for _, plan in passes[i::3]:
            from_a_half = abs(plan.lam.item() - 0.5)
            assert plan.stage == stage
            assert (from_a_half < 0.05) if alpha > 1 else (from_a_half > 0.45)


def test_labelled_images_come_in_a_new_order_and_newly_augmented_in_each_pass():
    num, batch_size, num_epochs = 8, 4, 12
    images = torch.randint(256, (num, 3, 8, 8), generator=generator(5), dtype=torch.uint8)
    drawing = generator(1)
    options = {"flip": True, "dequantise": False, "crop_padding": 2, "generator": drawing}
    labelled = ImageBatches(
        images, torch.arange(num) % K, BatchOrder(num, batch_size, 1, "cpu"), partial(augment, **options)
    )
    # which images they are, from an order of the same seed
    order = BatchOrder(num, batch_size, 1, "cpu")
    trainer = build(
        small_network(), mixup=None, labelled=labelled, unlabelled=image_batches(2, drawing, labelled=False)
    )
    passes = watch(trainer)
    for _ in range(num_epochs * num // batch_size):
        trainer.step()
    indices = torch.cat([order.next() for _ in passes[0::3]]).view(num_epochs, num)
    seen = torch.cat([inputs for inputs, _ in passes[0::3]]).view(num_epochs, num, 3, 8, 8)
    for epoch, following in pairwise(indices):
        assert sorted(epoch.tolist()) == list(range(num))
        assert not torch.equal(epoch, following)
    for image in range(num):
        versions = seen[indices == image]
        assert len(versions) == num_epochs
        assert len(versions.unique(dim=0)) > 6  # of 50 that there are


def test_all_that_a_step_records_lies_on_its_device():
    class OnMeta(MadeBatches):
        def next(self) -> tuple[Tensor, Tensor | None]:
            images, labels = super().next()
            return images.to("meta"), None if labels is None else labels.to("meta")

    trainer = build(small_network().double().to("meta"), labelled=OnMeta(7), unlabelled=OnMeta(8, labelled=False))
    record = trainer.step()
    assert "consistency_coefficient" in record
    assert all(value.device.type == "meta" for value in record.values())


# --- the consistency coefficient


def test_coefficient_starts_at_exp_minus_5_and_reaches_its_weight_where_the_ramp_ends():
    assert ramp_up(2.0, 0, 400) == pytest.approx(2 * math.exp(-5), rel=1e-12)
    assert ramp_up(2.0, 200, 400) == pytest.approx(2 * math.exp(-1.25), rel=1e-12)
    assert ramp_up(2.0, 399, 400) < 2
    assert [ramp_up(2.0, step, 400) for step in (400, 401, 1000)] == [2.0] * 3
    coefficients = [ramp_up(2.0, step, 400) for step in range(401)]
    assert all(low < high for low, high in pairwise(coefficients))


# --- batch norm of the pseudo-labels' pass


def made_inputs() -> Tensor:
    return MadeBatches(4).next()[0] * 3 + 1  # of other statistics than the running ones


@pytest.mark.parametrize("statistics", STATISTICS)
def test_statistics_stay_within_and_move_again_after(statistics: str):
    network = small_network().double()
    network(made_inputs())
    before = state(network)
    with fixed_statistics(network, statistics):
        network(made_inputs() * 2)
    torch.testing.assert_close(state(network), before, rtol=0, atol=0)
    network(made_inputs() * 2)
    after = state(network)
    statistics_moved = [not torch.equal(after[name], before[name]) for name in before if "running" in name]
    assert statistics_moved == [True] * 6
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("statistics", "mode"), [("batch", nn.Module.train), ("running", nn.Module.eval)], ids=STATISTICS
)
def test_statistics_are_the_batchs_or_the_running_ones(statistics: str, mode: Callable[[nn.Module], nn.Module]):
    network = small_network().double()
    network(made_inputs())
    expected = mode(copy.deepcopy(network))(made_inputs())
    with fixed_statistics(network, statistics):
        torch.testing.assert_close(network(made_inputs()), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("statistics", STATISTICS)
def test_network_is_as_it_was_even_after_an_error(statistics: str):
    network = small_network()
    frozen = network.stages["conv2"].bn
    frozen.eval()
    network.stages["conv3"].bn.momentum = 0.01

    def modes() -> list[tuple]:
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        return [(norm.training, norm.track_running_stats, norm.momentum) for norm in norms]

    before = modes()
    with pytest.raises(ZeroDivisionError), fixed_statistics(network, statistics):
        raise ZeroDivisionError
    assert modes() == before
    assert [training for training, _, _ in before] == [True, False, True]


@pytest.mark.parametrize("batch_norm", STATISTICS)
def test_running_means_see_the_two_training_passes_alone(batch_norm: str):
    trainer = build(batch_norm=batch_norm)
    trainer.step()
    assert trainer.descent.network.stages["conv1"].bn.num_batches_tracked == 2


# --- resuming


@pytest.mark.parametrize(
    "options",
    [
        {"noise": 0.1},
        {"mixup": None, "targets": "logits", "batch_norm": "running", "ema": 0.9, "decay": "cosine", "l1": 1e-3},
    ],
    ids=["softmax", "logits"],
)
def test_resumed_trainer_continues_to_the_bit(options: dict):
    trainer = build_with_images(small_network(), **options)
    for _ in range(2):
        trainer.step()
    saved = through_a_file(trainer.state_dict())
    expected = [trainer.step() for _ in range(7)]  # into further epochs of both, and beyond the ramp

    resumed = build_with_images(small_network(seed=8), **options)
    for each in (resumed.generator, resumed.plan_generator):
        each.manual_seed(99)
    torch.manual_seed(123)  # the global generator has no part in it
    resumed.load_state_dict(saved)
    assert resumed.steps_done == 2
    for record in expected:
        got = resumed.step()
        assert got.keys() == record.keys()
        assert all(torch.equal(got[key], record[key]) for key in record)
    for name in ("network", "shown_network"):
        before, after = (state(getattr(each.descent, name)) for each in (trainer, resumed))
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_trainer_goes_on_from_a_stream_of_another_kind_of_device(capsys):
    check_stream_of_another_device(lambda: build(noise=0.1), "generator", capsys)
