import copy

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
from torch import Tensor

from ganmix.algorithms.classifier_pass import ClassifierPass
from ganmix.algorithms.supervised import SupervisedTrainer, cutmix
from ganmix.losses import CLASSIFICATION_LOSSES
from ganmix.mixup import ClassifierMixup
from ganmix.networks.classifier import CLASSIFIERS, Classifier
from ganmix.networks.classifier.prepare import Normalise

CLOSE = {"rtol": 1e-6, "atol": 1e-7}  # weights in float64, logits in float32
STAGES = range(5)  # of the small network
PASS_OPTIONS = ("noise", "loss", "label_smoothing", "bf16")
PLAN_SEED = 3


def build(network: Classifier | None = None, *, mixup=None, cutmix_alpha=None, batches=None, **options):
    network = network or small_network().double()
    drawing = generator(2)
    of_pass = {name: options.pop(name) for name in PASS_OPTIONS if name in options}
    if "loss" in of_pass:
        of_pass["loss_function"] = CLASSIFICATION_LOSSES[of_pass.pop("loss")]
    return SupervisedTrainer(
        ClassifierPass(network, generator=drawing, **{"noise": 0.0, **of_pass}),
        batches or MadeBatches(),
        sgd_descent(network, **options),
        mixup=mixup,
        cutmix=cutmix(cutmix_alpha, K) if cutmix_alpha else None,
        generator=drawing,
        plan_generator=generator(PLAN_SEED),
    )


def build_with_images(network: Classifier, **options) -> SupervisedTrainer:
    """As `build`, with float32 images that the trainer's own generator augments."""
    trainer = build(network, **options)
    trainer.batches = image_batches(1, trainer.generator)
    return trainer


class Textbook:
    """Training written out: SGD with Nesterov momentum on a copy of the network."""

    def __init__(self, trainer: SupervisedTrainer, **options):
        self.network = copy.deepcopy(trainer.descent.network)
        self.optimizer = torch.optim.SGD(self.network.parameters(), LR, 0.9, nesterov=True, **options)
        self.batches = MadeBatches()

    def descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * (logits.exp() / logits.exp().sum(1, keepdim=True)).log()).sum(1).mean()


def one_hot(labels: Tensor) -> Tensor:
    return torch.eye(K, dtype=torch.float64)[labels]


# --- algorithm 2


@pytest.mark.parametrize("lam_per", ["batch", "sample"])
@pytest.mark.parametrize("stages", [(0,), (2,), (4,), (0, 1, 3)], ids=str)
def test_steps_are_those_of_algorithm_2_written_out(stages: tuple[int, ...], lam_per: str):
    trainer = build(mixup=ClassifierMixup(stages, 2.0, lam_per), weight_decay=0.01)
    textbook, draw = Textbook(trainer, weight_decay=0.01), generator(PLAN_SEED)
    for _ in range(4):
        images, labels = textbook.batches.next()
        plan = ClassifierMixup(stages, 2.0, lam_per).plan(NUM, draw)
        logits = mixed_logits(textbook.network, images, plan.stage, plan.b, plan.lam)
        loss = soft_cross_entropy(logits, mix(one_hot(labels), plan.b, plan.lam))
        textbook.descend(loss)
        record = trainer.step()
        assert record.keys() == {"loss"}  # the accuracy on mixes would mean nothing
        torch.testing.assert_close(record["loss"].double(), loss.detach(), **CLOSE)
        assert trainer.last_plan.stage == plan.stage
    assert trainer.steps_done == 4
    torch.testing.assert_close(state(trainer.descent.network), state(textbook.network), **CLOSE)


