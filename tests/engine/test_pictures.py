import math

import numpy as np
import pytest
import torch
from PIL import Image

from ganmix.engine.pictures import enlarge, square_grid, tile, write_page


def made_images(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1, 3])
def test_bytes_and_floats_are_enlarged_alike(scale):
    images = made_images(2, 3, 8, 8)
    found = enlarge(images, scale)
    assert found.shape == (2, 3, 8 * scale, 8 * scale)
    assert found.dtype == torch.uint8
    torch.testing.assert_close(enlarge(images.float() / 127.5 - 1, scale).int(), found.int(), atol=1, rtol=0)


def test_a_middle_pixel_of_an_enlarged_one_is_nearly_what_it_was():
    images = (torch.arange(64.0).view(1, 1, 8, 8) * 4).to(torch.uint8)
    found = enlarge(images, 3)[:, :, 1::3, 1::3]
    torch.testing.assert_close(found, images)


def test_tiles_lie_row_by_row_with_gaps():
    images = made_images(3, 1, 4, 4)
    found = tile(images, 2, 1, gap=5)
    assert found.shape == (3, 23, 23)
    torch.testing.assert_close(found[:, 5:9, 14:18], images[1].expand(3, 4, 4))
    torch.testing.assert_close(found[:, 14:18, 5:9], images[2].expand(3, 4, 4))
    assert found[:, :5].max() == 0


@pytest.mark.parametrize(("num", "channels", "side"), [(1, 1, 8), (4, 1, 8), (6, 3, 32), (64, 3, 32), (64, 3, 128)])
def test_grid_holds_every_image_at_whole_multiples_of_its_size(num, channels, side):
    grid = square_grid(torch.zeros(num, channels, side, side))
    columns = round(num**0.5)
    rows = math.ceil(num / columns)
    scale = max(1, math.ceil(512 / (columns * side)))
    frame = 2 if num > 1 else 0
    assert grid.dtype == torch.uint8
    assert grid.shape == (3, *[count * (side * scale + frame) + frame for count in (rows, columns)])
    assert grid.shape[2] >= 512


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 32), (3, 128)])
def test_page_shows_every_image_in_its_place_at_its_size_or_more(tmp_path, channels, side):
    grey = [40, 90, 140, 190]
    first, second, third, fourth = (torch.full((channels, side, side), level, dtype=torch.uint8) for level in grey)
    rows = {
        "one:": [[(first[None], "a"), (torch.stack([second, third]), "bc")]],
        "two:": [[(fourth[None], "d"), (torch.stack([first, first]), "ef")]],
    }
    write_page(tmp_path / "page.png", "title", ["left", "right"], rows, ["a note"])
    with Image.open(tmp_path / "page.png") as image:
        page = np.array(image.convert("L"))
    shown = max(64, side)
    areas = {level: np.argwhere(page == level) for level in grey}
    for level, count in zip(grey, (3, 1, 1, 1), strict=True):
        assert len(areas[level]) == pytest.approx(count * shown**2, rel=0.05)
    y, x = ({level: np.median(area[:, i]) for level, area in areas.items()} for i in (0, 1))
    assert x[190] < x[90] - shown
    assert x[90] == pytest.approx(x[140] - (shown + 4), abs=1)
    assert y[90] == pytest.approx(y[140], abs=1)
    assert y[90] < y[190] - shown


def test_page_is_wide_enough_for_its_longest_line(tmp_path):
    image = made_images(1, 8, 8)
    widths = []
    for note in ("short", "long " * 100):
        write_page(tmp_path / "page.png", "title", ["image"], {"group:": [[(image[None], [""])]]}, [note])
        with Image.open(tmp_path / "page.png") as page:
            widths.append(page.width)
    assert widths[1] > 500 > widths[0]
