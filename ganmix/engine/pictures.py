"""Pictures of bytes for people: strips, animations, and pages with captions."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import make_grid

from ganmix.engine.files import write_atomically

MARGIN = 16
GAP = 4  # between images of a page
BORDER = 6  # between those of a strip
BLOCK_GAP = 28  # between what stands under different headings
TEXT = 13  # pixels
LINE = 19  # from one line of text to the next
GREY = (110, 110, 110)


class Cell(NamedTuple):
    """An image, uint8 [C, R, R], and what stands below it."""

    image: Tensor
    caption: str


class Group(NamedTuple):
    """Rows of a page under a heading of their own; a row is a list of blocks, a block a list of cells."""

    heading: str
    rows: Sequence[Sequence[Sequence[Cell]]]


def enlarge(images: Tensor, side: int) -> Tensor:
    """Enlarge images, uint8 [N, C, R, R], by the whole factor that brings them nearest to `side` pixels; never shrink.

    Smooth, since a person reads an 8-pixel digit so, and not as a mosaic.
    """
    scale = max(1, round(side / images.shape[-1]))
    pixels = F.interpolate(images.float(), scale_factor=float(scale), mode="bicubic")
    return pixels.round().clamp(0, 255).to(torch.uint8)


def tile(images: Tensor, num_columns: int, side: int) -> Tensor:
    """Lay out images, uint8 [N, C, R, R], row by row as one uint8 image [3, H, W], each about `side` pixels wide."""
    return make_grid(enlarge(images, side), num_columns, padding=BORDER)


def write_animation(path: Path, frames: Sequence[Tensor], frames_per_second: int) -> None:
    """Write frames, uint8 [3, H, W] of one size, as a GIF that repeats for ever.

    Grey ones get 64 levels, which halves the file, and colours one palette for all frames, so that none flickers.
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
    path: Path, title: str, headings: Sequence[str], groups: Sequence[Group], notes: Sequence[str], side: int
) -> None:
    """Write a page of captioned images as PNG.

    Args:
        headings: one for each block, above all the rows.
        groups: one beneath the other; the rows of all have the same numbers of cells in their blocks.
        notes: lines at the foot.
        side: pixels that an image has about.
    """
    font, title_font = ImageFont.load_default(TEXT), ImageFont.load_default(TEXT + 3)
    blocks = [len(block) for block in groups[0].rows[0]]
    cell = enlarge(groups[0].rows[0][0][0].image[None], side).shape[-1]
    lefts = [MARGIN + sum(blocks[:i]) * (cell + GAP) + i * BLOCK_GAP for i in range(len(blocks))]
    num_rows = sum(len(group.rows) for group in groups)
    text_width = max(title_font.getlength(title), *(font.getlength(line) for line in notes))
    right_of_headings = max(left + font.getlength(text) for left, text in zip(lefts, headings, strict=True))
    width = round(max(lefts[-1] + blocks[-1] * (cell + GAP), MARGIN + text_width, right_of_headings)) + MARGIN
    height = 2 * MARGIN + num_rows * (cell + LINE + GAP) + (len(groups) * 2 + len(notes) + 4) * LINE
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN), title, "black", title_font)
    top = MARGIN + 2 * LINE
    for left, text in zip(lefts, headings, strict=True):
        draw.text((left, top), text, "black", font)
    top += LINE
    for group in groups:
        draw.text((MARGIN, top + LINE // 2), group.heading, GREY, font)
        top += 2 * LINE
        for row in group.rows:
            for left, block in zip(lefts, row, strict=True):
                for i, (image, caption) in enumerate(block):
                    x = left + i * (cell + GAP)
                    page.paste(_picture(enlarge(image[None], side)[0]), (x, top))
                    draw.text((x + cell // 2, top + cell + 2), caption, "black", font, anchor="ma")
            top += cell + LINE + GAP
    for i, line in enumerate(notes):
        draw.text((MARGIN, top + LINE + i * LINE), line, "black", font)
    buffer = io.BytesIO()
    page.save(buffer, "png")
    write_atomically(path, buffer.getbuffer())


def _picture(image: Tensor) -> Image.Image:
    """An image, uint8 [1 or 3, H, W], for Pillow."""
    return Image.fromarray((image[0] if len(image) == 1 else image.permute(1, 2, 0)).contiguous().numpy())
