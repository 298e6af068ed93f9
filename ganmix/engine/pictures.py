"""Pictures for people: grids, animations, and a page of images with captions."""

import io
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from ganmix.engine.files import write_atomically

GRID_SIDE = 512  # pixels that a square grid has at least
PAGE_SIDE = 64  # pixels that an image on a page is wide, about, where it is not larger
PAGE_GAP = 4

Row = Sequence[tuple[Tensor, Sequence[str]]]  # of a page: blocks of images, uint8 [K, C, R, R], and their K captions


def enlarge(images: Tensor, scale: int) -> Tensor:
    """Enlarge images smoothly, since people read an 8-pixel digit so more easily than as a mosaic.

    Args:
        images: uint8, or float in [-1, 1], [N, C, R, R] on any device.
        scale: 1 or more.

    Returns:
        uint8 [N, C, scale R, scale R] on the CPU.
    """
    pixels = F.interpolate(images.detach().float().cpu(), scale_factor=float(scale), mode="bicubic")
    if images.is_floating_point():
        pixels = (pixels.clamp(-1, 1) + 1) / 2 * 255
    return pixels.round().clamp(0, 255).to(torch.uint8)


def tile(images: Tensor, num_columns: int, scale: int, gap: int) -> Tensor:
    """Lay out images, enlarged as by `enlarge`, row by row, `gap` pixels apart, as one image uint8 [3, H, W]."""
    return make_grid(enlarge(images, scale), num_columns, padding=gap)


def square_grid(images: Tensor) -> Tensor:
    """Lay out images, as `tile` takes them, as nearly a square; enlarge them where it would be below `GRID_SIDE`."""
    num_columns = max(1, round(len(images) ** 0.5))
    return tile(images, num_columns, max(1, -(-GRID_SIDE // (num_columns * images.shape[-1]))), gap=2)


def write_png(path: Path, image: Tensor) -> None:
    """Write an image, uint8 [1 or 3, H, W]."""
    buffer = io.BytesIO()
    _picture(image).save(buffer, "png")
    write_atomically(path, buffer.getbuffer())


def write_pngs(folder: Path, images: Tensor) -> None:
    """Write images, uint8 [N, C, R, R], as 000000.png ..."""
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        _picture(image).save(folder / f"{index:06d}.png")


def write_npz(path: Path, images: Tensor) -> None:
    """Write images, uint8 [N, C, R, R], as the `arr_0`, uint8 [N, R, R, C], that evaluation suites read."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, arr_0=images.permute(0, 2, 3, 1).contiguous().numpy())
    temporary.replace(path)


def write_animation(path: Path, frames: Sequence[Tensor], frames_per_second: int) -> None:
    """Write frames, uint8 [3, H, W] of one size, as a GIF that repeats for ever.

    Grey frames get 64 levels, which halves the file. Coloured ones share one palette, so that none flickers.
    """
    if all(bool((frame == frame[:1]).all()) for frame in frames):
        pictures = [_picture(frame[:1] & 0xFC) for frame in frames]
    else:
        some = torch.cat(list(frames[:: max(1, len(frames) // 8)]), dim=1)[:, ::2, ::2]
        palette = _picture(some).quantize(256)
        pictures = [_picture(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    first, *others = pictures
    buffer = io.BytesIO()
    first.save(buffer, "gif", save_all=True, append_images=others, duration=1000 // frames_per_second, loop=0)
    write_atomically(path, buffer.getbuffer())


def write_page(
    path: Path, title: str, headings: Sequence[str], groups: Mapping[str, Sequence[Row]], notes: Sequence[str]
) -> None:
    """Write rows of images with captions as PNG.

    Args:
        headings: one above each block of images.
        groups: rows under a heading; all rows have the same numbers of images in their blocks.
        notes: lines at the foot.
    """
    from matplotlib.figure import Figure  # slow to import, and only a page needs it

    blocks = next(iter(groups.values()))[0]
    sizes, resolution = [len(images) for images, _ in blocks], blocks[0][0].shape[-1]
    scale = max(1, round(PAGE_SIDE / resolution))
    cell = scale * resolution + PAGE_GAP  # pixels
    lefts = list(accumulate([size + 0.4 for size in sizes[:-1]], initial=0.0))
    width, height = lefts[-1] + sizes[-1], sum(0.6 + 1.4 * len(rows) for rows in groups.values()) + 1.2
    figure = Figure((width * cell / 100, height * cell / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))  # in cells, downwards
    axes.axis("off")
    write = partial(axes.text, va="top", fontsize=9)
    write(0, 0, title, fontsize=12)
    for left, heading in zip(lefts, headings, strict=True):
        write(left, 0.6, heading)
    top = 1.0
    for heading, rows in groups.items():
        write(0, top + 0.2, heading, color="dimgrey")
        top += 0.6
        for row in rows:
            for left, (images, captions) in zip(lefts, row, strict=True):
                strip = torch.cat([*F.pad(enlarge(images, scale), (0, PAGE_GAP), value=255)], dim=2)
                place = (left, left + len(images), top + strip.shape[1] / cell, top)
                axes.imshow(_picture(strip).convert("RGB"), extent=place, interpolation="bilinear", aspect="auto")
                for x, caption in enumerate(captions):
                    write(left + x + 0.47, top + 1, caption, ha="center")
            top += 1.4
    write(0, top + 0.1, "\n".join(notes), linespacing=1.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, bbox_inches="tight", pad_inches=0.16)
    write_atomically(path, buffer.getbuffer())


def _picture(image: Tensor) -> Image.Image:
    """Return an image, uint8 [1 or 3, H, W], for Pillow."""
    return Image.fromarray((image[0] if len(image) == 1 else image.permute(1, 2, 0)).contiguous().numpy())