def test_input_mixup_is_training_on_images_and_labels_mixed_beforehand():
    trainer = build(mixup=ClassifierMixup((0,), 1.0))
    textbook, draw = Textbook(trainer), generator(PLAN_SEED)
    for _ in range(3):
        images, labels = textbook.batches.next()
        plan = ClassifierMixup([0], 1.0).plan(NUM, draw)
        logits = textbook.network(mix(images, plan.b, plan.lam))
        lam = plan.lam.double()
        textbook.descend(lam * F.cross_entropy(logits, labels) + (1 - lam) * F.cross_entropy(logits, labels[plan.b]))
        trainer.step()
    torch.testing.assert_close(state(trainer.descent.network), state(textbook.network), **CLOSE)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_without_mixup_steps_are_those_of_cross_entropy(label_smoothing: float):
    trainer = build(label_smoothing=label_smoothing)
    textbook = Textbook(trainer)
    for _ in range(3):
        images, labels = textbook.batches.next()
        logits = textbook.network(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        textbook.descend(loss)
        record = trainer.step()
        torch.testing.assert_close(record["loss"].double(), loss.detach(), **CLOSE)
        assert record["accuracy"].item() == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item())
    assert trainer.last_plan is None
    torch.testing.assert_close(state(trainer.descent.network), state(textbook.network), **CLOSE)


def test_smoothed_labels_are_mixed_like_others():
    trainer = build(mixup=ClassifierMixup((1,), 1.0), label_smoothing=0.2)
    textbook = Textbook(trainer)
    images, labels = textbook.batches.next()
    plan = ClassifierMixup([1], 1.0).plan(NUM, generator(PLAN_SEED))
    logits = mixed_logits(textbook.network, images, 1, plan.b, plan.lam)
    loss_a, loss_b = (F.cross_entropy(logits, y, label_smoothing=0.2) for y in (labels, labels[plan.b]))
    expected = plan.lam * loss_a + (1 - plan.lam) * loss_b
    torch.testing.assert_close(trainer.step()["loss"].double(), expected.detach(), **CLOSE)


@pytest.mark.parametrize("mixup", [None, ClassifierMixup((1,), 1.0)], ids=["plain", "mixup"])
def test_the_authors_loss_is_that_of_each_softmax_output(mixup: ClassifierMixup | None):
    trainer = build(mixup=mixup, loss="binary_cross_entropy")
    textbook = Textbook(trainer)
    images, labels = textbook.batches.next()
    plan = ClassifierMixup([1], 1.0).plan(NUM, generator(PLAN_SEED))
    partner, lam = (plan.b, plan.lam) if mixup else (torch.arange(NUM), torch.tensor(1.0))
    p = mixed_logits(textbook.network, images, 1, partner, lam).softmax(1)
    textbook.descend(F.binary_cross_entropy(p, mix(one_hot(labels), partner, lam)))
    trainer.step()
    torch.testing.assert_close(state(trainer.descent.network), state(textbook.network), **CLOSE)


