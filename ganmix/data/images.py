"""A set of images as one tensor of bytes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set in memory.

    Args:
        images: uint8 [N, C, R, R], contiguous.
        labels: int64 [N], or None where there are no classes.
        name: the data set's name, as in `DATASETS`, or `folder:NAME`.
        split: "train" or "test".
    """

    images: Tensor
    labels: Tensor | None
    name: str
    split: str

    def __post_init__(self) -> None:
        shape, labels = tuple(self.images.shape), self.labels
        assert self.images.dtype == torch.uint8, f"images must be uint8, got {self.images.dtype}"
        assert shape[2:] == shape[-1:] * 2, f"images must be [N, C, R, R], got {shape}"
        assert self.images.is_contiguous(), "images must be contiguous"
        if labels is not None:
            assert labels.dtype == torch.int64, f"labels must be int64, got {labels.dtype}"
            assert labels.shape == shape[:1], f"labels must be [{shape[0]}], got {tuple(labels.shape)}"

    def subset(self, indices: Tensor) -> "ImageData":
        """Return the images at `indices`, int64 [M], in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return ImageData(self.images[indices], labels, self.name, self.split)

    def in_words(self) -> str:
        """Describe the set: 'digits train: 1438 images, 8x8, 1 channel'."""
        channels = f"{self.channels} channel{'s' if self.channels > 1 else ''}"
        return f"{self.name} {self.split}: {self.num_images} images, {self.resolution}x{self.resolution}, {channels}"

    @property
    def num_images(self) -> int:
        return self.images.shape[0]

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def resolution(self) -> int:
        return self.images.shape[2]
