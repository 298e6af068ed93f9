"""The seeds of a run's independent random streams, all drawn from its one seed."""

from typing import NamedTuple

import torch


class Seeds(NamedTuple):
    """A seed for each stream; a new one goes to the end, so that the others stay."""

    weights: int  # initial ones
    order: int  # of the training images
    noise: int  # of a GAN; augmentation, noise and dropout of a classifier
    plans: int  # of mixing
    images: int  # which images are trained on
    unlabelled: int  # order of the unlabelled images


def seeds_of(seed: int) -> Seeds:
    """Return the seeds of the streams of a run."""
    draw = torch.Generator().manual_seed(seed)
    return Seeds(*torch.randint(2**62, (len(Seeds._fields),), generator=draw).tolist())
