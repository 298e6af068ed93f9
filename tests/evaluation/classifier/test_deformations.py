import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch
from score_values import values_of
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision

from ganmix.data import ImageData, to_float
from ganmix.evaluation.classifier import accuracy
from ganmix.evaluation.classifier.deformations import (
    DEFORMATIONS,
    deform,
    deformation_scores,
    resample,
    rotation,
    shear,
    zoom,
)

CPU = torch.device("cpu")
every_deformation = pytest.mark.parametrize("name", DEFORMATIONS)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(num=5, channels=2, side=9):
    return to_float(torch.randint(256, (num, channels, side, side), dtype=torch.uint8, generator=seeded()))


def each(matrices, amount, num=5):
    """The matrices of one amount for all images."""
    return matrices(torch.full((num,), float(amount), dtype=torch.float64))


def by_scipy(images, matrix):
    """Read each channel at matrix [2, 2] times (row, column) from the centre, black outside."""
    centre = np.full(2, (images.shape[-1] - 1) / 2)
    offset = centre - matrix @ centre
    options = {"order": 1, "mode": "grid-constant", "cval": -1}
    channels = [scipy.ndimage.affine_transform(c.numpy(), matrix, offset, **options) for c in images.flatten(0, 1)]
    return torch.from_numpy(np.stack(channels)).view_as(images)


def authors_matrix(name, amount):
    """Of the authors' affine_transforms.py, in (row, column)."""
    angle = math.radians(amount)
    if name.startswith("rotation"):
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    if name.startswith("shear"):
        return np.array([[1, -math.sin(angle)], [0, math.cos(angle)]])
    return np.diag([amount / 100, amount / 100])


def amounts(name, num, seed=0):
    uniform = torch.rand(num, generator=seeded(seed), dtype=torch.float64)
    most = float(name.split()[-1])
    return torch.full((num,), most) if name.startswith("zoom") else most * (2 * uniform - 1)


def test_the_table_has_the_paper_s_rows():
    rotations = [f"rotation {degrees}" for degrees in (20, 40, 60, 80)]
    shears = [f"shear {degrees}" for degrees in (28.6, 57.3, 114.6, 143.2, 171.9)]
    zooms = [f"zoom in {percent}" for percent in (20, 40, 60, 80)]
    zooms += [f"zoom out {percent}" for percent in (120, 140, 160, 180)]
    assert list(DEFORMATIONS) == rotations + shears + zooms


