"""The data sets known by name: each is read whole, at its native resolution, by a function in `DATASETS`."""

import difflib
import gzip
import math
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.data.images import ImageData, resize, set_channels
from ganmix.errors import UserError

SPLITS = ("train", "test")
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def load_images(
    name: str,
    split: str = "train",
    *,
    root: str | Path = "data",
    resolution: int | None = None,
    channels: int | None = None,
) -> ImageData:
    """Read a data set by name, downloading it into `root` where it is not there yet.

    Args:
        name: a key of `DATASETS`.
        split: "train" or "test".
        root: the folder that holds, or will hold, the data sets' files.
        resolution: resize to this height and width; None keeps the native resolution.
        channels: 1 (grey) or 3 (RGB); None keeps the native number.

    Returns:
        The images in the files' order, with their labels.

    Raises:
        UserError: unknown name or split; files that are damaged, or absent and out of reach.
    """
    _check_choice("data set", name, DATASETS)
    _check_choice("split", split, SPLITS)
    try:
        data = DATASETS[name](Path(root).expanduser(), split)
    except OSError as error:  # such as a folder without permission
        raise UserError(f"data set {name}: {error.filename} cannot be read: {error.strerror}") from error
    images = data.images
    if channels is not None:
        images = set_channels(images, channels)
    if resolution is not None:
        images = resize(images, resolution)
    return replace(data, images=images)


def _check_choice(what: str, value: str, known: Iterable[str]) -> None:
    if value in known:
        return
    nearest = difflib.get_close_matches(value, known, n=1)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    raise UserError(f"{what} must be one of {', '.join(known)}, got {value!r}{hint}")


