"""IS, FID, KID, precision and recall from features, by torch-fidelity 0.4.

Its functions from features to numbers are used, and its Inception (extractors.py); images, the feature pass and what
is kept on disk are ours. That leaves out what makes its scores go wrong unseen when it is handed whole inputs:
cache entries that know neither weights nor images and are unpickled without care, layers that swap with
PYTHONHASHSEED, generators left in eval mode, conditional generators and path lengths that fail on new NumPy,
"float64" that is float32, ignored options, no precomputed statistics. What its functions leave to the caller:

    fewer images than splits: IS is nan             ValueError
    one image, or fewer than a KID subset: a crash  ValueError; the subset shrinks to the smaller set
    float32 features: sums that depend on threads   all are float64 here, and the scores are rounded to 7 digits
"""

import torch
from torch import Tensor

from ganmix.engine.scores import Score
from ganmix.evaluation.gan.features import Features
from ganmix.evaluation.gan.reference import Reference, statistics

DIGITS, DECIMALS = 7, 9  # that a score keeps: what is beyond changes with the order of additions
PRECISION_RECALL_PART = 1000  # points whose distances to all others are in memory at once


def fidelity_scores(
    fake: Features,
    real: Reference,
    *,
    is_splits: int = 10,
    kid_subset_size: int = 1000,
    neighbours: int = 3,
    precision_recall: bool = False,
    seed: int = 2020,
    extractor: str | None = None,
) -> list[Score]:
    """Score generated images against real ones; the same input gives the same numbers.

    Args:
        fake: what an extractor sees in N generated images.
        real: what the same extractor sees in M real images.
        is_splits: parts that IS is the mean over; at most N.
        kid_subset_size: images in each of KID's 100 subsets, at least 2; no more than the smaller set has.
        neighbours: a set's manifold is the balls around its points that reach this many neighbours.
        precision_recall: whether to compute the two scores whose cost grows with N * M.
        seed: shuffles before the splits of IS and chooses KID's subsets.
        extractor: names the extractor in the scores.

    Returns:
        IS (its spread is over splits) and FID; where the features of real images are known also KID (its spread is
        over subsets, where these can differ) and, if asked for, precision and recall.

    Raises:
        ValueError: too few images, or features of another extractor.

    Source: https://github.com/toshas/torch-fidelity 0.4.0. IS: arXiv 1606.03498; FID: 1706.08500;
        KID: 1801.01401; precision and recall: 1904.06991.
    """
    import torch_fidelity.metric_fid
    import torch_fidelity.metric_isc
    import torch_fidelity.metric_kid
    import torch_fidelity.metric_prc

    features = fake.features.double()
    _check(features, real, is_splits, neighbours if precision_recall else 1)
    found = torch_fidelity.metric_isc.isc_features_to_metric(fake.logits, is_splits, shuffle=True, rng_seed=seed)
    mu, sigma = statistics(features)
    found |= torch_fidelity.metric_fid.fid_statistics_to_metric(
        {"mu": mu.numpy(), "sigma": sigma.numpy()},
        {"mu": real.mu.numpy(), "sigma": real.sigma.numpy()},
        verbose=False,
    )
    spreads = {"IS": "inception_score_std"}
    names = {"IS": "inception_score_mean", "FID": "frechet_inception_distance"}
    if real.features is not None:
        both = features, real.features.double()  # in precision and recall, the first must be the generated set
        size = min(kid_subset_size, *map(len, both))
        found |= torch_fidelity.metric_kid.kid_features_to_metric(
            *both, kid_subsets=100, kid_subset_size=size, rng_seed=seed, verbose=False
        )
        names |= {"KID": "kernel_inception_distance_mean"}
        if size < max(map(len, both)):  # else each subset is both whole sets, and a spread of 0 would read as certainty
            spreads |= {"KID": "kernel_inception_distance_std"}
        if precision_recall:
            found |= torch_fidelity.metric_prc.prc_features_to_metric(
                *both,
                prc_neighborhood=neighbours,
                prc_batch_size=PRECISION_RECALL_PART,
                save_cpu_ram=True,
                verbose=False,
            )
            names |= {"precision": "precision", "recall": "recall"}

    def score(metric: str) -> Score:
        spread = _rounded(found[spreads[metric]]) if metric in spreads else None
        return Score(metric, _rounded(found[names[metric]]), spread, extractor)

    return [score(metric) for metric in names]


def _rounded(score: float) -> float:
    return float(f"{round(score, DECIMALS):.{DIGITS}g}") + 0.0  # no -0.0


def _check(features: Tensor, real: Reference, is_splits: int, neighbours: int) -> None:
    problems = []
    for name, num, fewest in (
        ("generated", len(features), max(is_splits, neighbours + 1, 2)),
        ("real", real.num, max(neighbours + 1, 2)),
    ):
        if num is not None and num < fewest:
            problems.append(f"these scores need at least {fewest} {name} images, got {num}")
    if features.shape[1] != len(real.mu):
        theirs, ours = len(real.mu), features.shape[1]
        problems.append(f"the reference has statistics of {theirs} features, the extractor has {ours}")
    if problems:
        raise ValueError("\n".join(problems))
    assert torch.isfinite(features).all(), "features must be finite"
