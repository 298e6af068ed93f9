from decimal import Decimal, localcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.losses import CLASSIFICATION_LOSSES, smooth

NUM, K = 7, 5
EXACT = {"rtol": 1e-12, "atol": 1e-14}

cross_entropy = CLASSIFICATION_LOSSES["cross_entropy"]
binary_cross_entropy = CLASSIFICATION_LOSSES["binary_cross_entropy"]
for_both_losses = pytest.mark.parametrize("loss", CLASSIFICATION_LOSSES.values(), ids=CLASSIFICATION_LOSSES.keys())


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def classes(seed: int = 1) -> Tensor:
    return torch.randint(K, (NUM,), generator=torch.Generator().manual_seed(seed))


def one_hot(labels: Tensor, num_classes: int = K) -> Tensor:
    return torch.eye(num_classes, dtype=torch.float64)[labels]


def value_and_gradient(loss, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    value = loss(logits, targets)
    assert value.ndim == 0
    return value.detach(), torch.autograd.grad(value, logits)[0]


def exact_binary_cross_entropy(logits: list[float], targets: list[float]) -> tuple[float, list[float]]:
    """Value and gradient for one image, of formulas in 300 digits: no 1 - p is 0."""
    with localcontext() as context:
        context.prec = 300
        exponentials = [Decimal(z).exp() for z in logits]
        p = [e / sum(exponentials) for e in exponentials]
        t = [Decimal(x) for x in targets]
        size = len(p)
        value = -sum(t[k] * p[k].ln() + (1 - t[k]) * (1 - p[k]).ln() for k in range(size)) / size
        slope = [((1 - t[k]) * p[k] / (1 - p[k]) - t[k]) / size for k in range(size)]  # in log p_k
        gradient = [sum(slope[k] * ((j == k) - p[j]) for k in range(size)) for j in range(size)]
        return float(value), [float(g) for g in gradient]


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@for_both_losses
def test_loss_of_mixed_targets_is_the_mix_of_the_losses(loss, lam: float):
    logits, a, b = randn(NUM, K), classes(1), classes(2)
    value, gradient = value_and_gradient(loss, logits, lam * one_hot(a) + (1 - lam) * one_hot(b))
    (value_a, gradient_a), (value_b, gradient_b) = (value_and_gradient(loss, logits, labels) for labels in (a, b))
    torch.testing.assert_close(value, lam * value_a + (1 - lam) * value_b, **EXACT)
    torch.testing.assert_close(gradient, lam * gradient_a + (1 - lam) * gradient_b, **EXACT)


@for_both_losses
def test_classes_and_their_one_hot_targets_have_the_same_loss(loss):
    logits, labels = randn(NUM, K), classes()
    soft, hard = (value_and_gradient(loss, logits, targets) for targets in (one_hot(labels), labels))
    torch.testing.assert_close(soft, hard, **EXACT)


def test_cross_entropy_is_the_mean_of_minus_log_p_of_the_class():
    logits, labels = randn(NUM, K), classes()
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    value, gradient = value_and_gradient(cross_entropy, logits, labels)
    torch.testing.assert_close(value, -p[torch.arange(NUM), labels].log().mean(), **EXACT)
    torch.testing.assert_close(gradient, (p - one_hot(labels)) / NUM, **EXACT)


@pytest.mark.parametrize("targets", [one_hot(classes()), randn(NUM, K, seed=3).softmax(1)], ids=["one_hot", "soft"])
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_binary_cross_entropy_is_torchs_of_the_softmax(scale: float, targets: Tensor):
    logits = scale * randn(NUM, K)
    expected = value_and_gradient(lambda z, t: F.binary_cross_entropy(z.softmax(1), t), logits, targets)
    got = value_and_gradient(binary_cross_entropy, logits, targets)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("targets", [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
@pytest.mark.parametrize("logits", [[50.0, -50.0, 0.0], [-50.0, 50.0, 49.0], [200.0, -200.0, 3.0], [0.0, 0.0, 0.0]])
def test_binary_cross_entropy_of_confident_logits_is_exact(logits: list[float], targets: list[float], dtype):
    # torch's own cuts its logarithms off at -100 and, where p rounds to 1, has no gradient
    value, gradient = exact_binary_cross_entropy(logits, targets)
    got, got_gradient = value_and_gradient(
        binary_cross_entropy, torch.tensor([logits], dtype=dtype), torch.tensor([targets], dtype=dtype)
    )
    accuracy = 1e-6 if dtype is torch.float32 else 1e-12
    assert got.dtype == dtype
    assert got.item() == pytest.approx(value, rel=accuracy, abs=accuracy)
    assert got_gradient[0].tolist() == pytest.approx(gradient, rel=accuracy, abs=accuracy)


@for_both_losses
def test_loss_and_gradient_are_finite_however_confident_the_logits(loss):
    for scale in (1.0, 50.0, 1e4, 1e30):
        logits = scale * torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])
        for targets in (torch.tensor([0, 1, 2]), torch.tensor([1, 0, 0]), torch.full((3, 3), 1 / 3)):
            value, gradient = value_and_gradient(loss, logits, targets)
            assert value.isfinite()
            assert gradient.isfinite().all()


@pytest.mark.parametrize("num_classes", [10, 100])
def test_binary_cross_entropys_first_gradients_are_one_less_than_the_classes_times_smaller(num_classes: int):
    logits, labels = torch.zeros(4, num_classes, dtype=torch.float64), torch.arange(4)
    gradients = [value_and_gradient(loss, logits, labels)[1] for loss in (cross_entropy, binary_cross_entropy)]
    torch.testing.assert_close(gradients[0], (num_classes - 1) * gradients[1], rtol=1e-10, atol=1e-14)  # 9 and 99


@for_both_losses
def test_soft_target_is_the_minimiser(loss):
    targets = randn(NUM, K, seed=3).softmax(1)
    value, gradient = value_and_gradient(loss, targets.log(), targets)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-15)
    for seed in range(10):
        assert loss(targets.log() + 0.1 * randn(NUM, K, seed=seed), targets) > value


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_smoothed_targets_are_those_of_torch(share: float):
    logits, labels, soft = randn(NUM, K), classes(), randn(NUM, K, seed=3).softmax(1)
    for targets, theirs in ((one_hot(labels), labels), (soft, soft)):
        expected = F.cross_entropy(logits, theirs, label_smoothing=share)
        torch.testing.assert_close(cross_entropy(logits, smooth(targets, share)), expected, **EXACT)
        torch.testing.assert_close(smooth(targets, share).sum(1), torch.ones(NUM, dtype=torch.float64), **EXACT)
