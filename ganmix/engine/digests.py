"""Digests of tensors: what a run trained on, what an extractor's weights are."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def sha256_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256, in hex, over names, dtypes, shapes and values."""
    sha256 = hashlib.sha256()
    for name, tensor in tensors.items():
        sha256.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        sha256.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()