@every_deformation
def test_deformation_is_the_authors_with_scipy_s_interpolation(name):
    images = random_images()
    found = deform(images, DEFORMATIONS[name], seeded(4))
    for n, amount in enumerate(amounts(name, 5, seed=4).tolist()):
        sign = -1 if name.startswith("rotation") else 1  # the authors' turn clockwise; the range is symmetric
        expected = by_scipy(images[n : n + 1], authors_matrix(name, sign * amount))
        torch.testing.assert_close(found[n : n + 1], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("degrees", [-170, -80, -13.7, 20, 45, 90, 135])
def test_rotation_is_torchvision_s(degrees):
    images = random_images(side=8)
    expected = torchvision.rotate(images + 1, degrees, InterpolationMode.BILINEAR) - 1
    torch.testing.assert_close(resample(images, each(rotation, degrees)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("percent", [20, 60, 80, 140, 180])
def test_zoom_is_torchvision_s_scale(percent):
    images = random_images(side=8)
    options = {"angle": 0, "translate": [0, 0], "shear": [0, 0], "interpolation": InterpolationMode.BILINEAR}
    expected = torchvision.affine(images + 1, scale=100 / percent, **options) - 1
    torch.testing.assert_close(resample(images, each(zoom, percent)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [8, 9])
def test_quarter_turns_move_pixels_without_mixing_them(side):
    images = random_images(side=side)
    for turns in (1, 2, 3):
        turned = resample(images, each(rotation, 90 * turns))
        torch.testing.assert_close(turned, torch.rot90(images, turns, (2, 3)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("matrices", "amount"), [(rotation, 0), (shear, 0), (zoom, 100)])
def test_no_deformation_leaves_images_as_they_are(matrices, amount):
    images = random_images()
    torch.testing.assert_close(resample(images, each(matrices, amount)), images, rtol=0, atol=1e-6)


def test_shear_past_a_right_angle_mirrors():
    images = random_images()
    torch.testing.assert_close(resample(images, each(shear, 180)), images.flip(3), rtol=0, atol=1e-5)
    past = resample(images.flip(3), each(shear, 150))
    torch.testing.assert_close(past, resample(images, each(shear, 30)), rtol=0, atol=1e-5)


def test_shear_slides_columns_by_the_sine():
    """At 90 degrees every column shows the middle one, slid by its distance from it."""
    images = random_images(side=7)
    found = resample(images, each(shear, 90))
    middle = images[:, :, :, 3]
    torch.testing.assert_close(found[:, :, :, 3], middle, rtol=0, atol=1e-5)
    torch.testing.assert_close(found[:, :, 2:, 5], middle[:, :, :-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[:, :, :-2, 1], middle[:, :, 2:], rtol=0, atol=1e-5)
    torch.testing.assert_close(found[:, :, :2, 5], torch.full((5, 2, 2), -1.0), rtol=0, atol=1e-5)


def test_zoom_in_by_half_enlarges_the_central_half():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) / 10
    found = resample(ramp, each(zoom, 50, num=1))
    expected = (torch.arange(8) * 0.5 + 1.75) / 10  # from the centre of column 1.75 to that of 5.25
    torch.testing.assert_close(found, expected.expand(1, 1, 8, 8), rtol=0, atol=1e-6)


def test_zoom_out_to_twice_the_sides_is_a_small_image_in_black():
    images = random_images(side=8)
    found = resample(images, each(zoom, 200))
    halved = torch.nn.functional.avg_pool2d(images, 2)  # bilinear between four pixels' centres
    torch.testing.assert_close(found[:, :, 2:6, 2:6], halved, rtol=0, atol=1e-6)
    frame = torch.ones(8, 8, dtype=torch.bool)
    frame[2:6, 2:6] = False
    assert torch.all(found[:, :, frame] == -1)


@every_deformation
def test_deformed_images_stay_in_range(name):
    white = torch.ones(50, 1, 8, 8)
    found = deform(white, DEFORMATIONS[name], seeded())
    assert found.min() >= -1
    assert found.max() <= 1 + 1e-6
    torch.testing.assert_close(deform(-white, DEFORMATIONS[name], seeded()), -white, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "matrices"), [("rotation 60", rotation), ("shear 114.6", shear)])
def test_angles_are_uniform_in_both_directions(name, matrices):
    most, images = float(name.split()[1]), torch.zeros(4000, 1, 2, 2)
    seen = []
    spied = replace(DEFORMATIONS[name], matrices=lambda drawn: seen.append(drawn) or matrices(drawn))
    deform(images, spied, seeded())
    levels = torch.linspace(0, 1, 9, dtype=torch.float64)
    assert (DEFORMATIONS[name].low, DEFORMATIONS[name].high) == (-most, most)
    torch.testing.assert_close(seen[0].quantile(levels), most * (2 * levels - 1), rtol=0, atol=0.05 * most)


def digit_like(num=230):
    pixels = torch.randint(256, (num, 1, 6, 6), dtype=torch.uint8, generator=seeded())
    return ImageData(pixels, torch.randint(3, (num,), generator=seeded(1)), "made", "test")


def predict(images):
    weight = torch.randn(36, 3, generator=seeded(2))
    return images.flatten(1) @ weight


def test_scores_are_accuracies_on_the_deformed_images():
    data = digit_like()
    found = values_of(deformation_scores(predict, data, CPU, seed=5))
    assert list(found) == list(DEFORMATIONS)
    for name, score in found.items():
        deformed = deform(to_float(data.images), DEFORMATIONS[name], seeded(5))
        expected = 100 * (predict(deformed).argmax(1) == data.labels).float().mean().item()
        assert score == pytest.approx(expected)


def test_scores_depend_on_the_seed_and_not_on_the_batch(monkeypatch):
    data = digit_like()
    expected = values_of(deformation_scores(predict, data, CPU, seed=0))
    other = values_of(deformation_scores(predict, data, CPU, seed=1))
    monkeypatch.setattr(accuracy, "BATCH", 37)
    assert values_of(deformation_scores(predict, data, CPU, seed=0)) == expected
    assert all((other[name] == expected[name]) == name.startswith("zoom") for name in DEFORMATIONS)
