"""Accuracy on rotated, sheared and zoomed images, which no training saw (Verma et al. 2018, Tables 3 and 7)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ganmix.data import ImageData
from ganmix.engine.scores import Score
from ganmix.evaluation.classifier.accuracy import Predict, percent_correct

PROTOCOL = {"interpolation": "bilinear", "fill": "black"}


def rotation(degrees: Tensor) -> Tensor:
    """Return the matrices of counter-clockwise rotations by `degrees` [N], as `resample` takes them."""
    sin, cos = degrees.deg2rad().sin(), degrees.deg2rad().cos()
    return _matrices([[cos, -sin], [sin, cos]])


def shear(degrees: Tensor) -> Tensor:
    """Return the matrices of the authors' shears by `degrees` [N], as `resample` takes them.

    The pixel at (x, y) is read at (x cos s, y - x sin s): columns slide by the sine and x is stretched by 1 / cos.
    So this is not the shear of unit area, and angles past 90 degrees are no repetition: the mirror image, left for
    right, sheared by 180 degrees - s. Near 180 degrees little but the mirror is left, and the paper's accuracy rises.

    Source: the authors' `affine_transforms.py`, which has [[1, -sin s], [0, cos s]] in (row, column); Keras.
    """
    sin, cos = degrees.deg2rad().sin(), degrees.deg2rad().cos()
    return _matrices([[cos, torch.zeros_like(sin)], [-sin, torch.ones_like(sin)]])


def zoom(percent: Tensor) -> Tensor:
    """Return the matrices that bring a central box, `percent` [N] of the sides, to the whole image's size.

    Below 100 the box is enlarged; above, the image shrinks, since the box reaches beyond it.
    """
    scale, zero = percent / 100, torch.zeros_like(percent)
    return _matrices([[scale, zero], [zero, scale]])


@dataclass(frozen=True)
class Deformation:
    """One row of Table 7.

    Args:
        metric, at: name its score: 'rotation' at '20'.
        matrices: of the amounts [N], [N, 2, 2]; see `resample`.
        low, high: an image's amount is uniform between these: degrees, or per cent.
    """

    metric: str
    at: str
    matrices: Callable[[Tensor], Tensor]
    low: float
    high: float


_TABLE_7 = [
    *(Deformation("rotation", str(most), rotation, -most, most) for most in (20, 40, 60, 80)),
    # 0.5, 1, 2, 2.5 and 3 radians, in degrees as the paper prints them
    *(Deformation("shear", str(most), shear, -most, most) for most in (28.6, 57.3, 114.6, 143.2, 171.9)),
    *(Deformation("zoom in", str(percent), zoom, percent, percent) for percent in (20, 40, 60, 80)),
    *(Deformation("zoom out", str(percent), zoom, percent, percent) for percent in (120, 140, 160, 180)),
]
DEFORMATIONS = {f"{row.metric} {row.at}": row for row in _TABLE_7}


def deform(images: Tensor, name: str, generator: torch.Generator) -> Tensor:
    """Deform each image by an amount of its own.

    Differs from the paper's code: bilinear, not nearest; centred to the pixel's fraction; what comes from outside is
    black, where the code filled the normalised tensor with 0, the mean colour. Nothing is antialiased in either.

    Args:
        images: float [N, C, R, R] in [-1, 1].
        name: a key of `DEFORMATIONS`.
        generator: on the CPU, of the amounts, in the order of the images.

    Returns:
        [N, C, R, R] in [-1, 1].

    Raises:
        ValueError: there is no such deformation.
    """
    if name not in DEFORMATIONS:
        raise ValueError(f"a deformation is one of {', '.join(DEFORMATIONS)}, got '{name}'")
    chosen = DEFORMATIONS[name]
    uniform = torch.rand(len(images), generator=generator, dtype=torch.float64)
    return resample(images, chosen.matrices(chosen.low + (chosen.high - chosen.low) * uniform))


def resample(images: Tensor, matrices: Tensor) -> Tensor:
    """Read each image's pixels at other places, bilinearly; outside is black.

    Args:
        images: float [N, C, R, R] in [-1, 1].
        matrices: [N, 2, 2], from the place of a new pixel to where it is read; places are (x, y) from the centre,
            y downwards.
    """
    places = F.affine_grid(F.pad(matrices, (0, 1)).to(images), list(images.shape), align_corners=False)
    # The zeros that `grid_sample` finds outside are black once black is 0.
    return F.grid_sample(images + 1, places, mode="bilinear", padding_mode="zeros", align_corners=False) - 1


def deformation_scores(predict: Predict, data: ImageData, device: torch.device, *, seed: int) -> list[Score]:
    """Score a classifier on deformed images.

    Args:
        predict: a classifier in eval mode, on `device`.
        data: with labels.
        seed: of the amounts, anew for each deformation: an image's angle in "rotation 40" is twice that in
            "rotation 20".

    Returns:
        Accuracies in per cent, in the order of `DEFORMATIONS`.
    """

    def score(name: str) -> float:
        generator = torch.Generator().manual_seed(seed)
        return percent_correct(predict, data, device, lambda images, _: deform(images, name, generator))

    return [Score(row.metric, score(name), at=row.at) for name, row in DEFORMATIONS.items()]


def _matrices(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
