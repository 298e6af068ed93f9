import copy

import pytest
import torch
from torch import nn

from ganmix.evaluation.gan import sampling
from ganmix.evaluation.gan.features import PASS
from ganmix.evaluation.gan.sampling import STANDING_PASSES, draw_noise, generate, with_batch_norm

MODES = ("running", "batch", "standing")
SIZE = 3


class NormedNoise(nn.Module):
    """Noise, shifted and stretched, through one batch norm: its statistics can be told in closed form."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.0, 0.5, 1.0]))
        self.norm = nn.BatchNorm1d(SIZE, eps=1e-12, affine=False)
        self.norm.running_mean.copy_(torch.tensor([1.0, 0.0, -1.0]))
        self.norm.running_var.copy_(torch.tensor([4.0, 1.0, 0.25]))
        self.norm.num_batches_tracked.fill_(50)  # as after a training
        self.dropout = nn.Dropout(0.5)

    def before_norm(self, noise):
        return noise * self.scale + 3

    def forward(self, noise):
        return self.dropout(self.norm(self.before_norm(noise)))


@pytest.fixture
def generator():
    return NormedNoise().train()


def state_of(generator):
    modes = {name: module.training for name, module in generator.named_modules()}
    return copy.deepcopy(generator.state_dict()), modes


def assert_same_state(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0)
    assert found[1] == expected[1]


def test_the_first_noise_is_the_same_whatever_the_number():
    for size in (1, 3, 8, 62):
        longest = draw_noise(5 * PASS, size, seed=4)
        for num in (1, 5, PASS - 1, PASS, PASS + 1, 3 * PASS):
            assert torch.equal(draw_noise(num, size, seed=4), longest[:num])
    assert not torch.equal(draw_noise(5, 3, seed=5), draw_noise(5, 3, seed=4))


def test_noise_is_standard_normal_and_leaves_the_random_state():
    random_state = torch.get_rng_state()
    noise = draw_noise(20_000, 2, seed=0)
    torch.testing.assert_close(noise.mean(0), torch.zeros(2), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(noise.T), torch.eye(2), atol=0.04, rtol=0)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_images_are_generated_in_eval_mode_and_the_modes_are_put_back(generator):
    generator.norm.eval()  # some modules in one mode, some in the other
    before = state_of(generator)
    noise = draw_noise(PASS + 7, SIZE, seed=0)
    images = generate(generator, noise)
    mean, var = generator.norm.running_mean, generator.norm.running_var
    torch.testing.assert_close(images, (generator.before_norm(noise) - mean) / var.sqrt())
    assert not images.requires_grad
    assert_same_state(state_of(generator), before)


def test_modes_are_put_back_where_generating_fails(generator, monkeypatch):
    before = state_of(generator)
    with pytest.raises(RuntimeError):
        generate(generator, torch.zeros(2, SIZE + 1))
    assert_same_state(state_of(generator), before)


def test_running_is_the_generator_itself(generator):
    assert with_batch_norm(generator, "running", SIZE, seed=0) is generator


def test_batch_normalises_each_pass_by_itself(generator):
    sampled = with_batch_norm(generator, "batch", SIZE, seed=0)
    images = generate(sampled, draw_noise(3 * PASS, SIZE, seed=1))
    for part in images.split(PASS):
        torch.testing.assert_close(part.mean(0), torch.zeros(SIZE), atol=1e-5, rtol=0)
        torch.testing.assert_close(part.var(0, correction=0), torch.ones(SIZE))


def test_standing_statistics_are_means_over_the_passes_of_their_own_noise(generator):
    sampled = with_batch_norm(generator, "standing", SIZE, seed=5)
    passes = generator.before_norm(draw_noise(STANDING_PASSES * PASS, SIZE, seed=5)).view(STANDING_PASSES, PASS, SIZE)
    assert STANDING_PASSES == 100
    torch.testing.assert_close(sampled.norm.running_mean, passes.mean((0, 1)))
    torch.testing.assert_close(sampled.norm.running_var, passes.var(1).mean(0))  # unbiased, as torch's are
    noise = draw_noise(PASS, SIZE, seed=1)
    expected = (generator.before_norm(noise) - passes.mean((0, 1))) / passes.var(1).mean(0).sqrt()
    torch.testing.assert_close(generate(sampled, noise), expected)


def test_standing_knows_its_seed_alone(generator):
    first, same, other = (with_batch_norm(generator, "standing", SIZE, seed).norm for seed in (5, 5, 6))
    assert torch.equal(first.running_mean, same.running_mean)
    assert not torch.equal(first.running_mean, other.running_mean)


@pytest.mark.parametrize("mode", MODES)
def test_the_given_generator_is_untouched(generator, mode, monkeypatch):
    monkeypatch.setattr(sampling, "STANDING_PASSES", 2)
    generator.dropout.eval()
    before, random_state = state_of(generator), torch.get_rng_state()
    sampled = with_batch_norm(generator, mode, SIZE, seed=0)
    generate(sampled, draw_noise(PASS, SIZE, seed=0))
    assert_same_state(state_of(generator), before)
    assert generator.norm.momentum == 0.1
    assert generator.norm.track_running_stats
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("mode", MODES)
def test_a_generator_without_batch_norm_is_the_same_in_every_mode(mode, monkeypatch):
    monkeypatch.setattr(sampling, "STANDING_PASSES", 2)
    linear = nn.Linear(SIZE, SIZE).eval()
    noise = draw_noise(PASS, SIZE, seed=0)
    assert torch.equal(generate(with_batch_norm(linear, mode, SIZE, seed=0), noise), generate(linear, noise))


def test_batch_norm_inside_images_is_found_too(monkeypatch):
    monkeypatch.setattr(sampling, "STANDING_PASSES", 3)
    inner = nn.Sequential(nn.Unflatten(1, (3, 1, 1)), nn.Sequential(nn.BatchNorm2d(3)))
    inner.register_parameter("unused", nn.Parameter(torch.zeros(())))
    (norm,) = (m for m in with_batch_norm(inner, "standing", SIZE, 0).modules() if isinstance(m, nn.BatchNorm2d))
    passes = draw_noise(3 * PASS, SIZE, 0).view(3, PASS, SIZE)
    torch.testing.assert_close(norm.running_mean, passes.mean((0, 1)))
    torch.testing.assert_close(norm.running_var, passes.var(1).mean(0))


def test_another_mode_is_our_mistake(generator):
    with pytest.raises(ValueError, match="running, batch or standing, got 'running_mean'"):
        with_batch_norm(generator, "running_mean", SIZE, seed=0)
