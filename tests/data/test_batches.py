import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from ganmix.data import BatchOrder, augment, to_float, to_uint8
from ganmix.errors import UserError

LEVELS = torch.arange(256, dtype=torch.uint8)


def random_images(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_epoch_is_a_fresh_permutation_without_repeats():
    order = BatchOrder(12, 4, seed=0, device="cpu")
    epochs = [torch.cat([order.next() for _ in range(3)]) for _ in range(5)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(12))
    for epoch, following in pairwise(epochs):
        assert not torch.equal(epoch, following)


def test_last_partial_batch_is_dropped():
    order = BatchOrder(11, 4, seed=0, device="cpu")
    for _ in range(5):
        epoch = torch.cat([order.next(), order.next()])
        assert epoch.shape == (8,)
        assert epoch.dtype == torch.int64
        assert len(epoch.unique()) == 8


def test_images_dropped_in_one_epoch_are_drawn_in_others():
    order = BatchOrder(11, 4, seed=0, device="cpu")
    drawn = torch.cat([order.next() for _ in range(40)])
    assert len(drawn.unique()) == 11


def test_seed_alone_decides_the_order():
    def batches(seed: int) -> Tensor:
        order = BatchOrder(100, 10, seed, device="cpu")
        torch.rand(1)  # the global generator has no part in it
        return torch.stack([order.next() for _ in range(25)])

    assert torch.equal(batches(1), batches(1))
    assert not torch.equal(batches(1), batches(2))


@pytest.mark.parametrize("num_drawn", range(8))
def test_resuming_at_any_point_continues_exactly(num_drawn: int):
    order = BatchOrder(11, 4, seed=3, device="cpu")
    for _ in range(num_drawn):
        order.next()
    file = io.BytesIO()
    torch.save(order.state_dict(), file)
    expected = [order.next() for _ in range(7)]

    file.seek(0)
    resumed = BatchOrder(11, 4, seed=99, device="cpu")
    resumed.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close([resumed.next() for _ in range(7)], expected)


def test_batch_larger_than_the_data_is_the_users_error():
    with pytest.raises(UserError, match=r"data has 40 images, fewer than training\.batch_size 64"):
        BatchOrder(40, 64, seed=0, device="cpu")


def test_all_levels_survive_the_way_to_float_and_back():
    floats = to_float(LEVELS)
    assert floats.dtype == torch.float32
    assert floats[0] == -1
    assert floats[-1] == 1
    assert torch.equal(to_uint8(floats), LEVELS)


def test_to_uint8_rounds_to_the_nearest_level():
    nearly_a_half = 0.49 / 127.5
    inner = to_float(LEVELS[1:-1])
    assert torch.equal(to_uint8(inner + nearly_a_half), LEVELS[1:-1])
    assert torch.equal(to_uint8(inner - nearly_a_half), LEVELS[1:-1])


def test_to_uint8_clamps_what_lies_outside():
    assert to_uint8(torch.tensor([-7.0, -1.01, 1.01, 7.0])).tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(("quantisation", "by_numpy"), [("round", np.round), ("truncate", np.floor)])
def test_quantisation_is_numpys(quantisation: str, by_numpy: np.ufunc):
    values = torch.empty(50_000).uniform_(-1.2, 1.2, generator=generator())
    halves = torch.arange(-2, 258).repeat_interleave(2).div(2).sub(127.5).div(127.5)  # levels and what lies between
    values = torch.cat([values, halves, torch.tensor([-1.0, 1.0, 0.0])])
    levels = np.clip(values.numpy() * np.float32(127.5) + np.float32(127.5), 0, 255)
    found = to_uint8(values, quantisation)
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.numpy(), by_numpy(levels).astype(np.uint8))


def test_to_uint8_rounds_unless_told_otherwise():
    values = torch.empty(1000).uniform_(-1, 1, generator=generator())
    rounded, truncated = to_uint8(values, "round"), to_uint8(values, "truncate")
    assert torch.equal(to_uint8(values), rounded)
    darker = rounded.int() - truncated.int()
    assert darker.unique().tolist() == [0, 1]
    torch.testing.assert_close(darker.double().mean().item(), 0.5, atol=0.08, rtol=0)  # half a level


def test_augment_without_options_only_converts():
    images = random_images(5, 3, 4, 4)
    result = augment(images, flip=False, dequantise=False, generator=generator())
    assert torch.equal(result, to_float(images))


def test_flip_mirrors_about_half_of_the_images_and_does_nothing_else():
    images = random_images(1000, 1, 2, 5)
    result = to_uint8(augment(images, flip=True, dequantise=False, generator=generator()))
    kept = (result == images).all(dim=(1, 2, 3))
    mirrored = (result == images.flip(3)).all(dim=(1, 2, 3))
    assert (kept | mirrored).all()
    assert 420 < mirrored.sum() < 580  # five standard deviations about 500


def test_dequantised_value_stays_within_its_grey_level():
    images = LEVELS.repeat(100).view(100, 1, 16, 16)
    result = augment(images, flip=False, dequantise=True, generator=generator())
    noise = (result + 1) * 128 - images
    assert result.dtype == torch.float32
    assert result.min() >= -1
    assert result.max() <= 1
    assert noise.min() >= 0
    assert noise.max() <= 1  # not < 1: beside 255, a u of almost 1 rounds to 1
    torch.testing.assert_close(noise.mean(), torch.tensor(0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(noise.var(), torch.tensor(1 / 12), atol=0.001, rtol=0)


def test_generator_alone_decides_the_augmentation():
    images = random_images(20, 3, 4, 4)
    first, same, other = (augment(images, flip=True, dequantise=True, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