def _read_digits(root: Path, split: str) -> ImageData:
    """UCI's 8x8 digits, which scikit-learn brings along without a split: every fifth is for test here."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    is_test = np.arange(len(digits.images)) % 5 == 4
    chosen = is_test if split == "test" else ~is_test
    grey = np.round(digits.images[chosen] * (255 / 16)).astype(np.uint8)  # grey levels are 0..16
    labels = torch.from_numpy(digits.target[chosen].astype(np.int64))
    return ImageData(torch.from_numpy(grey).unsqueeze(1), labels, "digits", split)


def _read_mnist(root: Path, split: str) -> ImageData:
    from torchvision.datasets import MNIST

    raw = root / "MNIST" / "raw"
    files = _idx_files(raw, split)
    if not _all_exist(files):
        _open_torchvision("mnist", MNIST, root, raw, MNIST.resources)
    return _read_idx_pair("mnist", split, *files)


def _read_fashion_mnist(root: Path, split: str) -> ImageData:
    from torchvision.datasets import MNIST, FashionMNIST
    from torchvision.datasets.utils import check_integrity

    folder, raw = root / "fashion-mnist", root / "FashionMNIST" / "raw"
    packed = [_idx_files(place, split, ".gz") for place in (folder, root, DEBIAN_FASHION_MNIST)]
    # MNIST's files have the same names and may lie in `root` too: known by their sums, they are passed over.
    mnist_md5 = dict(MNIST.resources)
    candidates = [files for files in packed if not check_integrity(files[1], mnist_md5[files[1].name])]
    candidates.append(_idx_files(raw, split))
    found = [files for files in candidates if _all_exist(files)]
    if not found:
        advice = ", or install Debian's package dataset-fashion-mnist"
        _open_torchvision("fashion_mnist", FashionMNIST, root, folder, FashionMNIST.resources, advice)
        found = candidates[-1:]
    return _read_idx_pair("fashion_mnist", split, *found[0])


def _read_cifar10(root: Path, split: str) -> ImageData:
    from torchvision.datasets import CIFAR10

    return _read_cifar("cifar10", CIFAR10, root, split)


def _read_cifar100(root: Path, split: str) -> ImageData:
    from torchvision.datasets import CIFAR100

    return _read_cifar("cifar100", CIFAR100, root, split)


def _read_cifar(name: str, dataset_class: Any, root: Path, split: str) -> ImageData:
    archive = [(dataset_class.filename, dataset_class.tgz_md5)]
    dataset = _open_torchvision(name, dataset_class, root, root, archive, train=split == "train")
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()  # torchvision has [N, H, W, C]
    return ImageData(images, torch.tensor(dataset.targets), name, split)


def _read_svhn(root: Path, split: str) -> ImageData:
    from torchvision.datasets import SVHN

    _, filename, md5 = SVHN.split_list[split]
    dataset = _open_torchvision("svhn", SVHN, root, root, [(filename, md5)], split=split)
    images = torch.from_numpy(np.ascontiguousarray(dataset.data))
    return ImageData(images, torch.from_numpy(dataset.labels), "svhn", split)


DATASETS: dict[str, Callable[[Path, str], ImageData]] = {
    "digits": _read_digits,
    "fashion_mnist": _read_fashion_mnist,
    "mnist": _read_mnist,
    "cifar10": _read_cifar10,
    "cifar100": _read_cifar100,
    "svhn": _read_svhn,
}

SHAPES = {  # channels, pixels a side, as read without a resolution
    "digits": (1, 8),
    "fashion_mnist": (1, 32),
    "mnist": (1, 32),
    "cifar10": (3, 32),
    "cifar100": (3, 32),
    "svhn": (3, 32),
}

NUM_CLASSES = {"digits": 10, "fashion_mnist": 10, "mnist": 10, "cifar10": 10, "cifar100": 100, "svhn": 10}


def _open_torchvision(
    name: str,
    dataset_class: Any,
    root: Path,
    folder: Path,
    files: Iterable[tuple[str, str]],
    advice: str = "",
    **arguments: Any,
) -> Any:
    """A torchvision data set, downloaded into `root` where it is not there yet.

    Args:
        folder: where a user without a network may put `files`, pairs of name and MD5 sum.
        advice: another way out, which ends the message.

    Raises:
        UserError: neither there nor to be had.
    """
    try:
        # torchvision names what it unpacks on stdout; some versions of Python and numpy warn of its ways.
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dataset_class(root, download=True, **arguments)
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        reason = " ".join(str(error).split())
        wanted = ", ".join(f"{filename} (md5 {md5})" for filename, md5 in files)
        raise UserError(
            f"data set {name} is neither in {root} nor could it be downloaded ({reason}); "
            f"put {wanted} into {folder}{advice}"
        ) from error


def _idx_files(folder: Path, split: str, suffix: str = "") -> tuple[Path, Path]:
    prefix = "train" if split == "train" else "t10k"
    return folder / f"{prefix}-images-idx3-ubyte{suffix}", folder / f"{prefix}-labels-idx1-ubyte{suffix}"


def _all_exist(files: Iterable[Path]) -> bool:
    return all(file.is_file() for file in files)


def _read_idx_pair(name: str, split: str, images_file: Path, labels_file: Path) -> ImageData:
    """28x28 images in MNIST's format, padded with black to 32x32 as LeNet-5 did."""
    images = _read_idx(images_file, num_dimensions=3)
    labels = _read_idx(labels_file, num_dimensions=1)
    if images.shape[1:] != (28, 28):
        raise UserError(f"{images_file} must hold images of 28x28, got shape {tuple(images.shape)}")
    if len(labels) != len(images):
        raise UserError(f"{labels_file} has {len(labels)} labels, but {images_file} has {len(images)} images")
    return ImageData(F.pad(images, (2, 2, 2, 2)).unsqueeze(1), labels.long(), name, split)


def _read_idx(file: Path, num_dimensions: int) -> Tensor:
    """One idx file of uint8 (LeCun): 0, 0, 8, num_dimensions; each size as big-endian uint32; the values."""
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} cannot be read ({error}); replace or delete it") from error
    header_bytes = 4 + 4 * num_dimensions
    if content[:4] != bytes([0, 0, 8, num_dimensions]) or len(content) < header_bytes:
        raise UserError(f"{file} is not an idx file of {num_dimensions} dimensions; replace or delete it")
    shape = struct.unpack_from(f">{num_dimensions}I", content, 4)
    expected = header_bytes + math.prod(shape)
    if len(content) != expected:
        raise UserError(f"{file} holds {len(content)} bytes, expected {expected}; replace or delete it")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape).copy())
