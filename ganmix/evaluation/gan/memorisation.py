"""Does a generator copy? How near its samples and, for comparison, held-out images come to the training images."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NUM_NEIGHBOURS = 5
CHUNK = 4096  # references at a time, so that their copies in float64 fit into memory


@dataclass(frozen=True, eq=False)
class Nearness:
    """Distances to the nearest training images.

    Args:
        name: of what is compared.
        unit: of the distances, in words.
        distances: each sample's, to its K nearest ones, float64 [S, K], ascending.
        indices: which these are, int64 [S, K].
        held_out: each held-out image's, to its nearest one, float64 [H]; None: there are no held-out images.
    """

    name: str
    unit: str
    distances: Tensor
    indices: Tensor
    held_out: Tensor | None

    def summary(self) -> dict[str, Any]:
        """Return, for JSON: the unit; number, median and least of the distances; the ratio of the medians."""

        def figures(distances: Tensor) -> dict[str, float]:
            return {"num": len(distances), "median": float(distances.quantile(0.5)), "least": float(distances.min())}

        samples = figures(self.distances[:, 0])
        held_out = None if self.held_out is None else figures(self.held_out)
        ratio = samples["median"] / held_out["median"] if held_out and held_out["median"] else None
        return {"unit": self.unit, "samples": samples, "held_out": held_out, "ratio": ratio}


def nearness(
    name: str, unit: str, samples: Tensor, training: Tensor, held_out: Tensor | None = None, *, scale: float = 1.0
) -> Nearness:
    """Compare vectors [N, D] on the CPU by `scale` times their Euclidean distance; name and unit as in `Nearness`."""
    distances, indices = nearest(samples, training, min(NUM_NEIGHBOURS, len(training)))
    others = None if held_out is None else nearest(held_out, training, 1)[0][:, 0] * scale
    return Nearness(name, unit, distances * scale, indices, others)


def nearest(queries: Tensor, references: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Find the nearest references of each query by Euclidean distance, exactly: a copy has distance 0.

    Args:
        queries: [Q, D] on the CPU, of any dtype.
        references: [M, D] on the CPU, of any dtype.
        num: 1..M.

    Returns:
        Distances float64 [Q, num], ascending, and the references' indices int64 [Q, num]. Equally distant references
        come in any order.
    """
    assert 1 <= num <= len(references), f"num must lie in 1..{len(references)}, got {num}"
    targets = queries.double()

    def candidates_of(chunk: Tensor) -> Tensor:
        sources = chunk.double()
        # |q - r|^2 without |q|^2, which is the same for all references.
        relative = torch.addmm(sources.square().sum(1), targets, sources.T, alpha=-2)
        return relative.topk(min(num, len(chunk)), largest=False).indices

    chunks = enumerate(references.split(CHUNK))
    candidates = torch.cat([candidates_of(chunk) + i * CHUNK for i, chunk in chunks], dim=1)
    # The sum above cancels where a query and a reference are nearly the same: measure the candidates by differences.
    pairs = zip(targets, candidates, strict=True)
    distances = torch.stack([(references[index].double() - target).norm(dim=1) for target, index in pairs])
    distances, order = distances.sort(dim=1, stable=True)
    return distances[:, :num], candidates.gather(1, order[:, :num])
