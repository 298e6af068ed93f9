import json
import os
import pickle
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from score_values import values_of
from threadpoolctl import threadpool_limits
from torch import nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from ganmix.data import ImageData
from ganmix.evaluation.gan.extractors import classifier_extractor
from ganmix.evaluation.gan.features import Features, extract
from ganmix.evaluation.gan.fidelity import fidelity_scores
from ganmix.evaluation.gan.reference import Reference, image_reference, statistics

CPU = torch.device("cpu")


class Pixels(nn.Module):
    """Pixel values as features; a linear map of them as logits."""

    def __init__(self, num_pixels):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.head = nn.Parameter(4 * torch.randn(num_pixels, 5, generator=generator))

    def forward(self, images):
        features = images.flatten(1)
        return features, features @ self.head


def gaussian_images(num, mean, std, *, channels=1, seed=0):
    """Images of 2x2 pixels whose values in [-1, 1] are independent Gaussians."""
    generator = torch.Generator().manual_seed(seed)
    values = mean + std * torch.randn(num, channels, 2, 2, generator=generator)
    return values.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def pixel_values(images):
    """What `Pixels` computes, in NumPy."""
    return (images.numpy().reshape(len(images), -1) / 127.5 - 1).astype(np.float64)


def score(fake, real, **options):
    extractor = classifier_extractor(Pixels(fake[0].numel()), "pixels")
    reference = image_reference(ImageData(real, None, "made", "train"), extractor, CPU, cache=None)
    options = {"kid_subset_size": 100, "precision_recall": True, **options}
    return values_of(fidelity_scores(extract(fake, extractor, CPU), reference, **options))


def score_features(fake, real, **options):
    """Score features [N, D] and [M, D], the logits being the first of them."""
    reference = Reference({"num": len(real)}, *statistics(real), real)
    return values_of(fidelity_scores(Features(fake, fake[:, :5]), reference, **{"kid_subset_size": 100, **options}))


FAKE = gaussian_images(200, 0.3, 0.2)
REAL = gaussian_images(150, 0.0, 0.3, seed=1)


