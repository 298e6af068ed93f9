"""IS, FID, KID, precision and recall of generated images, by torch-fidelity 0.4.

Its traps, and what keeps each from a score:

 1  conditional generators fail on NumPy >= 1.24     only images are handed over, no generators
 2  perceptual path length fails on NumPy >= 2.4     not offered
 3  cache entries know neither weights nor images    both digests are in the entry's name
 4  layers swap with PYTHONHASHSEED                  extractors.py answers in the order asked for
 5  its wrapper leaves the generator in eval mode    as 1
 6  "float64" is float32                             not offered
 7  fewer images than splits: IS is nan              UserError
 8  one image, or fewer than a KID subset: a crash   UserError; the subset shrinks to the smaller set
 9  weights are loaded again at every call           the registered class closes over a live network
10  no precomputed statistics                        features of the real images are cached
11  cache files are unpickled without care           each is first loaded with weights_only=True
--  unknown options are ignored                      names are checked against its defaults
--  its DataLoader draws from the global generator   the generator's state is put back
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ganmix.errors import UserError
from ganmix.evaluation.extractors import Extractor, sha256_of

FEW_IMAGES = 10_000  # FID grows as images become fewer; below this, by more than most methods differ


@dataclass(frozen=True)
class Reference:
    """The real images that generated ones are compared with.

    Args:
        images: uint8 [N, C, H, W], on the CPU.
        dataset: its name.
        split: "train", "test", ...
        digest: `images_digest(images)`.
    """

    images: Tensor
    dataset: str
    split: str
    digest: str


def images_digest(images: Tensor) -> str:
    """SHA-256 in hex of a set of images: shape, values and order."""
    return sha256_of({"images": images})


def fidelity_scores(
    fake: Tensor,
    real: Tensor,
    extractor: Extractor,
    *,
    real_digest: str,
    device: torch.device | str,
    batch_size: int = 256,
    cache: Path | None,
    is_splits: int = 10,
    kid_subset_size: int = 1000,
    neighbours: int = 3,
    precision_recall: bool = True,
    seed: int = 2020,
) -> dict[str, float]:
    """Score generated images against real ones; the same input gives the same numbers.

    The global random state is left as found.

    Args:
        fake: generated images, uint8 [N, C, H, W] with C = 1 or 3, on the CPU.
        real: real images, uint8 [M, C, H, W], on the CPU.
        extractor: where features and logits come from; put its prefix before the labels.
        real_digest: `images_digest(real)`.
        device: where features are computed; any but a CUDA device means the CPU.
        batch_size: images at a time; changes the scores by rounding at most.
        cache: folder for the features of `real` (50k images through Inception: 600 MB), or None. It must be
            the user's own, for torch-fidelity reads it by pickle. Entries that hold more than numbers, or are
            damaged, are deleted and computed again.
        is_splits: parts that IS is the mean over; at most N.
        kid_subset_size: images in each of KID's 100 subsets, at least 2; no more than the smaller set has.
        neighbours: a set's manifold is the balls around its points that reach this many neighbours.
        precision_recall: whether to compute the two scores whose cost grows with N * M.
        seed: shuffles before the splits of IS and chooses KID's subsets.

    Returns:
        IS, IS_std (over splits), FID, KID, KID_std (over subsets) and, if asked for, precision and recall.

    Raises:
        UserError: images of a wrong type or shape, or too few of them.

    Source: https://github.com/toshas/torch-fidelity 0.4.0. IS: arXiv 1606.03498; FID: 1706.08500;
        KID: 1801.01401; precision and recall: 1904.06991.
    """
    fewest = max(2, neighbours + 1 if precision_recall else 0)
    _check_images(fake, real, fewest_fake=max(fewest, is_splits), fewest_real=fewest)
    device = torch.device(device)
    options = {
        "input1": _Images(fake),  # in precision and recall, 1 must be the generated set
        "input2": _Images(real),
        "isc": True,
        "fid": True,
        "kid": True,
        "prc": precision_recall,
        "feature_extractor": extractor.registered,
        "feature_layer_isc": extractor.logits_layer,
        "feature_layer_fid": extractor.features_layer,
        "feature_layer_kid": extractor.features_layer,
        "feature_layer_prc": extractor.features_layer,
        "isc_splits": is_splits,
        "kid_subset_size": min(kid_subset_size, len(fake), len(real)),
        "prc_neighborhood": neighbours,
        "rng_seed": seed,
        "batch_size": batch_size,
        "cuda": device.type == "cuda",
        "cache": cache is not None,
        "cache_root": str(cache),
        "input2_cache_name": real_digest,
        "save_cpu_ram": True,  # no loader processes: images in memory come faster without
        "verbose": False,
    }
    if cache is not None:
        _delete_damaged(cache, f"{real_digest}-{extractor.registered}-")
    with torch.random.fork_rng(devices=[]), _current(device):
        found = _calculate(options)
    scores = {
        "IS": found["inception_score_mean"],
        "IS_std": found["inception_score_std"],
        "FID": found["frechet_inception_distance"],
        "KID": found["kernel_inception_distance_mean"],
        "KID_std": found["kernel_inception_distance_std"],
    }
    if precision_recall:
        scores |= {"precision": found["precision"], "recall": found["recall"]}
    return scores


def protocol(
    extractor: Extractor,
    reference: Reference,
    *,
    num_fake: int,
    is_splits: int,
    kid_subset_size: int,
    neighbours: int,
    seed: int,
    weights: str,
    batch_norm: str,
) -> dict[str, Any]:
    """All that makes two scores comparable, as plain values for JSON; scores of unlike protocols are not.

    Args:
        num_fake: generated images.
        is_splits, kid_subset_size, neighbours, seed: as given to `fidelity_scores`.
        weights: the generator's weights that were sampled: "ema" or "live".
        batch_norm: the statistics its batch norms used: "running", ...
    """
    num_real = len(reference.images)
    return {
        "extractor": extractor.name,
        "extractor_digest": extractor.digest,
        "reference": {
            "dataset": reference.dataset,
            "split": reference.split,
            "num": num_real,
            "digest": reference.digest,
        },
        "num_fake": num_fake,
        "few_images": min(num_fake, num_real) < FEW_IMAGES,
        "quantisation": "round",
        "is_splits": is_splits,
        "kid_subset_size": min(kid_subset_size, num_fake, num_real),
        "neighbours": neighbours,
        "seed": seed,
        "weights": weights,
        "batch_norm": batch_norm,
        "versions": {name: version(name) for name in ("torch", "torchvision", "torch_fidelity", "numpy")},
    }


class _Images(Dataset[Tensor]):
    """A dataset of bare tensors, the only kind that torch-fidelity takes."""

    def __init__(self, images: Tensor):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


def _check_images(fake: Tensor, real: Tensor, *, fewest_fake: int, fewest_real: int) -> None:
    problems = []
    for name, images, fewest in (("generated", fake, fewest_fake), ("real", real, fewest_real)):
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            found = f"{images.dtype} {list(images.shape)}"
            problems.append(f"{name} images must be uint8 [N, 1 or 3, H, W], got {found}")
        elif len(images) < fewest:
            problems.append(f"these scores need at least {fewest} {name} images, got {len(images)}")
    if not problems and fake.shape[1] != real.shape[1]:
        problems.append(f"generated images have {fake.shape[1]} channels, real images {real.shape[1]}")
    if problems:
        raise UserError(problems)


def _calculate(options: dict[str, Any]) -> dict[str, float]:
    import torch_fidelity
    from torch_fidelity.defaults import DEFAULTS

    unknown = options.keys() - DEFAULTS.keys()
    assert not unknown, f"torch-fidelity would ignore {sorted(unknown)}"
    found: dict[str, float] = torch_fidelity.calculate_metrics(**options)
    return found


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """torch-fidelity computes on the current CUDA device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _delete_damaged(cache: Path, prefix: str) -> None:
    """Delete cached files that are not whole or hold more than numbers: absent ones are computed."""
    from numpy._core.multiarray import _reconstruct

    dtypes = [type(np.dtype(name)) for name in ("float32", "float64")]
    numbers: list[Any] = [_reconstruct, np.ndarray, np.dtype, *dtypes]
    for path in cache.glob("*.pt"):
        if path.name.startswith(prefix):
            try:
                with torch.serialization.safe_globals(numbers):
                    torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except Exception:  # unpickling damaged bytes may raise anything
                path.unlink(missing_ok=True)
