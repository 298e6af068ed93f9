import math

import pytest
import torch
from torch import nn

from ganmix.evaluation.gan.latent import draw_latents, loop, paths, slerp
from ganmix.evaluation.gan.sampling import fitted_to


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("truncation", [None, 0.7])
def test_first_noises_do_not_depend_on_how_many_there_are(truncation):
    many = draw_latents(1000, 7, 3, truncation)
    assert many.shape == (1000, 7)
    assert many.dtype == torch.float32
    for num in (1, 64, 65):
        assert torch.equal(draw_latents(num, 7, 3, truncation), many[:num])
    assert not torch.equal(draw_latents(1000, 7, 4, truncation), many)


@pytest.mark.parametrize("truncation", [0.1, 0.5, 1.0, 2.0])
def test_truncated_noise_is_normal_noise_drawn_again_while_outside(truncation):
    drawn = draw_latents(2000, 100, 0, truncation).flatten()
    assert drawn.abs().max() <= truncation
    normal = noise(4_000_000, seed=1)
    inside = normal[normal.abs() < truncation][: len(drawn)]
    levels = torch.linspace(0.01, 0.99, 50)
    torch.testing.assert_close(drawn.quantile(levels), inside.quantile(levels), rtol=0, atol=0.02 * truncation)
    density = math.exp(-(truncation**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * truncation * density / math.erf(truncation / math.sqrt(2))
    assert drawn.var().item() == pytest.approx(variance, rel=0.02)
    assert drawn.mean().item() == pytest.approx(0, abs=0.01 * truncation)


def test_truncation_far_outside_is_none():
    drawn = draw_latents(2000, 100, 0, 40.0)
    assert drawn.isfinite().all()
    assert drawn.std().item() == pytest.approx(1, rel=0.01)
    assert 4 < drawn.abs().max() < 6


def test_slerp_starts_and_ends_where_it_should_at_any_lengths():
    start, end = noise(5, 8), 3 * noise(5, 8, seed=1)
    torch.testing.assert_close(slerp(start, end, torch.zeros(1)), start)
    torch.testing.assert_close(slerp(start, end, torch.ones(1)), end)


def test_slerp_runs_on_the_circle_at_an_even_speed():
    start, end = nn.functional.normalize(noise(2, 6), dim=-1)
    points = slerp(start, end, torch.linspace(0, 1, 9).unsqueeze(1))
    torch.testing.assert_close(points.norm(dim=1), torch.ones(9))
    cosines = (points[1:] * points[:-1]).sum(1)
    torch.testing.assert_close(cosines, cosines[:1].expand(8))
    angle = math.acos(float(start @ end))
    assert cosines[0].item() == pytest.approx(math.cos(angle / 8))


def test_slerp_between_right_angles_is_cosine_and_sine():
    start, end = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    found = slerp(start, end, torch.tensor([1 / 3]))
    torch.testing.assert_close(found, torch.tensor([2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]))


def test_slerp_between_parallel_vectors_is_the_straight_line():
    start = noise(4, 8)
    torch.testing.assert_close(slerp(start, start, torch.tensor([0.3])), start)
    torch.testing.assert_close(slerp(start, 2 * start, torch.tensor([0.25])), 1.25 * start)


def test_points_between_gaussian_noises_are_as_long_as_gaussian_noise():
    points = paths(noise(50, 512), noise(50, 512, seed=1), 11)
    assert points.shape == (50, 11, 512)
    lengths = points.norm(dim=2) / math.sqrt(512)
    assert lengths.mean(0).sub(1).abs().max() < 0.02  # in the middle of a straight line it would be 0.71


def test_paths_go_from_start_to_end():
    starts, ends = noise(3, 8), noise(3, 8, seed=1)
    found = paths(starts, ends, 5)
    torch.testing.assert_close(found[:, 0], starts)
    torch.testing.assert_close(found[:, -1], ends)
    torch.testing.assert_close(found.flip(1), paths(ends, starts, 5))


def test_loop_passes_its_stops_and_closes_without_a_jump():
    stops = noise(3, 2, 8)
    found = loop(stops, 10)
    assert found.shape == (30, 2, 8)
    torch.testing.assert_close(found[::10], stops)
    steps = (found - found.roll(1, 0)).norm(dim=2)
    longest = (stops - stops.roll(1, 0)).norm(dim=2).max()
    assert steps.max() < 0.25 * longest
    assert torch.all(steps[1::10] < steps[5::10])  # slower near a stop


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 5)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x):
        return self.norm(self.first(x))


def test_fitted_batch_norm_has_the_statistics_of_the_noise_and_the_original_keeps_its_own():
    generator = Generator().eval().requires_grad_(False)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    drawn = draw_latents(640, 8, 0, 0.3)
    fitted = fitted_to(generator, drawn)
    hidden = generator.first(drawn).unflatten(0, (10, 64))
    torch.testing.assert_close(fitted.norm.running_mean, hidden.mean((0, 1)))
    torch.testing.assert_close(fitted.norm.running_var, hidden.var(1).mean(0))
    assert not any(module.training for module in fitted.modules())
    assert {name for name, value in generator.state_dict().items() if not torch.equal(value, before[name])} == set()
    outputs = fitted(draw_latents(6400, 8, 1, 0.3))
    torch.testing.assert_close(outputs.std(0), torch.ones(5), rtol=0, atol=0.1)
    assert generator(drawn).std() < 0.5


def test_generator_without_batch_norm_is_itself():
    generator = nn.Linear(8, 5)
    assert fitted_to(generator, torch.zeros(64, 8)) is generator