@pytest.mark.parametrize("block_gradients", [False, True])
@pytest.mark.parametrize("stage", STAGES)
def test_blocked_gradients_leave_the_weights_below_the_mix_alone(stage: int, block_gradients: bool):
    trainer = build(mixup=ClassifierMixup((stage,), 1.0, block_gradients=block_gradients))
    network = trainer.descent.network
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    trainer.step()
    names = list(network.stages)
    moved = {name.split(".")[1] for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    trained = [name for name in names if name != "pool"]  # which has no weights
    above = names[stage:] if block_gradients else names
    assert moved == set(trained) & set(above)


def test_layers_below_a_blocked_mix_feel_neither_momentum_nor_weight_decay():
    trainer = build(weight_decay=0.1)
    network, optimizer = trainer.descent.network, trainer.descent.optimizer

    def below() -> list[Tensor]:
        return list(network.stages["conv1"].parameters())

    trainer.step()  # after which there is momentum
    before, momenta = ([t.clone() for t in below()], [optimizer.state[p]["momentum_buffer"].clone() for p in below()])
    assert all(momentum.any() for momentum in momenta)
    for block_gradients in (True, False):
        trainer.mixup = ClassifierMixup((1,), 1.0, block_gradients=block_gradients)
        trainer.step()
        assert all(torch.equal(*pair) for pair in zip(below(), before, strict=True)) is block_gradients
        momentum_is_old = [
            torch.equal(optimizer.state[p]["momentum_buffer"], old) for p, old in zip(below(), momenta, strict=True)
        ]
        assert all(momentum_is_old) is block_gradients


# --- CutMix


def mixes_of(images: Tensor, labels: Tensor, alpha: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    return cutmix(alpha, K)(images, labels, generator(seed))


def distinct_images(num: int, side: int) -> tuple[Tensor, Tensor]:
    images = torch.arange(num * 3 * side * side, dtype=torch.float32).view(num, 3, side, side)
    return images, torch.arange(num) % K


def test_cutmix_pastes_a_box_of_another_image_and_shares_the_target_by_its_area():
    images, labels = distinct_images(NUM, 16)
    areas = set()
    for seed in range(20):
        mixed, targets = mixes_of(images, labels, seed=seed)
        shift = next(s for s in range(1, NUM) if ((mixed == images) | (mixed == images.roll(s, 0))).all())
        pasted = (mixed != images).all(1)  # [N, R, R]
        assert torch.equal(pasted, (mixed != images).any(1))
        assert torch.equal(pasted, pasted[:1].expand_as(pasted))
        rows, columns = pasted[0].any(1), pasted[0].any(0)
        assert torch.equal(pasted[0], rows[:, None] & columns)  # a box
        assert (rows.diff() != 0).sum() <= 2
        assert (columns.diff() != 0).sum() <= 2
        area = pasted[0].float().mean().item()
        areas.add(area)
        partner = one_hot(labels).roll(shift, 0)
        torch.testing.assert_close(targets.double(), (1 - area) * one_hot(labels) + area * partner, rtol=0, atol=1e-6)
    assert len(areas) > 10


def test_box_of_cutmix_has_the_side_that_lambda_says():
    images, labels = distinct_images(2, 32)
    areas = [int((mixes_of(images, labels, alpha=1e4, seed=seed)[0] != images)[0, 0].sum()) for seed in range(40)]
    # lambda is 1/2 almost surely: half a side of int(sqrt(1/2) * 32 / 2) = 11, less where the box meets the border
    assert max(areas) == 22**2


def test_cutmix_comes_from_its_generator_and_leaves_the_global_ones_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeded the GPUs"))
    images, labels = distinct_images(NUM, 16)
    results = []
    for global_seed in (1, 2):
        torch.default_generator.manual_seed(global_seed)
        before = torch.get_rng_state()
        results.append(mixes_of(images, labels, seed=4))
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    draw = generator(4)
    first, second = (cutmix(1.0, K)(images, labels, draw)[0] for _ in range(2))
    assert torch.equal(first, results[0][0])
    assert not torch.equal(first, second)


def test_step_with_cutmix_is_one_on_its_mixes():
    trainer = build(cutmix_alpha=1.0)
    textbook, draw, mixing = Textbook(trainer), generator(PLAN_SEED), cutmix(1.0, K)
    for _ in range(3):
        images, targets = mixing(*textbook.batches.next(), draw)
        textbook.descend(soft_cross_entropy(textbook.network(images), targets))
        assert trainer.step().keys() == {"loss"}
    torch.testing.assert_close(state(trainer.descent.network), state(textbook.network), **CLOSE)


# --- inputs


def test_noise_on_prepared_images_has_the_scale_that_is_asked_for():
    network = small_network(prepare=Normalise(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.2, 0.3, 0.4])))
    images = torch.zeros(400, 3, 8, 8)
    network_pass = ClassifierPass(network, noise=0.15, generator=generator())
    first, second = (network_pass.inputs(images) - network.prepare(images) for _ in range(2))
    num = images.numel()
    for noise in (first, second):
        assert noise.mean().item() == pytest.approx(0, abs=5 * 0.15 / num**0.5)
        assert noise.std().item() == pytest.approx(0.15, rel=5 / (2 * num) ** 0.5)
    assert (first * second).mean().item() == pytest.approx(0, abs=5 * 0.15**2 / num**0.5)  # drawn anew