def frechet_distance(x, y):
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2), by symmetric eigenvalue problems only."""
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(s1)
    root = vectors * np.sqrt(values) @ vectors.T
    trace_of_root = np.sqrt(np.linalg.eigvalsh(root @ s2 @ root)).sum()
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(s1 + s2) - 2 * trace_of_root


def test_fid_equals_an_independent_computation():
    expected = frechet_distance(pixel_values(FAKE), pixel_values(REAL))
    assert score(FAKE, REAL)["FID"] == pytest.approx(expected, rel=1e-5)


def test_fid_of_gaussians_equals_its_closed_form():
    fake, real = gaussian_images(4000, 0.3, 0.1), gaussian_images(4000, 0.0, 0.2, seed=1)
    expected = 4 * (0.3**2 + (0.2 - 0.1) ** 2)  # of four independent pixels
    assert score(fake, real, precision_recall=False)["FID"] == pytest.approx(expected, rel=0.04)


def test_fid_and_kid_of_a_set_with_itself_are_zero():
    scores = score(REAL, REAL, kid_subset_size=len(REAL))
    assert scores["FID"] == pytest.approx(0, abs=1e-6)
    assert scores["precision"] == scores["recall"] == 1
    # Unbiased: the diagonal counts in the cross term only, so that a set with itself scores just below zero.
    assert -0.02 < scores["KID"] < 0


def test_what_is_zero_but_for_rounding_is_stored_as_zero():
    scores = score(REAL, REAL, kid_subset_size=len(REAL))
    assert str(scores["FID"]) == "0.0"


def test_fid_does_not_depend_on_which_set_is_generated():
    assert score(FAKE, REAL)["FID"] == pytest.approx(score(REAL, FAKE)["FID"], rel=1e-6)


def test_fid_does_not_change_where_all_features_move_far_away():
    fake, real = (torch.from_numpy(images.numpy().reshape(len(images), 4)).float() for images in (FAKE, REAL))
    near, far = (score_features(fake + shift, real + shift)["FID"] for shift in (0.0, 2.0**16))  # exact in float32
    assert far == pytest.approx(near, rel=1e-6)


def test_is_equals_an_independent_computation():
    logits = pixel_values(FAKE) @ Pixels(4).head.detach().double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    p = p[np.random.RandomState(7).permutation(len(p))]
    parts = [np.exp(np.mean(np.sum(q * np.log(q / q.mean(0)), axis=1))) for q in np.array_split(p, 4)]
    scores = score(FAKE, REAL, is_splits=4, seed=7)
    assert scores["IS"] == pytest.approx(np.mean(parts), rel=1e-5)
    assert scores["IS_std"] == pytest.approx(np.std(parts), rel=1e-3)
    assert scores["IS"] > 1.1


def test_kid_equals_an_independent_computation():
    fake, real = FAKE[:100], REAL[:100]  # as many as a subset: each of the 100 subsets is the whole set
    x, y = pixel_values(fake), pixel_values(real)

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    off_diagonal = ~np.eye(100, dtype=bool)
    within = kernel(x, x)[off_diagonal].mean() + kernel(y, y)[off_diagonal].mean()
    expected = within - 2 * kernel(x, y).mean()
    scores = score(fake, real)
    assert scores["KID"] == pytest.approx(expected, rel=1e-5)
    assert "KID_std" in score(FAKE, REAL[:100])  # a subset of FAKE can differ


def test_precision_and_recall_equal_an_independent_computation():
    fake, real = gaussian_images(60, 0.1, 0.1), gaussian_images(50, 0.0, 0.3, seed=1)
    x, y = pixel_values(fake), pixel_values(real)

    def share_inside(points, centres):
        between = np.linalg.norm(centres[:, None] - centres, axis=2)
        radius = np.sort(between, axis=1)[:, 2]  # to the 2nd neighbour; the 0th is the centre itself
        return np.mean((np.linalg.norm(points[:, None] - centres, axis=2) <= radius).any(1))

    scores = score(fake, real, neighbours=2)
    assert scores["precision"] == pytest.approx(share_inside(x, y), rel=1e-6)
    assert scores["recall"] == pytest.approx(share_inside(y, x), rel=1e-6)
    assert scores["precision"] > scores["recall"] + 0.2  # narrow generated images, so the two are not swapped


class Part(nn.Module):
    """The features or the logits of `Pixels`, as torchmetrics wants its networks."""

    def __init__(self, part):
        super().__init__()
        self.extractor = classifier_extractor(Pixels(4), "pixels")
        self.part = part
        self.num_features = 4  # else torchmetrics tries an image of 299x299

    def forward(self, images):
        return getattr(extract(images, self.extractor, CPU), self.part)


def test_fid_is_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    theirs = FrechetInceptionDistance(feature=Part("features"))
    theirs.update(FAKE, real=False)
    theirs.update(REAL, real=True)
    assert score(FAKE, REAL)["FID"] == pytest.approx(theirs.compute().item(), rel=1e-5)


def test_is_is_torchmetrics(monkeypatch):
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it keeps all features
        theirs = InceptionScore(feature=Part("logits"), splits=10)
    theirs.update(FAKE)
    order = torch.from_numpy(np.random.RandomState(2020).permutation(len(FAKE)))
    monkeypatch.setattr(torch, "randperm", lambda num: order)  # theirs is unseeded: the splits would be others
    mean, std = theirs.compute()
    scores = score(FAKE, REAL)
    assert scores["IS"] == pytest.approx(mean.item(), rel=1e-5)
    assert scores["IS_std"] == pytest.approx(std.item() * (9 / 10) ** 0.5, rel=1e-4)  # theirs is of a sample


class Registered(FeatureExtractorBase):
    """`Pixels`, in float64, as torch-fidelity wants its networks."""

    def __init__(self, name, features_list, **options):
        super().__init__(name, features_list)
        self.extractor = classifier_extractor(Pixels(4), "pixels")

    @staticmethod
    def get_provided_features_list():
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled():
        return False

    def forward(self, images):
        return tuple(getattr(extract(images, self.extractor, CPU), name).double() for name in self.features_list)


class Images(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def test_all_scores_are_those_of_torch_fidelity_with_the_same_extractor(monkeypatch):
    monkeypatch.setitem(FEATURE_EXTRACTORS_REGISTRY, "test-pixels", Registered)
    options = {"isc_splits": 7, "kid_subset_size": 60, "prc_neighborhood": 4, "rng_seed": 11}
    theirs = torch_fidelity.calculate_metrics(
        input1=Images(FAKE),
        input2=Images(REAL),
        feature_extractor="test-pixels",
        **dict.fromkeys(("isc", "fid", "kid", "prc"), True),
        **options,
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,  # else it starts processes to read images
    )
    names = {
        "IS": "inception_score_mean",
        "IS_std": "inception_score_std",
        "FID": "frechet_inception_distance",
        "KID": "kernel_inception_distance_mean",
        "KID_std": "kernel_inception_distance_std",
        "precision": "precision",
        "recall": "recall",
    }
    ours = score(FAKE, REAL, is_splits=7, kid_subset_size=60, neighbours=4, seed=11)
    assert ours == pytest.approx({name: theirs[key] for name, key in names.items()}, rel=1e-6)
    assert ours["KID_std"] > 0


def test_precision_and_recall_can_be_left_out():
    scores = score(FAKE, REAL, precision_recall=False)
    assert set(scores) == {"IS", "IS_std", "FID", "KID", "KID_std"}
    assert score(FAKE, REAL).items() >= scores.items()


def test_statistics_alone_give_is_and_fid_alone():
    extractor = classifier_extractor(Pixels(4), "pixels")
    reference = image_reference(ImageData(REAL, None, "made", "train"), extractor, CPU, cache=None)
    fake = extract(FAKE, extractor, CPU)
    scores = values_of(fidelity_scores(fake, replace(reference, features=None), precision_recall=True))
    assert set(scores) == {"IS", "IS_std", "FID"}
    assert values_of(fidelity_scores(fake, reference)).items() >= scores.items()


def test_precision_and_recall_do_not_depend_on_the_points_held_at_once(monkeypatch):
    expected = score(FAKE, REAL)
    monkeypatch.setattr("ganmix.evaluation.gan.fidelity.PRECISION_RECALL_PART", 33)
    assert score(FAKE, REAL) == expected


def test_the_seed_chooses_splits_and_subsets():
    first, other = score(FAKE, REAL, seed=1), score(FAKE, REAL, seed=2)
    assert {name for name in first if first[name] != other[name]} == {"IS", "IS_std", "KID", "KID_std"}
    assert score(FAKE, REAL, seed=1) == first


def test_scores_have_seven_digits():
    for value in score(FAKE, REAL).values():
        assert value == float(f"{value:.7g}")


def test_scores_do_not_depend_on_the_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    fake, real = (torch.randn(num, 256, generator=generator) for num in (600, 550))  # enough to share the work
    found = []
    for num_threads in (1, 2):
        with threadpool_limits(num_threads):  # NumPy's
            torch.set_num_threads(num_threads)
            try:
                found.append(score_features(fake, real, precision_recall=True, kid_subset_size=20))
            finally:
                torch.set_num_threads(1)
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def fresh_process():
    """What a fresh process says, in which sets of strings have another order."""
    code = """
