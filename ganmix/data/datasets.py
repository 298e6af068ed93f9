"""The data sets by name; each is read whole, at its native resolution."""

import gzip
import math
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.data.convert import resize
from ganmix.data.images import ImageData
from ganmix.errors import UserError

SPLITS = ("train", "test")
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Dataset:
    """How to read a data set, and what it holds.

    Args:
        read: from the root folder and a split to images, uint8 [N, C, R, R], and labels, int64 [N] in
            0..num_classes - 1. It raises UserError or OSError where it cannot get them.
        channels, resolution: C and R, as read.
    """

    read: Callable[[Path, str], tuple[Tensor, Tensor]]
    channels: int
    resolution: int
    num_classes: int


def load_images(
    name: str, split: str = "train", *, root: str | Path = "data", resolution: int | None = None
) -> ImageData:
    """Read a data set by name, in the order of its files; download it into `root` where it is missing.

    Args:
        name: a key of `DATASETS`.
        split: "train" or "test".
        root: the folder of the data sets' files.
        resolution: resize to this height and width; None: keep the native resolution.

    Raises:
        ValueError: unknown name or split.
        UserError: the files are damaged, or missing and cannot be downloaded.
    """
    for argument, value, known in (("name", name, DATASETS), ("split", split, SPLITS)):
        if value not in known:
            raise ValueError(f"{argument} must be one of {', '.join(known)}, got {value!r}")
    try:
        images, labels = DATASETS[name].read(Path(root).expanduser(), split)
    except UserError as error:
        raise UserError(f"data set {name}: {error}") from error
    except OSError as error:  # such as a folder without permission
        raise UserError(f"data set {name}: {error.filename} cannot be read: {error.strerror}") from error
    return ImageData(images if resolution is None else resize(images, resolution), labels, name, split)


def _read_digits(root: Path, split: str) -> tuple[Tensor, Tensor]:
    """Read UCI's 8x8 digits from scikit-learn, which does not split them; every fifth is for test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    is_test = np.arange(len(digits.images)) % 5 == 4
    chosen = is_test if split == "test" else ~is_test
    grey = np.round(digits.images[chosen] * (255 / 16)).astype(np.uint8)  # grey levels are 0..16
    return torch.from_numpy(grey).unsqueeze(1), torch.from_numpy(digits.target[chosen].astype(np.int64))


def _read_mnist(root: Path, split: str) -> tuple[Tensor, Tensor]:
    from torchvision.datasets import MNIST

    raw = root / "MNIST" / "raw"
    return _read_idx_pair(MNIST, root, raw, [_idx_files(raw, split)])


def _read_fashion_mnist(root: Path, split: str) -> tuple[Tensor, Tensor]:
    from torchvision.datasets import MNIST, FashionMNIST
    from torchvision.datasets.utils import check_integrity

    folder, raw = root / "fashion-mnist", root / "FashionMNIST" / "raw"
    packed = [_idx_files(place, split, ".gz") for place in (folder, root, DEBIAN_FASHION_MNIST)]
    # MNIST's files have the same names and may lie in `root` too: their sums tell them apart.
    mnist_md5 = dict(MNIST.resources)
    candidates = [files for files in packed if not check_integrity(files[1], mnist_md5[files[1].name])]
    candidates.append(_idx_files(raw, split))
    advice = ", or install Debian's package dataset-fashion-mnist"
    return _read_idx_pair(FashionMNIST, root, folder, candidates, advice)


def _read_cifar(class_name: str, root: Path, split: str) -> tuple[Tensor, Tensor]:
    import torchvision

    dataset_class = getattr(torchvision.datasets, class_name)
    archive = [(dataset_class.filename, dataset_class.tgz_md5)]
    dataset = _open_torchvision(dataset_class, root, root, archive, train=split == "train")
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()  # torchvision has [N, H, W, C]
    return images, torch.tensor(dataset.targets)


def _read_svhn(root: Path, split: str) -> tuple[Tensor, Tensor]:
    from torchvision.datasets import SVHN

    _, filename, md5 = SVHN.split_list[split]
    dataset = _open_torchvision(SVHN, root, root, [(filename, md5)], split=split)
    return torch.from_numpy(np.ascontiguousarray(dataset.data)), torch.from_numpy(dataset.labels)


DATASETS = {
    "digits": Dataset(_read_digits, channels=1, resolution=8, num_classes=10),
    "fashion_mnist": Dataset(_read_fashion_mnist, channels=1, resolution=32, num_classes=10),
    "mnist": Dataset(_read_mnist, channels=1, resolution=32, num_classes=10),
    "cifar10": Dataset(partial(_read_cifar, "CIFAR10"), channels=3, resolution=32, num_classes=10),
    "cifar100": Dataset(partial(_read_cifar, "CIFAR100"), channels=3, resolution=32, num_classes=100),
    "svhn": Dataset(_read_svhn, channels=3, resolution=32, num_classes=10),
}


def _open_torchvision(
    dataset_class: Any, root: Path, folder: Path, files: Iterable[tuple[str, str]], advice: str = "", **arguments: Any
) -> Any:
    """Open a torchvision data set; download it into `root` where it is missing.

    Args:
        folder: where a user without a network may put `files`, pairs of name and MD5 sum.
        advice: another way out, which ends the message.
    """
    try:
        # torchvision prints file names to stdout; some versions of Python and numpy warn about its code.
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dataset_class(root, download=True, **arguments)
    except (OSError, RuntimeError) as error:  # URLError is an OSError
        reason = " ".join(str(error).split())
        wanted = ", ".join(f"{filename} (md5 {md5})" for filename, md5 in files)
        raise UserError(
            f"it is not in {root} and could not be downloaded ({reason}); put {wanted} into {folder}{advice}"
        ) from error


def _idx_files(folder: Path, split: str, suffix: str = "") -> tuple[Path, Path]:
    prefix = "train" if split == "train" else "t10k"
    return folder / f"{prefix}-images-idx3-ubyte{suffix}", folder / f"{prefix}-labels-idx1-ubyte{suffix}"


def _read_idx_pair(
    dataset_class: Any, root: Path, folder: Path, candidates: Sequence[tuple[Path, Path]], advice: str = ""
) -> tuple[Tensor, Tensor]:
    """Read 28x28 images in MNIST's format, padded with black to 32x32 as LeNet-5 did.

    Args:
        candidates: files of images and labels; the first that exist are read. Where none do, download the last.
        dataset_class, root, folder, advice: see `_open_torchvision`.
    """
    found = next((files for files in candidates if all(file.is_file() for file in files)), None)
    if found is None:
        _open_torchvision(dataset_class, root, folder, dataset_class.resources, advice)
        found = candidates[-1]
    images_file, labels_file = found
    images = _read_idx(images_file, num_dimensions=3)
    labels = _read_idx(labels_file, num_dimensions=1)
    if images.shape[1:] != (28, 28):
        raise UserError(f"{images_file} must hold images of 28x28, got shape {tuple(images.shape)}")
    if len(labels) != len(images):
        raise UserError(f"{labels_file} has {len(labels)} labels, but {images_file} has {len(images)} images")
    return F.pad(images, (2, 2, 2, 2)).unsqueeze(1), labels.long()


def _read_idx(file: Path, num_dimensions: int) -> Tensor:
    """Read an idx file of uint8 (LeCun): 0, 0, 8, num_dimensions; each size as big-endian uint32; the values."""
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
