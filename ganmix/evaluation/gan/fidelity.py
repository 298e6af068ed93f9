"""IS, FID, KID, precision and recall from features, by torch-fidelity 0.4.

Only its functions from features to numbers and its Inception (extractors.py) are used; images, the feature pass and
the cache are ours. That avoids what makes its scores go wrong silently when it is given whole inputs:
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
from ganmix.evaluation.gan.protocol import IS_SPLITS, KID_SUBSET, NEIGHBOURS, SEED
from ganmix.evaluation.gan.reference import Reference, statistics

DIGITS, DECIMALS = 7, 9  # of a score: digits beyond these change with the order of additions
PRECISION_RECALL_PART = 1000  # points whose distances to all others are in memory at once


def fidelity_scores(
    fake: Features,
    real: Reference,
    *,
    is_splits: int = IS_SPLITS,
    kid_subset_size: int = KID_SUBSET,
    neighbours: int = NEIGHBOURS,
    precision_recall: bool = False,
    seed: int = SEED,
    extractor: str | None = None,
) -> list[Score]:
    """Score generated images against real ones; the same input gives the same numbers.

    Args:
        fake: the features of N generated images.
        real: the features of M real images, by the same extractor.
        is_splits: IS is the mean over this many parts, at most N.
        kid_subset_size: images in each of KID's 100 subsets, at least 2; the smaller set caps it.
        neighbours: a set's manifold is the balls around its points that reach this many neighbours.
        precision_recall: compute these two scores too; their cost grows with N * M.
        seed: shuffles before the splits of IS and chooses KID's subsets.
        extractor: names the extractor in the scores.

    Returns:
        IS (its spread is over splits) and FID. Where `real` has features also KID (its spread is over subsets, where
        these can differ) and, with `precision_recall`, precision and recall.

    Raises:
        ValueError: there are too few images, or the features are another extractor's.

    Source: https://github.com/toshas/torch-fidelity 0.4.0. IS: arXiv 1606.03498; FID: 1706.08500;
        KID: 1801.01401; precision and recall: 1904.06991.
    """
    import torch_fidelity.metric_fid
    import torch_fidelity.metric_isc
    import torch_fidelity.metric_kid
    import torch_fidelity.metric_prc

    def score(metric: str, value: float, spread: float | None = None) -> Score:
        return Score(metric, _rounded(value), None if spread is None else _rounded(spread), extractor)

    features = fake.features.double()
    _check(features, real, is_splits, neighbours if precision_recall else 1)
    found = torch_fidelity.metric_isc.isc_features_to_metric(fake.logits, is_splits, shuffle=True, rng_seed=seed)
    mu, sigma = statistics(features)
    found |= torch_fidelity.metric_fid.fid_statistics_to_metric(
        {"mu": mu.numpy(), "sigma": sigma.numpy()},
        {"mu": real.mu.numpy(), "sigma": real.sigma.numpy()},
        verbose=False,
    )
    scores = [
        score("IS", found["inception_score_mean"], found["inception_score_std"]),
        score("FID", found["frechet_inception_distance"]),
    ]
    if real.features is not None:
        both = features, real.features.double()  # for precision and recall, the first must be the generated set
        size = min(kid_subset_size, *map(len, both))
        found |= torch_fidelity.metric_kid.kid_features_to_metric(
            *both, kid_subsets=100, kid_subset_size=size, rng_seed=seed, verbose=False
        )
        # Where each subset is both whole sets, a spread of 0 would look like certainty.
        spread = found["kernel_inception_distance_std"] if size < max(map(len, both)) else None
        scores.append(score("KID", found["kernel_inception_distance_mean"], spread))
        if precision_recall:
            found |= torch_fidelity.metric_prc.prc_features_to_metric(
                *both,
                prc_neighborhood=neighbours,
                prc_batch_size=PRECISION_RECALL_PART,
                save_cpu_ram=True,
                verbose=False,
            )
            scores += [score(metric, found[metric]) for metric in ("precision", "recall")]
    return scores


def _rounded(score: float) -> float:
    return float(f"{round(score, DECIMALS):.{DIGITS}g}") + 0.0  # no -0.0


def _check(features: Tensor, real: Reference, is_splits: int, neighbours: int) -> None:
    fewest = max(neighbours + 1, 2)
    needs = [("generated", len(features), max(is_splits, fewest)), ("real", real.num, fewest)]
    problems = [
        f"these scores need at least {needed} {name} images, got {num}"
        for name, num, needed in needs
        if num is not None and num < needed
    ]
    theirs, ours = len(real.mu), features.shape[1]
    if theirs != ours:
        problems.append(f"the reference has statistics of {theirs} features, the extractor has {ours}")
    if problems:
        raise ValueError("\n".join(problems))
    assert torch.isfinite(features).all(), "features must be finite"
