"""A folder of image files of any size and kind, read as one square set of images."""

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
    """A file among the images cannot be read, and `skip_broken` is off."""


def read_folder(path: str | Path, *, resolution: int, channels: int = 3, skip_broken: bool = False) -> ImageData:
    """Read every image below a folder, in the order of the paths, without labels.

    Each image is turned upright by its EXIF tag, laid over white where transparent, resized (Lanczos) so that
    its shorter side is `resolution`, and cropped about its centre. 16-bit grey is scaled to 8 bits. Files and
    folders whose names begin with a dot are passed over.

    Args:
        path: the folder; its subfolders are read too.
        resolution: R, the images' height and width.
        channels: 1 (grey, ITU-R 601 luma) or 3 (RGB).
        skip_broken: pass over files that cannot be read, and say so in one line on stderr.

    Returns:
        Images uint8 [N, channels, R, R], named `folder:NAME`, split "train".

    Raises:
        ValueError: another number of channels.
        UserError: the folder cannot be read or has no image.
        UnreadableImageError: a file cannot be read and is not to be skipped.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    folder = Path(path).expanduser()
    files = _find_images(folder)
    images = torch.empty(len(files), channels, resolution, resolution, dtype=torch.uint8)

    def read(index: int) -> str | None:
        """Fill `images[index]`, or return the reason why not."""
        try:
            images[index] = _read_image(files[index], resolution, channels)
        except Exception as error:  # for damaged files PIL raises a dozen kinds, SyntaxError among them
            return " ".join((str(error) or type(error).__name__).split())
        return None

    Image.init()  # left to the threads, the loading of PIL's formats is a race: some files would be unknown
    broken: dict[Path, str] = {}
    pool = ThreadPoolExecutor()  # threads suffice: PIL decodes and resizes outside Python's lock
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL's remarks on odd metadata; what matters to us is an exception
        reasons = tqdm(
            pool.map(read, range(len(files))),
            desc=f"reading {folder}",
            total=len(files),
            disable=len(files) <= 1000 or not sys.stderr.isatty(),
        )
        try:
            for file, reason in zip(files, reasons, strict=True):
                if reason is not None and not skip_broken:
                    raise UnreadableImageError(f"{file} cannot be read: {reason}")
                if reason is not None:
                    broken[file] = reason
        finally:
            pool.shutdown(cancel_futures=True)  # an error or Ctrl-C does not wait for the rest of the files

    if broken:
        first, reason = next(iter(broken.items()))
        summary = f"{len(broken)} of {len(files)} files that could not be read, first: {first} ({reason})"
        if len(broken) == len(files):
            raise UserError(f"{folder} has nothing but {summary}")
        print(f"skipped {summary}", file=sys.stderr)
        images = images[[file not in broken for file in files]]
    return ImageData(images, labels=None, name=f"folder:{folder.resolve().name}", split="train")


def _find_images(folder: Path) -> list[Path]:
    def stop(error: OSError) -> None:  # os.walk would pass over what it may not read
        raise error

    files = []
    try:
        for parent, subfolders, names in os.walk(folder, onerror=stop):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            files += [
                Path(parent, name) for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
            ]
    except OSError as error:
        raise UserError(f"folder {error.filename} cannot be read: {error.strerror}") from error
    if not files:
        raise UserError(f"folder {folder} has no image; looked for {', '.join(EXTENSIONS)}, in subfolders too")
    return sorted(files)


def _read_image(file: Path, resolution: int, channels: int) -> Tensor:
    """Read one image as uint8 [channels, resolution, resolution]."""
    with Image.open(file) as opened:
        image = _flatten(ImageOps.exif_transpose(opened)).convert("L" if channels == 1 else "RGB")
    # `fit` takes the largest centred square and resizes that: what resizing and then cropping gives, but a
    # strip of 10 x 50,000 pixels does not become one of 256 x 1,280,000 on the way.
    square = ImageOps.fit(image, (resolution, resolution), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).view(resolution, resolution, channels).permute(2, 0, 1)


def _flatten(image: Image.Image) -> Image.Image:
    """Return the image without transparency, at 8 bits a channel."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is unknown")
    if image.mode.startswith("I"):  # 16-bit grey, some kinds of which PIL holds in 32 bits; `convert` would clip
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError("grey levels outside 0..65535")
        return Image.fromarray(np.round(levels / 257).astype(np.uint8))  # 65535 = 257 * 255
    if image.has_transparency_data:
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image
