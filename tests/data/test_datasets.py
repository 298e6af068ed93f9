import gzip
import hashlib
import io
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from ganmix.data import DATASETS, ImageData, load_images, resize, set_channels, to_float, to_uint8
from ganmix.data import datasets as sources_module
from ganmix.errors import UserError


def random_bytes(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# The files of each data set as they are published, but with few images.


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx_files(folder: Path, *, packed: bool, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for split, prefix, num_images in [("train", "train", 7), ("test", "t10k", 3)]:
        images, labels = random_bytes(num_images, 28, 28, seed=seed), random_bytes(num_images, seed=seed) % 10
        for kind, values in [("images-idx3", images), ("labels-idx1", labels)]:
            content = gzip.compress(idx(values)) if packed else idx(values)
            (folder / f"{prefix}-{kind}-ubyte{'.gz' if packed else ''}").write_bytes(content)
        written[split] = images[:, None], labels
    return written


class Python2Pickler(pickle.Pickler):
    """Pickles arrays as CIFAR has them, from numpy on Python 2: another module, 0 and 1 for booleans."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            rebuild = np.ndarray.__reduce__(value)[0]
            state = (1, value.shape, value.dtype, False, value.tobytes())
            return rebuild, (np.ndarray, (0,), b"b"), state
        if isinstance(value, np.dtype):
            return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)
        return NotImplemented


def write_pickle(file: Path, content: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(content)
    file.write_bytes(buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))


def write_cifar10(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batches = {}
    for index, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        images, labels = random_bytes(4, 3072, seed=index), random_bytes(4, seed=index) % 10
        write_pickle(folder / name, {"data": images, "labels": labels.tolist()})
        batches[name] = images.reshape(-1, 3, 32, 32), labels
    write_pickle(folder / "batches.meta", {"label_names": [str(i) for i in range(10)]})
    test = batches.pop("test_batch")
    images, labels = zip(*batches.values(), strict=True)
    return {"train": (np.concatenate(images), np.concatenate(labels)), "test": test}


def write_cifar100(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    written = {}
    for split, num_images in [("train", 9), ("test", 4)]:
        images, labels = random_bytes(num_images, 3072), random_bytes(num_images) % 100
        content = {"data": images, "fine_labels": labels.tolist(), "coarse_labels": (labels // 5).tolist()}
        write_pickle(folder / split, content)
        written[split] = images.reshape(-1, 3, 32, 32), labels
    write_pickle(folder / "meta", {"fine_label_names": [str(i) for i in range(100)]})
    return written


def write_svhn(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    root.mkdir(parents=True)
    written = {}
    for split, num_images in [("train", 12), ("test", 11)]:
        images, labels = random_bytes(32, 32, 3, num_images), np.arange(num_images) % 10 + 1  # 10 means zero
        scipy.io.savemat(root / f"{split}_32x32.mat", {"X": images, "y": labels[:, None].astype(np.uint8)})
        written[split] = images.transpose(3, 2, 0, 1), labels % 10
    return written


WRITERS = {
    "mnist": lambda root: write_idx_files(root / "MNIST" / "raw", packed=False),
    "fashion_mnist": lambda root: write_idx_files(root / "fashion-mnist", packed=True),
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", refuse)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", refuse)
    monkeypatch.setattr(sources_module, "DEBIAN_FASHION_MNIST", tmp_path / "no-debian")


def accept_any_md5(file: str | Path, md5: str | None = None) -> bool:
    """In place of torchvision's check: the sums of the small files written here are not the real ones."""
    return Path(file).is_file()


@pytest.fixture
def any_md5(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", accept_any_md5)
    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", accept_any_md5)
    monkeypatch.setattr("torchvision.datasets.svhn.download_url", lambda *arguments: None)


def native(images: np.ndarray) -> Tensor:
    """The images as `load_images` is to give them: those of 28x28 in a black frame."""
    pad = (32 - images.shape[-1]) // 2
    return torch.from_numpy(np.pad(images, [(0, 0), (0, 0), (pad, pad), (pad, pad)]))


def assert_equals(data: ImageData, images: np.ndarray, labels: np.ndarray):
    assert torch.equal(data.images, native(images))
    assert data.labels is not None
    assert data.labels.tolist() == labels.tolist()


def test_every_data_set_is_tested_here():
    assert {"digits", *WRITERS} == set(DATASETS)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", WRITERS)
def test_published_files_are_read_exactly(
    name: str, split: str, tmp_path: Path, any_md5: None, capsys: pytest.CaptureFixture[str]
):
    written = WRITERS[name](tmp_path / "data")
    data = load_images(name, split, root=tmp_path / "data")
    assert_equals(data, *written[split])
    assert (data.name, data.split, data.resolution) == (name, split, 32)
    assert (data.channels, data.resolution) == (DATASETS[name].channels, DATASETS[name].resolution)
    assert DATASETS[name].num_classes == (100 if name == "cifar100" else 10)
    assert data.channels == (1 if "mnist" in name else 3)
    assert data.labels is not None
    assert data.labels.dtype == torch.int64
    assert capsys.readouterr().out == ""


def test_digits_are_split_into_four_fifths_and_one():
    train, test = load_images("digits", "train"), load_images("digits", "test")
    assert (train.num_images, test.num_images) == (1438, 359)
    assert train.images.shape[1:] == test.images.shape[1:] == (1, 8, 8)
    assert (train.channels, train.resolution) == (DATASETS["digits"].channels, DATASETS["digits"].resolution)
    assert (train.images.min(), train.images.max()) == (0, 255)
    assert train.labels is not None
    assert train.labels.unique().tolist() == list(range(10))


def test_digits_keep_their_grey_levels():
    test = load_images("digits", "test")
    restored = (test.images[:, 0] / 255 * 16).round()
    assert torch.equal(restored, torch.from_numpy(load_digits().images[4::5]).float())


@pytest.mark.parametrize("place", ["", "fashion-mnist"])
def test_fashion_mnist_is_found_packed_in_root_or_its_folder(tmp_path: Path, place: str):
    written = write_idx_files(tmp_path / place, packed=True)
    assert_equals(load_images("fashion_mnist", root=tmp_path), *written["train"])


def test_fashion_mnist_is_found_where_torchvision_left_it(tmp_path: Path):
    written = write_idx_files(tmp_path / "FashionMNIST" / "raw", packed=False)
    assert_equals(load_images("fashion_mnist", root=tmp_path), *written["train"])


def test_fashion_mnist_is_found_where_debian_puts_it(tmp_path: Path):
    written = write_idx_files(tmp_path / "no-debian", packed=True)
    assert_equals(load_images("fashion_mnist", root=tmp_path / "data"), *written["train"])


def test_mnist_files_in_root_are_not_taken_for_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_idx_files(tmp_path, packed=True, seed=1)
    sums = [(file.name, hashlib.md5(file.read_bytes()).hexdigest()) for file in tmp_path.glob("*.gz")]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", sums)
    with pytest.raises(UserError, match="is not in"):
        load_images("fashion_mnist", root=tmp_path)


DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_debians_fashion_mnist_has_ten_equal_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sources_module, "DEBIAN_FASHION_MNIST", DEBIAN)
    for split, num_images in [("train", 60_000), ("test", 10_000)]:
        data = load_images("fashion_mnist", split, root=tmp_path)
        assert data.images.shape == (num_images, 1, 32, 32)
        assert data.labels is not None
        assert data.labels.bincount().tolist() == [num_images // 10] * 10


def test_mnist_packed_files_are_unpacked_with_nothing_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("torchvision.datasets.utils.check_integrity", accept_any_md5)
    written = write_idx_files(tmp_path / "MNIST" / "raw", packed=True)
    assert_equals(load_images("mnist", root=tmp_path), *written["train"])
    assert capsys.readouterr().out == ""


DAMAGE = {
    "cut short": (lambda content: content[:-5], "cannot be read"),
    "one byte changed": (lambda content: content[:60] + b"\xff\x00" + content[62:], "cannot be read"),
    "not packed": (lambda content: b"<html>404</html>", "cannot be read"),
    "empty": (lambda content: gzip.compress(b""), "is not an idx file of 3 dimensions"),
    "labels in place of images": (
        lambda content: gzip.compress(idx(random_bytes(7))),
        "is not an idx file of 3 dimensions",
    ),
    "header only": (lambda content: gzip.compress(b"\0\0\x08\x03\0"), "is not an idx file of 3 dimensions"),
    "packed before it was whole": (
        lambda content: gzip.compress(gzip.decompress(content)[:-1]),
        "holds 5503 bytes, expected 5504",
    ),
    "another size of image": (
        lambda content: gzip.compress(idx(random_bytes(7, 8, 8))),
        r"must hold images of 28x28, got shape \(7, 8, 8\)",
    ),
    "another number of images": (
        lambda content: gzip.compress(idx(random_bytes(6, 28, 28))),
        "7 labels, but .* 6 images",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_idx_file_is_named(tmp_path: Path, damage: str):
    write_idx_files(tmp_path / "fashion-mnist", packed=True)
    file = tmp_path / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    harm, message = DAMAGE[damage]
    file.write_bytes(harm(file.read_bytes()))
    with pytest.raises(UserError, match=message) as caught:
        load_images("fashion_mnist", root=tmp_path)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "folder", "wanted"),
    [
        ("mnist", "MNIST/raw", "train-images-idx3-ubyte.gz (md5 f68b3c2dcbeaaa9fbdd348bbdeb94873)"),
        (
            "fashion_mnist",
            "fashion-mnist",
            "t10k-labels-idx1-ubyte.gz (md5 bb300cfdad3c16e7a12a480ee83cd310)",
        ),
        ("cifar10", "", "cifar-10-python.tar.gz (md5 c58f30108f718f92721af3b95e74349a)"),
        ("cifar100", "", "cifar-100-python.tar.gz (md5 eb9058c3a382ffc7106e4002c42a8d85)"),
        ("svhn", "", "train_32x32.mat (md5 e26dedcc434d2e4c54c9b2d4a06d8373)"),
    ],
)
def test_failed_download_says_which_file_to_put_where(tmp_path: Path, name: str, folder: str, wanted: str):
    with pytest.raises(UserError) as caught:
        load_images(name, root=tmp_path)
    message = str(caught.value)
    assert f"data set {name}: it is not in {tmp_path} and could not be downloaded" in message
    assert "no route to host" in message
    assert wanted in message
    assert f"into {tmp_path / folder}" in message
    assert ("dataset-fashion-mnist" in message) == (name == "fashion_mnist")
    assert "\n" not in message


def test_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(file: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(UserError, match=r"data set mnist: .*ubyte cannot be read: Permission denied"):
        load_images("mnist", root=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar",), f"name must be one of {', '.join(DATASETS)}, got 'cifar'"),
        (("digits", "tset"), "split must be one of train, test, got 'tset'"),
    ],
)
def test_unknown_name_or_split_names_the_known_ones(arguments: tuple[str, ...], message: str):
    with pytest.raises(ValueError, match=f"^{message}"):
        load_images(*arguments)


def test_images_are_resized_on_demand():
    plain = load_images("digits")
    data = load_images("digits", resolution=32)
    assert (data.num_images, data.channels, data.resolution) == (plain.num_images, 1, 32)
    assert torch.equal(data.images, resize(plain.images, 32))
    torch.testing.assert_close(data.labels, plain.labels)


def test_resize_to_the_same_size_changes_nothing():
    images = torch.from_numpy(random_bytes(2, 3, 8, 8))
    assert resize(images, 8) is images


def test_resize_is_antialiased():
    board = torch.from_numpy(np.indices((64, 64)).sum(axis=0) % 2 * 255).byte()[None, None]
    inner = resize(board, 8)[..., 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 128), atol=2, rtol=0)


def test_resize_by_chunks_equals_resize_at_once(monkeypatch: pytest.MonkeyPatch):
    images = torch.from_numpy(random_bytes(7, 3, 8, 8))
    at_once = resize(images, 5)
    monkeypatch.setattr("ganmix.data.convert.CHUNK", 2)
    assert torch.equal(resize(images, 5), at_once)


def test_grey_is_the_luma_that_pil_computes():
    images = torch.from_numpy(random_bytes(5, 3, 16, 16))
    luma = to_uint8(set_channels(to_float(images), 1))
    pil = [np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")) for image in images]
    torch.testing.assert_close(luma[:, 0], torch.from_numpy(np.stack(pil)), atol=1, rtol=0)


def test_grey_to_rgb_and_back_changes_nothing():
    grey = to_float(torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16))
    rgb = set_channels(grey, 3)
    assert rgb.shape == (1, 3, 16, 16)
    torch.testing.assert_close(set_channels(rgb, 1), grey)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_that_have_the_channels_stay_as_they_are(channels: int):
    images = to_float(torch.from_numpy(random_bytes(2, channels, 4, 4)))
    assert set_channels(images, channels) is images


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.zeros(2, 3, 8, 8), None),
        (torch.zeros(2, 3, 8, 9, dtype=torch.uint8), None),
        (torch.zeros(2, 8, 8, dtype=torch.uint8), None),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8).permute(0, 3, 1, 2), None),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2)),
    ],
)
def test_image_data_of_a_wrong_kind_is_our_mistake(images: Tensor, labels: Tensor | None):
    with pytest.raises(AssertionError, match="must be"):
        ImageData(images, labels, "made", "train")


def test_a_subset_has_the_images_and_labels_asked_for_in_that_order():
    images = torch.from_numpy(random_bytes(6, 3, 8, 8))
    data = ImageData(images, torch.arange(6), "made", "test")
    subset = data.subset(torch.tensor([4, 0, 4]))
    assert torch.equal(subset.images, torch.stack([images[4], images[0], images[4]]))
    assert subset.labels is not None
    assert subset.labels.tolist() == [4, 0, 4]
    assert (subset.name, subset.split, subset.num_images) == ("made", "test", 3)
    assert ImageData(images, None, "made", "test").subset(torch.arange(2)).labels is None


def test_importing_the_package_imports_neither_torchvision_nor_sklearn():
    code = "import sys, ganmix.data; sys.exit(bool({'torchvision', 'sklearn', 'scipy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
