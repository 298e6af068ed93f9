import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from torch import nn

from ganmix.errors import UserError
from ganmix.evaluation import Reference, classifier_extractor, fidelity_scores, images_digest, protocol
from ganmix.evaluation.fidelity import _calculate


class Pixels(nn.Module):
    """Pixel values, times a gain, as features; a linear map of them as logits.

    It sums by itself: a matrix product's rounding may change with the batch size.
    """

    def __init__(self, num_pixels, gain=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.gain = nn.Parameter(torch.tensor(gain))
        self.head = nn.Parameter(4 * torch.randn(num_pixels, 5, generator=generator))

    def forward(self, images):
        features = self.gain * images.flatten(1)
        return features, (features[:, :, None] * self.head).sum(1)


def gaussian_images(num, mean, std, *, channels=1, seed=0):
    """Images of 2x2 pixels whose values in [-1, 1] are independent Gaussians."""
    generator = torch.Generator().manual_seed(seed)
    values = mean + std * torch.randn(num, channels, 2, 2, generator=generator)
    return values.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def pixel_values(images):
    """What `Pixels` computes, in NumPy."""
    return (images.numpy().reshape(len(images), -1) / 127.5 - 1).astype(np.float64)


def score(fake, real, extractor=None, **options):
    extractor = extractor or classifier_extractor(Pixels(fake[0].numel()), "pixels")
    options = {"kid_subset_size": 100, "cache": None, "device": "cpu", **options}
    return fidelity_scores(fake, real, extractor, real_digest=images_digest(real), **options)


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


def test_fid_does_not_depend_on_which_set_is_generated():
    assert score(FAKE, REAL)["FID"] == pytest.approx(score(REAL, FAKE)["FID"], rel=1e-9)


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
    assert scores["KID"] == pytest.approx(expected, rel=1e-4)
    assert scores["KID_std"] == pytest.approx(0, abs=1e-5)


def test_precision_and_recall_equal_an_independent_computation():
    fake, real = gaussian_images(60, 0.1, 0.1), gaussian_images(50, 0.0, 0.3, seed=1)
    x, y = pixel_values(fake), pixel_values(real)

    def share_inside(points, centres):
        between = np.linalg.norm(centres[:, None] - centres, axis=2)
        radius = np.sort(between, axis=1)[:, 2]  # to the 2nd neighbour; the 0th is the centre itself
        return np.mean((np.linalg.norm(points[:, None] - centres, axis=2) <= radius).any(1))

    scores = score(fake, real, neighbours=2)
    assert scores["precision"] == pytest.approx(share_inside(x, y))
    assert scores["recall"] == pytest.approx(share_inside(y, x))
    assert scores["precision"] > scores["recall"] + 0.2  # narrow generated images, so the two are not swapped


def test_precision_and_recall_can_be_left_out():
    scores = score(FAKE, REAL, precision_recall=False)
    assert set(scores) == {"IS", "IS_std", "FID", "KID", "KID_std"}
    assert score(FAKE, REAL).items() >= scores.items()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_scores_do_not_depend_on_the_batch_size(batch_size):
    assert score(FAKE, REAL, batch_size=batch_size) == score(FAKE, REAL, batch_size=256)


def start_python(code, **variables):
    """Start a fresh process that can import this file."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    here = Path(__file__).parent
    return subprocess.Popen([sys.executable, "-c", code], cwd=here, env=env, stdout=subprocess.PIPE)


def print_scores():
    print(json.dumps(score(FAKE, REAL)))


def test_scores_do_not_depend_on_pythonhashseed():
    # On CPython 3.11, sets of the two layers have one order under seed 0 and the other under seed 2.
    code = "import test_fidelity; test_fidelity.print_scores()"
    processes = [start_python(code, PYTHONHASHSEED=seed) for seed in ("0", "2")]
    first, second = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert first == second == score(FAKE, REAL)


def test_importing_evaluation_does_not_import_torch_fidelity():
    process = start_python("import sys, ganmix.evaluation; sys.exit('torch_fidelity' in sys.modules)")
    process.communicate(timeout=120)
    assert process.returncode == 0


def test_random_states_are_left_as_found():
    torch_state, numpy_state = torch.get_rng_state(), pickle.dumps(np.random.get_state())
    score(FAKE, REAL)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert pickle.dumps(np.random.get_state()) == numpy_state


def test_cached_features_give_the_same_scores_without_the_real_images(tmp_path, monkeypatch):
    expected = score(FAKE, REAL)
    assert score(FAKE, REAL, cache=tmp_path / "new") == expected
    seen = []
    forward = Pixels.forward
    monkeypatch.setattr(Pixels, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    assert score(FAKE, REAL, cache=tmp_path / "new") == expected
    assert sum(seen) == len(FAKE)


def test_without_a_cache_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    score(FAKE, REAL)
    assert not list(tmp_path.iterdir())


def test_a_retrained_extractor_does_not_meet_the_cache_of_the_old(tmp_path):
    old = classifier_extractor(Pixels(4), "retrained")
    new = classifier_extractor(Pixels(4, gain=3.0), "retrained")
    score(FAKE, REAL, old, cache=tmp_path)
    assert score(FAKE, REAL, new, cache=tmp_path) == score(FAKE, REAL, new)


def test_other_real_images_do_not_meet_the_cache_of_these(tmp_path):
    score(FAKE, REAL, cache=tmp_path)
    other = REAL.clone()
    other[0] = 255
    assert score(FAKE, other, cache=tmp_path) == score(FAKE, other) != score(FAKE, REAL)


@pytest.mark.parametrize("kept_bytes", [0, 100, -30])
def test_truncated_cache_files_are_computed_again(tmp_path, kept_bytes):
    expected = score(FAKE, REAL, cache=tmp_path)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 3  # features, logits, and the mean and covariance of FID
    for path in paths:
        path.write_bytes(path.read_bytes()[:kept_bytes])
    assert score(FAKE, REAL, cache=tmp_path) == expected
    assert all(path.stat().st_size > 100 for path in paths)


def test_sound_cache_files_are_kept(tmp_path):
    score(FAKE, REAL, cache=tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    score(FAKE, REAL, cache=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("hacked",)


def test_a_cache_file_that_holds_code_does_not_run_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = score(FAKE, REAL, cache=tmp_path)
    for path in tmp_path.iterdir():
        torch.save(RunsCode(), path)
    assert score(FAKE, REAL, cache=tmp_path) == expected
    assert not (tmp_path / "hacked").exists()


def test_option_names_unknown_to_torch_fidelity_are_our_mistake():
    with pytest.raises(AssertionError, match="batch_sise"):
        _calculate({"batch_sise": 3})


def test_the_kid_subset_shrinks_to_the_smaller_set():
    assert score(FAKE, REAL, kid_subset_size=1000) == score(FAKE, REAL, kid_subset_size=len(REAL))


def test_colour_images_work():
    colour = gaussian_images(50, 0.0, 0.3, channels=3)
    assert all(np.isfinite(value) for value in score(colour, colour).values())


def test_fewer_images_than_the_scores_need_are_refused():
    with pytest.raises(UserError, match="at least 10 generated images, got 9"):
        score(FAKE[:9], REAL)
    with pytest.raises(UserError, match="at least 4 real images, got 3"):
        score(FAKE, REAL[:3])
    with pytest.raises(UserError, match="at least 2 real images, got 1"):
        score(FAKE, REAL[:1], precision_recall=False)
    with pytest.raises(UserError, match="at least 2 generated images, got 1"):
        score(FAKE[:1], REAL, precision_recall=False, is_splits=1)


def test_the_fewest_images_allowed_give_finite_scores():
    scores = score(FAKE[:10], REAL[:4])
    assert all(np.isfinite(value) for value in scores.values())
    scores = score(FAKE[:2], REAL[:2], is_splits=2, precision_recall=False)
    assert all(np.isfinite(value) for value in scores.values())


def test_images_of_other_types_or_shapes_are_refused():
    for bad in (FAKE.float(), FAKE[0], FAKE.expand(-1, 2, -1, -1)):
        with pytest.raises(UserError, match=r"generated images must be uint8 \[N, 1 or 3, H, W\], got torch"):
            score(bad, REAL, classifier_extractor(Pixels(4), "pixels"))
    with pytest.raises(UserError, match="have 3 channels, real images 1"):
        score(FAKE.expand(-1, 3, -1, -1), REAL)


def make_protocol(num_real=150, num_fake=200):
    images = REAL[:1].expand(num_real, -1, -1, -1)
    reference = Reference(images, "made", "train", digest=images_digest(REAL))
    options = {"is_splits": 10, "kid_subset_size": 1000, "neighbours": 3, "seed": 2020}
    extractor = classifier_extractor(Pixels(4), "pixels")
    return protocol(extractor, reference, num_fake=num_fake, weights="ema", batch_norm="running", **options)


def test_the_protocol_survives_json_and_holds_digests_and_versions():
    found = make_protocol()
    assert json.loads(json.dumps(found)) == found
    assert found["reference"]["digest"] == images_digest(REAL)
    assert found["extractor_digest"] == classifier_extractor(Pixels(4), "pixels").digest
    assert found["kid_subset_size"] == 150
    assert found["versions"]["torch_fidelity"] == torch_fidelity.__version__


def test_the_protocol_marks_sets_under_ten_thousand_images():
    assert make_protocol(num_real=9_999, num_fake=50_000)["few_images"]
    assert make_protocol(num_real=50_000, num_fake=9_999)["few_images"]
    assert not make_protocol(num_real=10_000, num_fake=10_000)["few_images"]


def test_the_digest_knows_values_order_and_shape():
    others = (REAL.flip(0), REAL[:-1], REAL.reshape(150, 1, 4, 1), REAL + 1)
    assert images_digest(REAL) == images_digest(REAL.clone())
    assert images_digest(REAL) not in {images_digest(other) for other in others}
