"""The split into validation, labelled and unlabelled images: drawn by a seed, the same on any machine."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from ganmix.data.images import ImageData


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into a data set, int64, ascending.

    Args:
        train: all images except those for validation.
        labelled: the images of `train` whose labels the training uses.
        validation: the rest, which the training does not use.
    """

    train: Tensor
    labelled: Tensor
    validation: Tensor


def split_images(
    labels: Tensor, num_classes: int, *, seed: int, labels_per_class: int | None = None, num_validation: int = 0
) -> Split:
    """Draw a split with equal numbers of each class, as Oliver et al. 2018 do.

    Args:
        labels: int64 [N], in 0..num_classes - 1.
        labels_per_class: labelled images of each class; None: all of `train`.
        num_validation: validation images; the first classes have one more where it does not divide.

    Raises:
        ValueError: a class has too few images.
    """
    shuffled = torch.tensor(_order(len(labels), seed))
    shares = [num_validation // num_classes + (k < num_validation % num_classes) for k in range(num_classes)]
    validation, labelled = [], []
    for k, share in enumerate(shares):
        images = shuffled[labels[shuffled] == k]
        wanted = labels_per_class or min(share, 1)  # a class whose images all go to validation could not be learnt
        if len(images) < share + wanted:
            purpose = "training" if labels_per_class is None else "labels_per_class"
            raise ValueError(
                f"class {k} has {len(images)} training images, fewer than {share} for num_validation and {wanted} "
                f"for {purpose}"
            )
        validation.append(images[:share])
        labelled.append(images[share:] if labels_per_class is None else images[share : share + wanted])
    is_validation = torch.zeros(len(labels), dtype=torch.bool)
    is_validation[torch.cat(validation)] = True
    return Split(
        train=(~is_validation).nonzero().flatten(),
        labelled=torch.cat(labelled).sort().values,
        validation=is_validation.nonzero().flatten(),
    )


def check_labels(data: ImageData, num_classes: int) -> None:
    """Raise ValueError unless there are labels, they lie in 0..num_classes - 1, and each class has images."""
    if data.labels is None:
        raise ValueError(f"{data.name} has no labels")
    outside = ((data.labels < 0) | (data.labels >= num_classes)).nonzero().flatten()
    if len(outside):
        first = int(outside[0])
        raise ValueError(
            f"{data.name} {data.split} has labels outside its {num_classes} classes "
            f"0..{num_classes - 1}: image {first} has {int(data.labels[first])} ({len(outside)} such images)"
        )
    missing = (data.labels.bincount(minlength=num_classes) == 0).nonzero().flatten().tolist()
    if missing:
        raise ValueError(f"{data.name} {data.split} has no image of class {', '.join(map(str, missing))}")


def _order(num: int, seed: int) -> list[int]:
    """Permute 0..num - 1 by SHA-256; random number generators may change between versions."""
    return sorted(range(num), key=lambda index: hashlib.sha256(f"{seed}/{index}".encode()).digest())