def test_without_noise_inputs_are_the_prepared_images_and_nothing_is_drawn():
    network = small_network(prepare=Normalise(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.2, 0.3, 0.4])))
    draw = generator()
    images, _ = image_batches(0, generator()).next()
    inputs = ClassifierPass(network, noise=0.0, generator=draw).inputs(images)
    expected = (images - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    torch.testing.assert_close(inputs, expected)
    assert torch.equal(draw.get_state(), generator().get_state())


def test_prepared_images_are_what_is_mixed_and_trained_on():
    prepare = Normalise(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.2, 0.3, 0.4]))
    trainer = build(small_network(prepare=prepare).double(), mixup=ClassifierMixup((0,), 1.0))
    textbook = Textbook(trainer)
    images, labels = textbook.batches.next()
    plan = ClassifierMixup([0], 1.0).plan(NUM, generator(PLAN_SEED))
    logits = mixed_logits(textbook.network, textbook.network.prepare(images), 0, plan.b, plan.lam)
    expected = soft_cross_entropy(logits, mix(one_hot(labels), plan.b, plan.lam))
    torch.testing.assert_close(trainer.step()["loss"].double(), expected.detach(), **CLOSE)


def test_bfloat16_leaves_weights_logits_and_losses_float32_and_is_close_to_it():
    records = []
    for bf16 in (False, True):
        trainer = build_with_images(small_network(), mixup=ClassifierMixup((1,), 1.0), bf16=bf16)
        records.append([trainer.step()["loss"] for _ in range(3)])
        network = trainer.descent.network
        assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in network.state_dict().values())
        assert all(p.grad.dtype == torch.float32 for p in network.parameters())
        logits = ClassifierPass(network, noise=0.0, generator=generator(), bf16=bf16).logits(
            torch.zeros(2, 3, 8, 8), None
        )
        assert logits.dtype == torch.float32
    assert all(loss.dtype == torch.float32 for loss in records[1])
    torch.testing.assert_close(records[0], records[1], rtol=0.02, atol=0)
    assert records[0] != records[1]


# --- resuming


@pytest.mark.parametrize(
    "options",
    [
        {"noise": 0.1},
        {"mixup": ClassifierMixup((0, 1, 2), 2.0), "ema": 0.9, "decay": "cosine", "noise": 0.1},
        {"mixup": ClassifierMixup((0, 2), 0.5, "sample", block_gradients=True), "l1": 1e-3, "weight_decay": 1e-3},
        {"cutmix_alpha": 1.0, "label_smoothing": 0.1, "decay": "linear"},
    ],
    ids=["plain", "mixup", "blocked", "cutmix"],
)
def test_resumed_trainer_continues_to_the_bit(options: dict):
    trainer = build_with_images(small_network(), **options)
    for _ in range(2):
        trainer.step()
    saved = through_a_file(trainer.state_dict())
    expected = [trainer.step() for _ in range(5)]  # into the second epoch and beyond

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


def test_dropout_draws_from_the_trainers_stream_and_resumes_with_it():
    def make():
        torch.manual_seed(0)
        network = CLASSIFIERS["wide_resnet"](3, 8, num_classes=K, depth=10, width=1, dropout=0.5)
        return build_with_images(network)

    whole, half = make(), make()
    for _ in range(4):
        torch.manual_seed(int(torch.randint(1000, ())))  # nothing comes from the global stream
        whole.step()
    for _ in range(2):
        half.step()
    resumed = make()
    resumed.load_state_dict(through_a_file(half.state_dict()))
    for _ in range(2):
        resumed.step()
    torch.testing.assert_close(state(resumed.descent.network), state(whole.descent.network), rtol=0, atol=0)
