import io
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.data import BatchOrder, ImageBatches, augment, random_crop, to_float, to_uint8

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


def test_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="a batch of 64 exceeds the 40 images"):
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


def crops_of_the_padded(images: Tensor, padding: int, mode: str) -> Tensor:
    """All crops there are [(2p + 1)^2, N, C, R, R], by padding and slicing."""
    side = images.shape[-1]
    padded = F.pad(images, [padding] * 4, mode=mode)
    starts = range(2 * padding + 1)
    return torch.stack([padded[:, :, y : y + side, x : x + side] for y in starts for x in starts])


@pytest.mark.parametrize(("reflect", "mode"), [(False, "constant"), (True, "reflect")])
@pytest.mark.parametrize("padding", [1, 2, 4])
def test_each_crop_is_a_slice_of_its_padded_image(padding: int, reflect: bool, mode: str):
    images = random_images(50, 3, 5, 5).float()
    crops = random_crop(images, padding, reflect=reflect, generator=generator())
    matches = (crops == crops_of_the_padded(images, padding, mode)).all(dim=(2, 3, 4))
    assert matches.any(0).all()
    assert len(matches.int().argmax(0).unique()) > 6  # of each image its own


@pytest.mark.parametrize("padding", [1, 2])
def test_all_shifts_are_equally_likely(padding: int):
    num = 5000
    images = torch.arange(1, 26.0).view(1, 1, 5, 5).repeat(num, 1, 1, 1)
    crops = random_crop(images, padding, reflect=False, generator=generator())
    counts = (crops == crops_of_the_padded(images, padding, "constant")).all(dim=(2, 3, 4)).sum(1)
    num_shifts = (2 * padding + 1) ** 2
    assert counts.sum() == num
    expected = num / num_shifts
    chi_square = ((counts - expected).square() / expected).sum().item()
    freedom = num_shifts - 1
    assert freedom / 10 < chi_square < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("reflect", [False, True])
def test_crop_has_the_shape_and_type_of_the_images_and_leaves_them_alone(reflect: bool, dtype: torch.dtype):
    images = random_images(6, 2, 4, 4).to(dtype)
    before = images.clone()
    crops = random_crop(images, 3, reflect=reflect, generator=generator())
    assert (crops.dtype, crops.shape) == (dtype, images.shape)
    assert torch.equal(images, before)


def test_crop_without_reflection_is_padded_with_black():
    images = torch.full((200, 1, 4, 4), 255, dtype=torch.uint8)
    black, reflected = (
        augment(images, flip=False, dequantise=False, crop_padding=2, padding=padding, generator=generator())
        for padding in ("black", "reflect")
    )
    assert black.unique().tolist() == [-1, 1]
    assert reflected.unique().tolist() == [1]


def test_augmentation_without_crop_draws_what_it_drew_before_there_were_crops():
    images, expected = random_images(20, 3, 4, 4), generator()
    mirrored = torch.rand(20, 1, 1, 1, generator=expected) < 0.5
    noise = torch.rand(20, 3, 4, 4, generator=expected)
    used = generator()
    result = augment(images, flip=True, dequantise=True, generator=used)
    assert torch.equal(result, (torch.where(mirrored, images.flip(3), images) + noise) / 128 - 1)
    assert torch.equal(used.get_state(), expected.get_state())


@pytest.mark.parametrize("padding", ["black", "reflect"])
def test_images_are_cropped_before_they_are_flipped_and_dequantised(padding: str):
    images, used = random_images(20, 3, 4, 4), generator()
    cropped = random_crop(images, 2, reflect=padding == "reflect", generator=used)
    expected = augment(cropped, flip=True, dequantise=True, generator=used)
    result = augment(images, flip=True, dequantise=True, crop_padding=2, padding=padding, generator=generator())
    assert torch.equal(result, expected)


@pytest.mark.parametrize("padding", ["black", "reflect"])
def test_batches_are_augmented_as_told_and_keep_their_labels(padding: str):
    images, labels = random_images(9, 3, 4, 4), torch.arange(9)
    options = {"flip": True, "dequantise": True, "crop_padding": 2, "padding": padding}
    batches = ImageBatches(
        images, labels, BatchOrder(9, 4, 1, "cpu"), partial(augment, generator=generator(), **options)
    )
    order, used = BatchOrder(9, 4, 1, "cpu"), generator()
    for _ in range(3):
        index = order.next()
        expected = augment(images[index], generator=used, **options)
        got, got_labels = batches.next()
        assert torch.equal(got, expected)
        assert torch.equal(got_labels, labels[index])