import json, sys
import ganmix.evaluation
needless = "torch_fidelity" in sys.modules
from test_fidelity import FAKE, REAL, score
print(json.dumps({"imports torch-fidelity": needless, "scores": score(FAKE, REAL)}))
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "2"}
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=here, env=env, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def test_scores_are_the_same_in_another_process(fresh_process):
    assert fresh_process["scores"] == score(FAKE, REAL)


def test_importing_evaluation_does_not_import_torch_fidelity(fresh_process):
    assert not fresh_process["imports torch-fidelity"]


def test_random_states_are_left_as_found():
    torch_state, numpy_state = torch.get_rng_state(), pickle.dumps(np.random.get_state())
    score(FAKE, REAL)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert pickle.dumps(np.random.get_state()) == numpy_state


@pytest.mark.parametrize(("num_fake", "num_real", "size"), [(100, 100, 1000), (100, 100, 100), (10, 10, 50)])
def test_kid_has_no_spread_where_each_subset_is_both_whole_sets(num_fake: int, num_real: int, size: int):
    assert "KID_std" not in score(FAKE[:num_fake], REAL[:num_real], kid_subset_size=size)


@pytest.mark.parametrize(("num_fake", "num_real", "size"), [(100, 99, 1000), (99, 100, 1000), (100, 100, 99)])
def test_kid_has_a_spread_where_a_subset_can_differ(num_fake: int, num_real: int, size: int):
    assert score(FAKE[:num_fake], REAL[:num_real], kid_subset_size=size)["KID_std"] > 1e-6


def test_the_kid_subset_shrinks_to_the_smaller_set():
    assert score(FAKE, REAL, kid_subset_size=1000) == score(FAKE, REAL, kid_subset_size=len(REAL))
    assert score(REAL, FAKE, kid_subset_size=1000) == score(REAL, FAKE, kid_subset_size=len(REAL))


def test_colour_images_work():
    colour = gaussian_images(50, 0.0, 0.3, channels=3)
    assert all(np.isfinite(value) for value in score(colour, colour).values())


def test_fewer_images_than_the_scores_need_are_refused():
    with pytest.raises(ValueError, match="at least 10 generated images, got 9"):
        score(FAKE[:9], REAL)
    with pytest.raises(ValueError, match="at least 4 real images, got 3"):
        score(FAKE, REAL[:3])
    with pytest.raises(ValueError, match="at least 2 generated images, got 1"):
        score(FAKE[:1], REAL, precision_recall=False, is_splits=1)
    with pytest.raises(ValueError, match=r"(?s)10 generated images, got 9\n.*4 real images, got 3"):
        score(FAKE[:9], REAL[:3])


def test_one_real_image_is_refused():
    fake = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    reference = Reference({"num": 1}, torch.zeros(5).double(), torch.eye(5).double(), torch.zeros(1, 5))
    with pytest.raises(ValueError, match="at least 2 real images, got 1"):
        fidelity_scores(Features(fake, fake), reference)


def test_the_fewest_images_allowed_give_finite_scores():
    scores = score(FAKE[:10], REAL[:4])
    assert all(np.isfinite(value) for value in scores.values())
    scores = score(FAKE[:2], REAL[:2], is_splits=2, precision_recall=False)
    assert all(np.isfinite(value) for value in scores.values())


def test_features_that_are_not_finite_are_our_mistake():
    features = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    features[3, 2] = torch.nan
    with pytest.raises(AssertionError, match="features must be finite"):
        score_features(features, torch.zeros(20, 5))
