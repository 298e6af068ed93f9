"""Preparation of images for a classifier, measured on the training images.

It is a part of the network: attacks and deformations change images before it, and gradients pass through it.
"""

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from ganmix.data.convert import to_float

CHUNK = 1024  # images at a time: a whole data set in float64 may not fit into memory
GCN_NORM = 55.0
MIN_CONTRAST = 1e-3  # least norm of an image minus its mean; in 8 bits, one pixel one level off makes 0.008


class Normalise(nn.Module):
    """Mean 0 and standard deviation 1 of each channel over the training images: (x - mean) / std.

    Args:
        mean, std: float [C], of images in [-1, 1].
    """

    name: ClassVar[str] = "channels"
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__()
        self.register_buffer("mean", mean.float().view(-1, 1, 1))
        self.register_buffer("std", std.float().view(-1, 1, 1))

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """Measure training images, uint8 [N, C, R, R]; the standard deviation is the population's.

        Raises:
            ValueError: a channel has the same value everywhere.
        """
        num = images[:, 0].numel()
        counts = torch.stack([channel.flatten().bincount(minlength=256) for channel in images.unbind(1)]).double()
        levels = to_float(torch.arange(256, dtype=torch.uint8, device=images.device)).double()
        if constant := (counts == num).any(1).nonzero().flatten().tolist():
            raise ValueError(f"channel {constant[0]} of the training images is constant: nothing to divide by")
        mean = counts @ levels / num
        variance = (counts * (levels - mean[:, None]).square()).sum(1) / num
        return cls(mean, variance.sqrt())

    @classmethod
    def empty(cls, channels: int, resolution: int) -> Self:
        """Make one that changes nothing, for `load_state_dict` to fill."""
        return cls(torch.zeros(channels), torch.ones(channels))

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class Whiten(nn.Module):
    """Global contrast normalisation of each image, then ZCA whitening over the training images.

    The first subtracts an image's mean over all its values and scales it to norm 55. The second is
    (x - mean) @ W with W = U diag(1 / sqrt(S + eps)) U^T, where U and S are eigenvectors and eigenvalues of the
    covariance of the contrast-normalised training images. eps = 0.1 is Oliver et al.'s (arXiv 1804.09170), who add it
    to the covariance's diagonal; the mean eigenvalue of CIFAR-10 is 1 (55^2 / 3072).

    Args:
        mean: float [D], D = C R R.
        matrix: W, float [D, D], symmetric.

    Source: https://github.com/brain-research/realistic-ssl-evaluation, lib/dataset_utils.py.
    """

    name: ClassVar[str] = "zca"
    contrast: ClassVar[bool] = True
    eps: ClassVar[float] = 0.1  # > 0: some directions, such as the mean's, may have no variance
    mean: Tensor
    matrix: Tensor

    def __init__(self, mean: Tensor, matrix: Tensor):
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("matrix", matrix.float())

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """Measure training images, uint8 [N, C, R, R], in float64; time grows as N D^2 + D^3, memory as D^2."""
        num_values = images[0].numel()
        total = torch.zeros(num_values, dtype=torch.float64, device=images.device)
        products = torch.zeros(num_values, num_values, dtype=torch.float64, device=images.device)
        for chunk in images.split(CHUNK):
            x = cls._before(to_float(chunk).double()).flatten(1)
            total += x.sum(0)
            products.addmm_(x.T, x)
        mean = total / len(images)
        values, vectors = torch.linalg.eigh(products / len(images) - mean.outer(mean))
        values = values.clamp(min=0)  # rounding makes eigenvalues of 0 slightly negative
        return cls(mean, vectors * (values + cls.eps).rsqrt() @ vectors.T)

    @classmethod
    def empty(cls, channels: int, resolution: int) -> Self:
        """Make one that whitens nothing, for `load_state_dict` to fill."""
        num_values = channels * resolution * resolution
        return cls(torch.zeros(num_values), torch.eye(num_values))

    def forward(self, images: Tensor) -> Tensor:
        # The sums of thousands of values need more precision than bfloat16 has.
        with torch.autocast(images.device.type, enabled=False):
            x = self._before(images).flatten(1)
            return ((x - self.mean) @ self.matrix).view(images.shape)

    @classmethod
    def _before(cls, images: Tensor) -> Tensor:
        return normalise_contrast(images) if cls.contrast else images


class WhitenOnly(Whiten):
    """ZCA whitening without contrast normalisation and almost without regularisation, as the authors' code has it.

    Their diag(1 / sqrt(S) + 1e-6) regularises nothing; the eps here only keeps directions without variance finite.

    Differs from the authors' code: they first divide channels by their standard deviations (63.0, 62.1 and 66.7 for
    CIFAR-10); whitening undoes this, except for a rotation by about a degree.
    """

    name = "zca_only"
    contrast = False
    eps = 1e-8


def normalise_contrast(images: Tensor) -> Tensor:
    """Give each image [C, R, R] of a batch mean 0 and norm 55; an image without contrast becomes 0."""
    centred = images - images.mean((1, 2, 3), keepdim=True)
    norm = torch.linalg.vector_norm(centred, dim=(1, 2, 3), keepdim=True)
    return centred * (GCN_NORM / norm.clamp(min=MIN_CONTRAST))


# name -> a class: `of` measures training images, `empty` makes one to load a state into
PREPARATIONS: dict[str, type[Normalise] | type[Whiten]] = {kind.name: kind for kind in (Normalise, Whiten, WhitenOnly)}


def prepare_for(name: str | None, images: Tensor) -> Normalise | Whiten | None:
    """Return the preparation `name`, measured on training images, uint8 [N, C, R, R]; None for None."""
    return None if name is None else PREPARATIONS[name].of(images)
