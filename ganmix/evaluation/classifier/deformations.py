"""Accuracy on images rotated, sheared and zoomed as none were in training (Verma et al. 2018, Tables 3 and 7)."""

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
    """Return the matrices of counter-clockwise rotations by `degrees` [N], for `resample`."""
    sin, cos = degrees.deg2rad().sin(), degrees.deg2rad().cos()
    return _matrices([[cos, -sin], [sin, cos]])


def shear(degrees: Tensor) -> Tensor:
    """Return the matrices of the authors' shears by `degrees` [N], for `resample`.

    The pixel at (x, y) is read at (x cos s, y - x sin s): columns slide by the sine and x is stretched by 1 / cos.
    So this is not the shear of unit area, and angles past 90 degrees do not repeat: they shear the mirror image, left
    for right, by 180 degrees - s. Near 180 degrees it does little but mirror, and the paper's accuracy rises.

    Source: the authors' `affine_transforms.py`, which has [[1, -sin s], [0, cos s]] in (row, column); Keras.
    """
    sin, cos = degrees.deg2rad().sin(), degrees.deg2rad().cos()
    return _matrices([[cos, torch.zeros_like(sin)], [-sin, torch.ones_like(sin)]])


def zoom(percent: Tensor) -> Tensor:
    """Return the matrices that scale a central box, `percent` [N] of the sides, to the image's size, for `resample`.

    Below 100 the image grows; above, it shrinks.
    """
    scale, zero = percent / 100, torch.zeros_like(percent)
    return _matrices([[scale, zero], [zero, scale]])


@dataclass(frozen=True)
class Deformation:
    """One row of Table 7.

    Args:
        metric, at: name its score: 'rotation' at '20'.
        matrices: from amounts [N] to [N, 2, 2]; see `resample`.
        low, high: an image's amount, in degrees or per cent, is uniform between these.
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


def deform(images: Tensor, deformation: Deformation, generator: torch.Generator) -> Tensor:
    """Deform each image by an amount of its own.

    Differs from the paper's code: bilinear, not nearest; centred to the pixel's fraction; black outside, where the
    code filled the normalised tensor with 0, the mean colour. Neither is antialiased.

    Args:
        images: float [N, C, R, R] in [-1, 1].
        generator: draws the amounts in the order of the images, on the CPU.

    Returns:
        [N, C, R, R] in [-1, 1].
    """
    uniform = torch.rand(len(images), generator=generator, dtype=torch.float64)
    amounts = deformation.low + (deformation.high - deformation.low) * uniform
    return resample(images, deformation.matrices(amounts))


def resample(images: Tensor, matrices: Tensor) -> Tensor:
    """Read each image's pixels at other places, bilinearly; outside is black.

    Args:
        images: float [N, C, R, R] in [-1, 1].
        matrices: [N, 2, 2], from the place of a new pixel to the place where it is read; places are (x, y) from the
            centre, y downwards.
    """
    places = F.affine_grid(F.pad(matrices, (0, 1)).to(images), list(images.shape), align_corners=False)
    # `grid_sample` reads zeros outside: make black 0.
    return F.grid_sample(images + 1, places, mode="bilinear", padding_mode="zeros", align_corners=False) - 1


def deformation_scores(predict: Predict, data: ImageData, device: torch.device, *, seed: int) -> list[Score]:
    """Return a classifier's accuracies in per cent on deformed images, in the order of `DEFORMATIONS`.

    Args:
        predict: a classifier in eval mode, on `device`.
        seed: of the amounts of each deformation: an image's angle in "rotation 40" is twice that in "rotation 20".
    """

    def score(row: Deformation) -> Score:
        generator = torch.Generator().manual_seed(seed)
        accuracy = percent_correct(predict, data, device, lambda images, _: deform(images, row, generator))
        return Score(row.metric, accuracy, at=row.at)

    return [score(row) for row in DEFORMATIONS.values()]


def _matrices(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
