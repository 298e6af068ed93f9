import numpy as np
import pytest
import torch
from made_classifiers import make_bytes, make_images
from torch import Tensor

from ganmix.data import to_float
from ganmix.networks.classifier import PREPARATIONS, prepare, prepare_for
from ganmix.networks.classifier.prepare import Normalise, Whiten, WhitenOnly, normalise_contrast


def covariance(x: Tensor) -> Tensor:
    """Of rows, [D, D]."""
    x = x.flatten(1).double()
    x = x - x.mean(0)
    return x.T @ x / len(x)


def contrast_normalised(images: Tensor) -> np.ndarray:
    """Rows of mean 0 and norm 55, by numpy, from bytes."""
    x = images.flatten(1).numpy().astype(np.float64)
    x -= x.mean(axis=1, keepdims=True)
    return 55 * x / np.linalg.norm(x, axis=1, keepdims=True)


# --- channels


@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_training_images_have_mean_0_and_standard_deviation_1(channels: int):
    images = make_bytes(channels=channels)
    x = Normalise.of(images)(to_float(images)).double()
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(channels).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(channels).double(), rtol=1e-5, atol=0)


def test_statistics_of_bytes_are_what_numpy_finds():
    """On CIFAR-10 these are the [125.3, 123.0, 113.9] and [63.0, 62.1, 66.7] that the field uses."""
    images = make_bytes(7)
    normalise, pixels = Normalise.of(images), images.numpy().astype(np.float64)
    mean, std = pixels.mean(axis=(0, 2, 3), keepdims=True), pixels.std(axis=(0, 2, 3), keepdims=True)
    assert np.ptp(mean) > 10
    assert np.ptp(std) > 10
    expected = torch.from_numpy((pixels - mean) / std).float()
    torch.testing.assert_close(normalise(to_float(images)), expected, rtol=1e-4, atol=1e-5)


def test_channel_without_variance_is_refused():
    images = make_bytes(5)
    images[:, 1] = 77
    with pytest.raises(ValueError, match="channel 1 of the training images is constant"):
        Normalise.of(images)


def test_empty_normalisation_changes_nothing():
    images = make_images()
    assert torch.equal(Normalise.empty(3, 8)(images), images)


# --- contrast


