import io
import os
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from score_values import values_of
from torch import nn

from ganmix.data import ImageData
from ganmix.engine.digests import sha256_of
from ganmix.errors import UserError
from ganmix.evaluation.gan.extractors import Extractor, classifier_extractor
from ganmix.evaluation.gan.features import extract
from ganmix.evaluation.gan.fidelity import fidelity_scores
from ganmix.evaluation.gan.reference import (
    draw_images,
    file_reference,
    image_reference,
    images_digest,
    save_reference,
    statistics,
)

CPU = torch.device("cpu")


class Pixels(nn.Module):
    """Pixel values, times a gain, as features and logits; `seen` counts the images of all its copies."""

    seen = 0

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, images):
        Pixels.seen += len(images)
        features = self.gain * images.flatten(1)
        return features, features


def made(num=70, seed=0, split="train"):
    images = torch.randint(256, (num, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return ImageData(images, None, "made", split)


EXTRACTOR = classifier_extractor(Pixels(), "pixels")
REAL = made()
FAKE = extract(made(60, seed=1).images, EXTRACTOR, CPU)


def reference(data=REAL, extractor=EXTRACTOR, cache=None):
    return image_reference(data, extractor, CPU, cache=cache)


def scores(real):
    return values_of(fidelity_scores(FAKE, real, precision_recall=real.features is not None))


def assert_equal(found, expected):
    assert found.identity == expected.identity
    assert torch.equal(found.mu, expected.mu)
    assert torch.equal(found.sigma, expected.sigma)
    assert torch.equal(found.features, expected.features)
    assert scores(found) == scores(expected)


def seen_while(function):
    """What `function` returns, and how many images extractors saw meanwhile."""
    before = Pixels.seen
    return function(), Pixels.seen - before


def test_statistics_are_numpys_in_float64():
    features = FAKE.features
    mu, sigma = statistics(features)
    np.testing.assert_allclose(mu.numpy(), features.double().numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(sigma.numpy(), np.cov(features.double().numpy(), rowvar=False), rtol=1e-12)


def test_a_reference_is_what_the_extractor_sees_with_its_origin():
    found = reference()
    assert torch.equal(found.features, extract(REAL.images, EXTRACTOR, CPU).features)
    assert found.identity == {"dataset": "made", "split": "train", "num": 70, "digest": images_digest(REAL.images)}
    assert found.num == 70
    torch.testing.assert_close(found.mu, found.features.double().mean(0))


def test_the_digest_knows_values_order_and_shape():
    images = REAL.images
    others = (images.flip(0), images[:-1], images.reshape(70, 1, 4, 1), images + 1)
    assert images_digest(images) == images_digest(images.clone())
    assert len({images_digest(found) for found in (images, *others)}) == 5


def test_without_a_cache_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    scores(reference())
    assert not list(tmp_path.iterdir())


def test_a_sound_file_is_used_and_kept_and_no_image_is_seen_again(tmp_path):
    first, num_seen = seen_while(lambda: reference(cache=tmp_path / "new"))
    assert num_seen == 70
    (path,) = (tmp_path / "new").iterdir()
    written = path.stat().st_mtime_ns, path.read_bytes()
    second, num_seen = seen_while(lambda: reference(cache=tmp_path / "new"))
    assert num_seen == 0
    assert (path.stat().st_mtime_ns, path.read_bytes()) == written
    for found in (first, second):
        assert_equal(found, reference())


def changed_pixel():
    images = REAL.images.clone()
    images[-1, 0, 1, 1] ^= 1
    return replace(REAL, images=images)


OTHERS = {
    "a retrained extractor": lambda: (REAL, classifier_extractor(Pixels(3.0), "pixels")),
    "a resizing extractor": lambda: (REAL, classifier_extractor(Pixels(), "pixels", resolution=2)),
    "one pixel": lambda: (changed_pixel(), EXTRACTOR),
    "another order": lambda: (REAL.subset(torch.arange(70).flip(0)), EXTRACTOR),
    "another split": lambda: (made(seed=2, split="test"), EXTRACTOR),
    "fewer images": lambda: (REAL.subset(torch.arange(69)), EXTRACTOR),
    "another shape": lambda: (replace(REAL, images=REAL.images.view(70, 4, 1, 1)), EXTRACTOR),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_origin_does_not_meet_the_entry(other, tmp_path):
    data, extractor = OTHERS[other]()
    reference(cache=tmp_path)
    found, num_seen = seen_while(lambda: reference(data, extractor, cache=tmp_path))
    assert num_seen == data.num_images
    assert_equal(found, reference(data, extractor))
    assert len(list(tmp_path.iterdir())) == 2
    assert_equal(reference(cache=tmp_path), reference())


def test_digests_that_begin_alike_are_told_apart(tmp_path):
    one, other = (Extractor("pixels", 20 * "a" + 44 * end, EXTRACTOR.network) for end in "bc")
    reference(extractor=one, cache=tmp_path)
    _, num_seen = seen_while(lambda: reference(extractor=other, cache=tmp_path))
    assert num_seen == 70
    assert len(list(tmp_path.iterdir())) == 1  # both have this name


def test_the_same_images_in_another_split_say_so(tmp_path):
    reference(cache=tmp_path)
    found, num_seen = seen_while(lambda: reference(replace(REAL, split="test"), cache=tmp_path))
    assert num_seen == 0
    assert found.identity["split"] == "test"


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("hacked",)


def contents(path):
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name).clone() for name in file.keys()}, file.metadata()  # noqa: SIM118


def truncate(num_bytes):
    return lambda path: path.write_bytes(path.read_bytes()[:num_bytes])


def flip_a_bit(where):
    def flip(path):
        content = bytearray(path.read_bytes())
        content[int(where * (len(content) - 1))] ^= 4
        path.write_bytes(content)

    return flip


def rewrite(**metadata):
    """Write the same tensors again with other metadata; None leaves an item out."""

    def harm(path):
        tensors, found = contents(path)
        found = {key: value for key, value in (found | metadata).items() if value is not None}
        safetensors.torch.save_file(tensors, path, found)

    return harm


def replace_tensor(name, change):
    def harm(path):
        tensors, metadata = contents(path)
        safetensors.torch.save_file({**tensors, name: change(tensors[name])}, path, metadata)

    return harm


def fewer_with_their_digest(path):
    tensors, metadata = contents(path)
    tensors["features"] = tensors["features"][:-1]
    order = {name: tensors[name] for name in ("features", "mu", "sigma")}
    safetensors.torch.save_file(tensors, path, metadata | {"content": sha256_of(order)})


def swap(path):
    """Put the entry of other images in its place."""
    kept = set(path.parent.iterdir())
    reference(made(seed=5), cache=path.parent)
    (other,) = set(path.parent.iterdir()) - kept
    other.replace(path)


def foreign(path):
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)


def only_features(path):
    tensors, metadata = contents(path)
    safetensors.torch.save_file({"features": tensors["features"]}, path, metadata)


HARMS = {
    **{f"cut to {num}": truncate(num) for num in (0, 1, 8, 100, 400, -1)},
    **{f"a bit at {where}": flip_a_bit(where) for where in (0, 0.02, 0.1, 0.4, 0.7, 1)},
    "other images' digest": rewrite(images="0" * 64),
    "other extractor's digest": rewrite(extractor="0" * 64),
    "other content's digest": rewrite(content="0" * 64),
    "no digest of the content": rewrite(content=None),
    "more metadata": rewrite(more="text"),
    "features": replace_tensor("features", lambda features: 2 * features),
    "fewer features": replace_tensor("features", lambda features: features[:-1]),
    "fewer features and their digest": fewer_with_their_digest,
    "float64 features": replace_tensor("features", lambda features: features.double()),
    "mean": replace_tensor("mu", torch.zeros_like),
    "covariance": replace_tensor("sigma", lambda sigma: sigma.flip(0)),
    "another entry in its place": swap,
    "another tool's file": foreign,
    "features alone": only_features,
    "pickle that runs code": lambda path: torch.save(RunsCode(), path),
    "text": lambda path: path.write_text("not tensors"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_file_is_computed_again_and_not_believed(harm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache"
    reference(cache=cache)
    (path,) = cache.iterdir()
    sound, metadata = path.read_bytes(), contents(path)[1]
    HARMS[harm](path)
    assert path.read_bytes() != sound
    found, num_seen = seen_while(lambda: reference(cache=cache))
    assert num_seen == 70
    assert_equal(found, reference())
    assert contents(path)[1] == metadata
    assert not (tmp_path / "hacked").exists()
    assert seen_while(lambda: reference(cache=cache))[1] == 0


@pytest.fixture
def saved(tmp_path):
    """A .npz of ours."""
    path = tmp_path / "statistics.npz"
    save_reference(path, reference(), EXTRACTOR)
    return path


def test_saved_statistics_give_the_same_fid_and_no_kid(saved):
    found = file_reference(saved, EXTRACTOR)
    assert found.features is None
    assert found.num == 70
    whole = scores(reference())
    assert scores(found) == {name: whole[name] for name in ("IS", "IS_std", "FID")}
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_saved_statistics_are_other_tools_mu_and_sigma(saved):
    with np.load(saved, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["mu"], reference().mu)
        np.testing.assert_array_equal(file["sigma"], reference().sigma)
        texts = {name: str(file[name]) for name in file.files if name not in ("mu", "sigma")}
    identity = {key: str(value) for key, value in reference().identity.items()}
    assert texts == {"extractor_digest": EXTRACTOR.digest, **identity}


def test_statistics_are_known_by_their_file_and_digest(saved):
    found = file_reference(saved, EXTRACTOR).identity
    assert found.keys() == {"file", "num", "digest"}
    assert found["file"] == "statistics.npz"
    save_reference(saved, reference(changed_pixel()), EXTRACTOR)
    assert file_reference(saved, EXTRACTOR).identity["digest"] != found["digest"]


def test_statistics_by_another_extractor_are_refused(saved):
    other = classifier_extractor(Pixels(3.0), "retrained")
    message = rf"statistics\.npz was computed by another extractor \({EXTRACTOR.digest[:8]}\.\.\.\) than retrained"
    with pytest.raises(UserError, match=message):
        file_reference(saved, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_another_tools_file_of_mu_and_sigma_will_do(tmp_path, dtype):
    path = tmp_path / "foreign.npz"
    np.savez(path, mu=reference().mu.numpy().astype(dtype), sigma=reference().sigma.numpy().astype(dtype))
    found = file_reference(path, EXTRACTOR)
    assert found.num is None
    assert found.identity["num"] is None
    assert (found.mu.dtype, found.sigma.dtype) == (torch.float64, torch.float64)
    assert scores(found)["FID"] == pytest.approx(scores(reference())["FID"], rel=1e-5)


def test_statistics_read_from_a_file_can_be_saved_again(saved, tmp_path):
    np.savez(tmp_path / "foreign.npz", mu=reference().mu.numpy(), sigma=reference().sigma.numpy())
    for path in (saved, tmp_path / "foreign.npz"):
        first = file_reference(path, EXTRACTOR)
        save_reference(tmp_path / "again.npz", first, EXTRACTOR)
        again = file_reference(tmp_path / "again.npz", EXTRACTOR)
        assert again.num == first.num
        assert scores(again) == scores(first)


def npz(**arrays):
    def write(path):
        np.savez(path, **arrays)

    return write


def one_array(path):
    with path.open("wb") as file:
        np.save(file, MU)


def damaged_inside(path):
    """A flipped bit in packed numbers, which zipfile gives to zlib."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, mu=np.linspace(0, 1, 999), sigma=np.zeros((2, 2)))
    content = bytearray(buffer.getvalue())
    content[100:400] = bytes(300)
    path.write_bytes(content)


def without_arrays(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mu", b"text")
        archive.writestr("sigma", b"text")


def cut_short(path):
    np.savez(path, mu=np.zeros(99), sigma=np.eye(99))
    path.write_bytes(path.read_bytes()[:-100])


MU, SIGMA = np.zeros(4), np.eye(4)
UNUSABLE = {
    "no such file": (lambda path: None, r"\(there is no such file\)"),
    "no sigma": (npz(mu=MU), r"not a \.npz of mu and sigma \('sigma'\)"),
    "no mu": (npz(sigma=SIGMA), r"not a \.npz of mu and sigma \('mu'\)"),
    "mu is a matrix": (npz(mu=SIGMA, sigma=SIGMA), r"must have mu \[D\] and sigma \[D, D\], got \[4, 4\], \[4, 4\]"),
    "sigma is another size": (npz(mu=MU, sigma=np.eye(3)), r"got \[4\], \[3, 3\]"),
    "sigma is a vector": (npz(mu=MU, sigma=MU), r"got \[4\], \[4\]"),
    "objects": (npz(mu=np.array([RunsCode()], object), sigma=SIGMA), "not a .npz of mu and sigma .*allow_pickle=False"),
    "text in place of numbers": (npz(mu=np.array(["a"]), sigma=SIGMA), "not a .npz of mu and sigma"),
    "number that is none": (npz(mu=MU, sigma=SIGMA, num=np.array("many")), "not a .npz of mu and sigma"),
    "not finite": (npz(mu=MU * np.nan, sigma=SIGMA), "is not finite"),
    "sigma not finite": (npz(mu=MU, sigma=SIGMA + np.inf), "is not finite"),
    "pickle": (lambda path: torch.save(RunsCode(), path), "not a .npz of mu and sigma"),
    "one array": (one_array, "not a .npz of mu and sigma"),
    "text": (lambda path: path.write_text("mu, sigma"), "not a .npz of mu and sigma"),
    "empty": (lambda path: path.touch(), "not a .npz of mu and sigma"),
    "folder": (lambda path: path.mkdir(), "not a .npz of mu and sigma"),
    "cut short": (cut_short, "not a .npz of mu and sigma"),
    "damaged inside": (damaged_inside, "not a .npz of mu and sigma"),
    "archive without arrays": (without_arrays, "not a .npz of mu and sigma"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_file_that_cannot_be_used_is_named_in_one_line(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, message = UNUSABLE[case]
    path = tmp_path / "reference.npz"
    write(path)
    with pytest.raises(UserError, match=message) as raised:
        file_reference(path, EXTRACTOR)
    assert str(raised.value).startswith(f"{path} ")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "hacked").exists()


def test_statistics_of_another_number_of_features_are_refused(tmp_path):
    np.savez(tmp_path / "wide.npz", mu=np.zeros(5), sigma=np.eye(5))
    with pytest.raises(ValueError, match="statistics of 5 features, the extractor has 4"):
        scores(file_reference(tmp_path / "wide.npz", EXTRACTOR))


# A part of the real images.


def sorted_by_class(num_classes=10, num_each=30):
    """Images that are black in class 0, and the lighter the later their class."""
    images = torch.arange(num_classes, dtype=torch.uint8).repeat_interleave(num_each)
    return ImageData(images.view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous(), None, "made", "train")


def test_images_drawn_from_a_folder_sorted_by_class_are_of_every_class():
    drawn = draw_images(sorted_by_class(), 100, seed=2020).images[:, 0, 0, 0]
    counts = drawn.bincount(minlength=10)
    assert (counts > 0).all()
    assert counts.float().mean() == 10
    assert counts.max() <= 20


def test_each_image_is_drawn_at_most_once_and_as_likely_as_the_others():
    data, times = made(20), torch.zeros(20)
    for seed in range(400):
        drawn = draw_images(data, 5, seed=seed).images
        rows = (data.images[None] == drawn[:, None]).flatten(2).all(2).sum(0)
        assert rows.max() == 1
        times += rows
    assert times.sum() == 2000
    assert (times / 400 - 0.25).abs().max() < 0.1  # a standard error is 0.022


def test_the_seed_alone_says_which_images_are_drawn():
    data = made(50)
    torch.manual_seed(1)
    first = draw_images(data, 20, seed=3)
    torch.manual_seed(2)
    assert torch.equal(draw_images(data, 20, seed=3).images, first.images)
    assert not torch.equal(draw_images(data, 20, seed=4).images, first.images)
    assert (first.name, first.split) == (data.name, data.split)


def test_all_images_drawn_are_the_data_set_itself():
    data = made(50)
    assert images_digest(draw_images(data, 50, seed=3).images) == images_digest(data.images)
