"""Loss along interpolations between test images, at each stage's input (Verma et al. 2018, Figure 1)."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.data import ImageData, to_float
from ganmix.engine.scores import Score
from ganmix.evaluation.classifier.accuracy import BATCH
from ganmix.mixup import MixPlan
from ganmix.networks.classifier.base import Classifier
from ganmix.networks.modes import evaluating

PROTOCOL = {"pairs": "each image with one of a random permutation of all"}


@torch.no_grad()
def interpolation_nll(
    network: Classifier, data: ImageData, device: torch.device, *, num_lambdas: int, seed: int
) -> dict[str, list[float]]:
    """Return the loss of mixed hidden states against equally mixed labels.

    Image x_1 is paired with x_2 of a permutation of all images, and the loss at g_k(lam h_k(x_1) + (1 - lam) h_k(x_2))
    is lam CE(y_1) + (1 - lam) CE(y_2). Differs from the paper's code, which permuted each batch of 128.

    Args:
        network: on `device`; afterwards it has its own mode again.
        num_lambdas: L >= 2 evenly spaced values of lambda from 0 to 1; 51 in the paper.
        seed: of the permutation.

    Returns:
        Name of the boundary -> mean loss over pairs in nats, for each lambda in ascending order.
    """
    assert data.labels is not None, f"{data.name} has no labels"
    partners = torch.randperm(data.num_images, generator=torch.Generator().manual_seed(seed))
    pairs = torch.stack([torch.arange(len(partners)), partners]).to(device)
    images, labels = data.images.to(device), data.labels.to(device)
    lambdas = torch.linspace(0, 1, num_lambdas, device=device)
    sums: dict[str, list[Tensor]] = {name: [] for name in network.boundaries}
    with evaluating(network), torch.autocast(device.type, enabled=False):
        # A forward has few pairs with all lambdas: a parent passes the stages below the boundary once, not L times.
        for parents in pairs.split(max(1, BATCH // num_lambdas), dim=1):
            rows = parents.flatten()
            prepared = network.prepare(to_float(images[rows]))
            for k, name in enumerate(network.boundaries):
                plan = _all_mixes(k, parents.shape[1], lambdas)
                logits = network(prepared, plan)
                targets = plan.mixes(F.one_hot(labels[rows], logits.shape[1]).to(logits.dtype))
                losses = F.cross_entropy(logits, targets, reduction="none")
                sums[name].append(losses.unflatten(0, (-1, num_lambdas)).sum(0))
    return {name: (torch.stack(parts).cpu().double().sum(0) / len(partners)).tolist() for name, parts in sums.items()}


def interpolation_scores(curves: Mapping[str, Sequence[float]]) -> list[Score]:
    """Return 'mixed nll' at each boundary of `interpolation_nll`: the curve's mean over the lambdas, in nats."""
    return [Score("mixed nll", sum(curve) / len(curve), at=name) for name, curve in curves.items()]


def _all_mixes(stage: int, num_pairs: int, lambdas: Tensor) -> MixPlan:
    """Mix row m with row num_pairs + m by every lambda in turn: rows [num_pairs * L], lambda changing first."""
    first = torch.arange(num_pairs, device=lambdas.device).repeat_interleave(len(lambdas))
    return MixPlan(stage, first, first + num_pairs, lambdas.repeat(num_pairs))
