import pytest
import torch
from torch import Tensor, nn

from ganmix.losses import PENALTIES, Penalty

# the options of each; a new penalty without options needs no line here
OPTIONS = {"zero_centred_real": [{"of": "logit"}, {"of": "sigmoid"}]}
CASES = [(name, options) for name in PENALTIES for options in OPTIONS.get(name, [{}])]
for_every_penalty = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=["-".join([name, *options.values()]) for name, options in CASES]
)
NUM = 5


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def compute(name: str, discriminator, real: Tensor, fake: Tensor, seed: int = 0, **options) -> Tensor:
    return PENALTIES[name](discriminator, real, fake, generator=torch.Generator().manual_seed(seed), **options)


class Linear(nn.Module):
    """D(x) = w . x + b."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(0.3, dtype=weight.dtype))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weight).sum((1, 2, 3)) + self.bias


@pytest.fixture
def discriminator() -> Linear:
    return Linear(0.3 * randn(2, 4, 4))


@pytest.fixture
def real() -> Tensor:
    return randn(NUM, 2, 4, 4, seed=1)


@pytest.fixture
def fake() -> Tensor:
    return randn(NUM, 2, 4, 4, seed=2)


def assert_value_and_gradients(penalty: Tensor, discriminator: Linear, value: Tensor, weight_gradient: Tensor) -> None:
    torch.testing.assert_close(penalty, value, rtol=1e-9, atol=0)
    (gradient,) = torch.autograd.grad(penalty, discriminator.weight, retain_graph=True)
    torch.testing.assert_close(gradient, weight_gradient, rtol=1e-9, atol=1e-12)


def test_zero_centred_penalty_of_a_linear_logit_is_its_squared_norm(discriminator: Linear, real: Tensor, fake: Tensor):
    penalty = compute("zero_centred_real", discriminator, real, fake, of="logit")
    w = discriminator.weight.detach()
    assert_value_and_gradients(penalty, discriminator, w.square().sum(), 2 * w)


def test_zero_centred_penalty_of_the_sigmoid_equals_its_closed_form(discriminator: Linear, real: Tensor, fake: Tensor):
    penalty = compute("zero_centred_real", discriminator, real, fake, of="sigmoid")
    w, b = discriminator.weight.detach(), discriminator.bias.detach()
    s = 1 / (1 + torch.exp(-(real * w).sum((1, 2, 3)) - b))
    slope = s * (1 - s)
    squared = w.square().sum()
    value = slope.square().mean() * squared
    curvature = 2 * slope.square() * (1 - 2 * s) * squared / NUM  # of each image's share, in the logit
    assert_value_and_gradients(
        penalty, discriminator, value, 2 * w * slope.square().mean() + torch.einsum("n,nchw->chw", curvature, real)
    )
    (bias_gradient,) = torch.autograd.grad(penalty, discriminator.bias)
    torch.testing.assert_close(bias_gradient, curvature.sum(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", [0.2, 5.0])  # the norm below and above 1
def test_interpolate_penalty_of_a_linear_logit_is_its_distance_from_norm_one(scale: float, real: Tensor, fake: Tensor):
    discriminator = Linear(scale * randn(2, 4, 4) / randn(2, 4, 4).norm())
    w = discriminator.weight.detach()
    penalty = compute("interpolate", discriminator, real, fake)
    value = torch.tensor((scale - 1) ** 2, dtype=torch.float64)
    assert_value_and_gradients(penalty, discriminator, value, 2 * (scale - 1) * w / scale)


def test_zero_centred_penalty_of_a_quadratic_logit_is_the_squared_norm_of_the_real_images(real: Tensor, fake: Tensor):
    penalty = compute("zero_centred_real", lambda x: x.square().sum((1, 2, 3)) / 2, real, fake, of="logit")
    torch.testing.assert_close(penalty, real.square().sum((1, 2, 3)).mean(), rtol=1e-12, atol=0)


def test_interpolate_penalty_of_a_quadratic_logit_is_the_points_distance_from_the_unit_sphere():
    real = torch.full((NUM, 1, 1, 1), 3.0, dtype=torch.float64)
    penalty = compute("interpolate", lambda x: x.square().sum((1, 2, 3)) / 2, real, real)
    torch.testing.assert_close(penalty, torch.tensor(4.0, dtype=torch.float64), rtol=1e-9, atol=0)


@for_every_penalty
def test_gradient_of_a_dead_discriminator_is_finite(name: str, options: dict, real: Tensor, fake: Tensor):
    discriminator = Linear(torch.zeros(2, 4, 4))
    penalty = compute(name, discriminator, real.float(), fake.float(), **options)
    penalty.backward()
    assert penalty.isfinite()
    assert discriminator.weight.grad.isfinite().all()


@for_every_penalty
def test_penalty_leaves_nothing_on_the_images_or_the_discriminator(name: str, options: dict, discriminator: Linear):
    images = [randn(NUM, 2, 4, 4, seed=seed) for seed in (1, 2)]
    images[1].requires_grad_()
    before = [image.detach().clone() for image in images]
    penalty = compute(name, discriminator, *images, **options)
    assert all(p.grad is None for p in discriminator.parameters())
    penalty.backward()
    assert discriminator.weight.grad is not None
    assert [image.grad for image in images] == [None, None]
    assert [image.requires_grad for image in images] == [False, True]
    assert all(torch.equal(image, old) for image, old in zip(images, before, strict=True))


class Recorder(nn.Module):
    """Keeps the images it is shown."""

    def forward(self, images: Tensor) -> Tensor:
        self.seen = images.detach()
        return images.square().sum((1, 2, 3))


def test_zero_centred_penalty_looks_at_the_real_images(real: Tensor, fake: Tensor):
    recorder = Recorder()
    compute("zero_centred_real", recorder, real, fake, of="logit")
    assert torch.equal(recorder.seen, real)


def test_interpolated_points_lie_between_a_real_image_and_its_fake(real: Tensor, fake: Tensor):
    recorder = Recorder()
    compute("interpolate", recorder, real, fake)
    weight = ((recorder.seen - fake) / (real - fake)).flatten(1)  # the same for each value of an image
    torch.testing.assert_close(weight, weight[:, :1].expand_as(weight), rtol=1e-7, atol=1e-7)
    assert ((weight > 0) & (weight < 1)).all()
    assert len(weight[:, 0].unique()) == NUM


def test_interpolated_points_are_uniform_and_come_from_the_generator():
    real, fake = torch.ones(4000, 1, 1, 1), torch.zeros(4000, 1, 1, 1)
    recorder = Recorder()
    points = []
    for seed in (0, 0, 1):
        compute("interpolate", recorder, real, fake, seed=seed)
        points.append(recorder.seen.flatten())
    assert torch.equal(points[0], points[1])
    assert not torch.equal(points[0], points[2])
    expected = torch.linspace(0, 1, 4000)
    torch.testing.assert_close(points[0].sort().values, expected, rtol=0, atol=0.03)


@pytest.mark.parametrize(("every", "factor"), [(1, 0.25), (4, 1.0)])
def test_lazy_penalty_weighs_as_many_times_as_much_as_the_steps_that_lack_it(every: int, factor: float):
    def function(*images: Tensor, generator: torch.Generator) -> Tensor:
        return sum(images)

    images = randn(3)
    got = Penalty(function, 0.25, every)(*images, torch.Generator())
    torch.testing.assert_close(got, factor * images.sum(), rtol=1e-12, atol=0)
