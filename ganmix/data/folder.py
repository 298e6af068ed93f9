"""A folder of image files of any size and format, read as one set of square images."""

import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from ganmix.data.images import ImageData
from ganmix.errors import UserError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class UnreadableImageError(UserError):
    """An image file cannot be read, and `skip_broken` is off."""


def read_folder(path: str | Path, *, resolution: int, channels: int = 3, skip_broken: bool = False) -> ImageData:
    """Read every image below a folder, in the order of the paths, without labels.

    Turn each image upright by its EXIF tag, lay it over white where it is transparent, resize it (Lanczos) so that its
    shorter side is `resolution`, and crop it around its centre. Scale 16-bit grey to 8 bits. Skip files and folders
    whose names begin with a dot.

    Args:
        path: the folder; its subfolders are read too.
        channels: 1 (grey, ITU-R 601 luma) or 3 (RGB).
        skip_broken: skip files that cannot be read, and print one line about them on stderr.

    Returns:
        Images uint8 [N, channels, resolution, resolution], named `folder:NAME`, split "train".

    Raises:
        ValueError: another number of channels.
        UserError: the folder cannot be read or has no image.
        UnreadableImageError: a file cannot be read, and `skip_broken` is off.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    folder = Path(path).expanduser()
    files = _find_images(folder)
    images = torch.empty(len(files), channels, resolution, resolution, dtype=torch.uint8)

    def read(index: int) -> str | None:
        """Fill `images[index]`, or return the reason for failure."""
        try:
            images[index] = _read_image(files[index], resolution, channels)
        except Exception as error:  # PIL raises a dozen kinds for damaged files, such as SyntaxError
            return " ".join((str(error) or type(error).__name__).split())
        return None

    Image.init()  # before the threads: they would race to load PIL's formats, and some would find a format unknown
    broken: dict[Path, str] = {}
    pool = ThreadPoolExecutor()  # threads suffice: PIL decodes and resizes without Python's lock
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL warns of odd metadata; only exceptions matter here
        reasons = tqdm(
            pool.map(read, range(len(files))),
            desc=f"reading {folder}",
            total=len(files),
            disable=len(files) <= 1000 or not sys.stderr.isatty(),
        )
        try:
            for file, reason in zip(files, reasons, strict=True):
                if reason is None:
                    continue
                if not skip_broken:
                    raise UnreadableImageError(f"{file} cannot be read: {reason}")
                broken[file] = reason
        finally:
            pool.shutdown(cancel_futures=True)  # an error or Ctrl-C does not wait for the remaining files

    if broken:
        first, reason = next(iter(broken.items()))
        summary = f"{len(broken)} of {len(files)} files that could not be read, first: {first} ({reason})"
        if len(broken) == len(files):
            raise UserError(f"{folder} has nothing but {summary}")
        print(f"skipped {summary}", file=sys.stderr)
        images = images[[file not in broken for file in files]]
    return ImageData(images, labels=None, name=f"folder:{folder.resolve().name}", split="train")


def _find_images(folder: Path) -> list[Path]:
    def stop(error: OSError) -> None:  # os.walk would skip unreadable folders silently
        raise error

    files: list[Path] = []
    try:
        for parent, subfolders, names in os.walk(folder, onerror=stop):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            images = [name for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith(".")]
            files += [Path(parent, name) for name in images]
    except OSError as error:
        raise UserError(f"folder {error.filename} cannot be read: {error.strerror}") from error
    if not files:
        raise UserError(f"folder {folder} has no image; looked for {', '.join(EXTENSIONS)}, in subfolders too")
    return sorted(files)


def _read_image(file: Path, resolution: int, channels: int) -> Tensor:
    """Read one image as uint8 [channels, resolution, resolution]."""
    with Image.open(file) as opened:
        image = _flatten(ImageOps.exif_transpose(opened)).convert("L" if channels == 1 else "RGB")
    # `fit` crops the largest centred square and then resizes it. Resizing first would give the same, but turn a strip
    # of 10 x 50,000 pixels into one of 256 x 1,280,000 on the way.
    square = ImageOps.fit(image, (resolution, resolution), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).view(resolution, resolution, channels).permute(2, 0, 1)


def _flatten(image: Image.Image) -> Image.Image:
    """Return the image without transparency, at 8 bits a channel."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is unknown")
    if image.mode.startswith("I"):  # 16-bit grey, which PIL may hold in 32 bits; `convert` would clip
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("grey levels outside 0..65535")
        return Image.fromarray(np.round(levels / 257).astype(np.uint8))  # 65535 = 257 * 255
    if image.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image