def test_contrast_normalised_images_have_mean_0_and_norm_55():
    x = normalise_contrast(make_images().double()).flatten(1)
    torch.testing.assert_close(x.mean(1), torch.zeros(6).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(x.norm(dim=1), torch.full((6,), 55.0).double(), rtol=1e-12, atol=0)


def test_neither_brightness_nor_contrast_matters_after_it():
    images = make_images().double()
    torch.testing.assert_close(normalise_contrast(0.2 * images + 0.7), normalise_contrast(images))


def test_least_contrast_of_8_bits_is_normalised_and_none_stays_none():
    flat = torch.full((2, 3, 32, 32), 100, dtype=torch.uint8)
    flat[1, 0, 5, 5] = 101
    x = to_float(flat).requires_grad_()
    y = normalise_contrast(x)
    norms = y.flatten(1).norm(dim=1)
    assert norms[0] < 0.5  # rounding
    assert norms[1].item() == pytest.approx(55, rel=1e-3)
    y.square().sum().backward()
    assert x.grad.isfinite().all()


# --- zca


def test_whitened_training_images_have_the_identity_for_covariance_but_along_their_mean(monkeypatch):
    """Whose variance the contrast normalisation has removed: I - 1 1^T / D."""
    monkeypatch.setattr(Whiten, "eps", 1e-4)
    images = make_bytes(800, 4, 2)
    x = Whiten.of(images)(to_float(images))
    expected = torch.eye(32, dtype=torch.float64) - 1 / 32
    torch.testing.assert_close(x.mean(0).double(), torch.zeros(2, 4, 4).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(covariance(x), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("eps", [0.1, 30.0])
def test_each_variance_shrinks_from_s_to_s_over_s_plus_eps(eps: float, monkeypatch):
    monkeypatch.setattr(Whiten, "eps", eps)
    images = make_bytes(200, 4, 2)
    before = np.cov(contrast_normalised(images), rowvar=False, bias=True)
    values, vectors = np.linalg.eigh(before)
    after = covariance(Whiten.of(images)(to_float(images))).numpy()
    shrunk = values / (values + eps)
    np.testing.assert_allclose(after, vectors @ np.diag(shrunk) @ vectors.T, rtol=0, atol=2e-4)
    assert 0.05 < shrunk[1] < shrunk[-1] < 1


def test_whitening_turns_nothing():
    """ZCA, unlike PCA: W is symmetric and positive, and commutes with the covariance."""
    images = make_bytes(200, 4, 2)
    matrix = Whiten.of(images).matrix.double()
    before = torch.from_numpy(np.cov(contrast_normalised(images), rowvar=False))
    torch.testing.assert_close(matrix, matrix.T, rtol=0, atol=1e-7)
    assert torch.linalg.eigvalsh(matrix).min() > 0
    torch.testing.assert_close(matrix @ before, before @ matrix, rtol=0, atol=1e-3)


@pytest.mark.parametrize("num", [20, 200])
def test_whitening_is_olivers_whose_covariance_has_a_tenth_on_its_diagonal(num: int):
    """With fewer images than dimensions too."""
    images, others = make_bytes(num, 4, 2), make_bytes(50, 4, 2).flip(3)
    x = contrast_normalised(images)
    u, s, _ = np.linalg.svd(np.cov(x, rowvar=False, bias=True) + 0.1 * np.eye(32))
    matrix = u @ np.diag(1 / np.sqrt(s)) @ u.T
    expected = torch.from_numpy((contrast_normalised(others) - x.mean(axis=0)) @ matrix).view(others.shape)
    whiten = Whiten.of(images)
    torch.testing.assert_close(whiten.matrix.double(), torch.from_numpy(matrix), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whiten(to_float(others)).double(), expected, rtol=1e-3, atol=1e-4)


def test_variances_that_rounding_makes_negative_count_as_none(monkeypatch):
    monkeypatch.setattr(Whiten, "eps", 1e-18)
    images = make_bytes(20, 4, 2)  # at most 19 of 32 directions have any
    matrix = Whiten.of(images).matrix
    assert matrix.isfinite().all()
    assert torch.linalg.eigvalsh(matrix.double()).max().item() <= 1.01e9


def test_statistics_do_not_depend_on_how_many_images_are_taken_at_a_time(monkeypatch):
    images = make_bytes(50, 4, 2)
    expected = Whiten.of(images)
    monkeypatch.setattr(prepare, "CHUNK", 7)
    torch.testing.assert_close(Whiten.of(images).state_dict(), expected.state_dict(), rtol=1e-5, atol=1e-6)


def test_whitening_has_the_gradient_that_finite_differences_have():
    whiten = Whiten.of(make_bytes(100, 3, 2)).double()
    assert torch.autograd.gradcheck(whiten, make_images(2, 3, 2).double().requires_grad_())


def test_autocast_costs_whitening_no_precision():
    images = make_bytes()
    whiten = Whiten.of(images)
    expected = whiten(to_float(images))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(whiten(to_float(images)), expected)


def test_whitening_only_gives_the_identity_for_covariance_and_keeps_brightness_and_contrast():
    images = make_bytes(800, 4, 2)
    whiten = WhitenOnly.of(images)
    x = whiten(to_float(images))
    torch.testing.assert_close(covariance(x), torch.eye(32, dtype=torch.float64), rtol=0, atol=1e-3)
    torch.testing.assert_close(x.mean(0), torch.zeros(2, 4, 4), rtol=0, atol=1e-3)
    mean = to_float(images).mean(0)
    torch.testing.assert_close(whiten.mean, mean.flatten(), rtol=0, atol=1e-6)
    faint = mean + 0.5 * (to_float(images) - mean)
    torch.testing.assert_close(whiten(faint), 0.5 * x, rtol=1e-3, atol=1e-3)


def test_whitening_only_is_the_authors_but_for_its_float64_and_their_scaling_of_channels():
    """Theirs: (x - mean) U (diag(1 / sqrt(S)) + 1e-6) U^T, of the covariance's U and S, which regularises nothing."""
    images, others = make_bytes(400, 4, 2), make_bytes(50, 4, 2).flip(3)
    x = to_float(images).flatten(1).double().numpy()
    u, s, _ = np.linalg.svd(np.cov(x, rowvar=False, bias=True))
    theirs = (to_float(others).flatten(1).double().numpy() - x.mean(0)) @ (u @ np.diag(1 / np.sqrt(s) + 1e-6) @ u.T)
    ours = WhitenOnly.of(images)(to_float(others)).flatten(1).double()
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-3, atol=1e-3)


def test_whitening_only_of_images_without_variance_somewhere_is_finite():
    images = make_bytes(50, 4, 2)
    images[:, 0, 0, 0] = 77
    assert WhitenOnly.of(images)(to_float(images)).isfinite().all()


def test_empty_whitening_normalises_contrast_alone():
    images = make_images()
    assert torch.equal(Whiten.empty(3, 8)(images), normalise_contrast(images))
    torch.testing.assert_close(WhitenOnly.empty(3, 8)(images), images)


# --- both


@pytest.mark.parametrize("name", PREPARATIONS)
def test_what_was_measured_can_be_loaded_into_an_empty_one(name: str):
    images = make_bytes()
    measured, empty = prepare_for(name, images), PREPARATIONS[name].empty(3, 8)
    assert measured.name == name
    assert not [*measured.parameters()]
    assert all(buffer.dtype == torch.float32 for buffer in measured.buffers())
    assert not torch.equal(empty(to_float(images)), measured(to_float(images)))
    empty.load_state_dict(measured.state_dict())
    assert torch.equal(empty(to_float(images)), measured(to_float(images)))


def test_no_preparation_is_none():
    assert prepare_for(None, make_bytes()) is None
