"""Does a generator copy? Distances of its samples, and of held-out images, to the nearest training images."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NUM_NEIGHBOURS = 5
CHUNK = 4096  # references at a time, so that their float64 copies fit into memory


@dataclass(frozen=True, eq=False)
class Nearness:
    """Distances to the nearest training images.

    Args:
        name: of the vectors: pixels, or an extractor's name.
        unit: of the distances, in words.
        distances: from each sample to its K nearest training images, float64 [S, K], ascending.
        indices: of these training images, int64 [S, K].
        held_out: from each held-out image to its nearest training image, float64 [H]; None: no held-out images.
    """

    name: str
    unit: str
    distances: Tensor
    indices: Tensor
    held_out: Tensor | None

    def summary(self) -> dict[str, Any]:
        """Return the unit, each number, median and least of the distances, and the ratio of the medians, for JSON."""

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
    """Find the nearest references of each query by exact Euclidean distance: a copy has distance 0.

    Args:
        queries, references: [Q, D] and [M, D] on the CPU, of any dtype.
        num: 1..M.

    Returns:
        Distances float64 [Q, num], ascending, and the references' indices int64 [Q, num]. Equally distant references
        have no order.
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
    # The sum above loses its digits where a query is close to a reference: measure the candidates by differences.
    pairs = zip(targets, candidates, strict=True)
    distances = torch.stack([(references[index].double() - target).norm(dim=1) for target, index in pairs])
    distances, order = distances.sort(dim=1, stable=True)
    return distances[:, :num], candidates.gather(1, order[:, :num])
