"""Which training images lie nearest: the plainest way to see whether a generator copies them."""

import torch
from torch import Tensor

CHUNK = 2048  # references at a time: their copies in float64 shall fit everywhere


def nearest(queries: Tensor, references: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Find the nearest references of each query by Euclidean distance, exactly: a copy has distance 0.

    Args:
        queries: [Q, D] on the CPU, of any dtype.
        references: [M, D] on the CPU, of any dtype.
        num: 1..M.

    Returns:
        Distances float64 [Q, num], ascending, and the references' indices int64 [Q, num]. Of references equally far
        away any may come first.
    """
    assert 1 <= num <= len(references), f"num must lie in 1..{len(references)}, got {num}"
    targets = queries.double()
    found = torch.empty(len(queries), 0, dtype=torch.float64), torch.empty(len(queries), 0, dtype=torch.int64)
    for i, chunk in enumerate(references.split(CHUNK)):
        # |q - r|^2 without |q|^2, which is the same for all references. In float64: bytes are summed without error.
        sources = chunk.double()
        relative = torch.addmm(sources.square().sum(1), targets, sources.T, alpha=-2)
        values, indices = relative.topk(min(num, len(chunk)), dim=1, largest=False)
        values, indices = torch.cat([found[0], values], 1), torch.cat([found[1], indices + i * CHUNK], 1)
        best = values.topk(min(num, values.shape[1]), dim=1, largest=False).indices
        found = values.gather(1, best), indices.gather(1, best)
    # Once more, by differences: the sum above cancels where a query and a reference are nearly the same.
    pairs = zip(targets, found[1], strict=True)
    distances = torch.stack([(references[index].double() - target).norm(dim=1) for target, index in pairs])
    order = distances.argsort(dim=1, stable=True)
    return distances.gather(1, order), found[1].gather(1, order)
