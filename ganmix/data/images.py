"""A set of images as one tensor of bytes, and the two conversions that every data set may need."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1024  # images converted at a time: the float copies of a whole data set would not fit everywhere


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
        shape = tuple(self.images.shape)
        assert self.images.dtype == torch.uint8, f"images must be uint8, got {self.images.dtype}"
        assert len(shape) == 4, f"images must be [N, C, R, R], got {shape}"
        assert shape[2] == shape[3], f"images must be [N, C, R, R], got {shape}"
        assert self.images.is_contiguous(), "images must be contiguous"
        if self.labels is not None:
            assert self.labels.dtype == torch.int64, f"labels must be int64, got {self.labels.dtype}"
            assert self.labels.shape == shape[:1], f"labels must be [{shape[0]}], got {tuple(self.labels.shape)}"

    def subset(self, indices: Tensor) -> "ImageData":
        """The images at `indices`, int64 [M], in that order."""
        labels = None if self.labels is None else self.labels[indices]
        return ImageData(self.images[indices], labels, self.name, self.split)

    def in_words(self) -> str:
        """Say what and how much it is: 'digits train: 1438 images, 8x8, 1 channel'."""
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


def resize(images: Tensor, resolution: int) -> Tensor:
    """Resize images by antialiased bilinear interpolation.

    Args:
        images: uint8 [N, C, H, W].
        resolution: R, the new height and width.

    Returns:
        uint8 [N, C, R, R]; `images` itself when it has that size already.
    """
    if images.shape[2:] == (resolution, resolution):
        return images
    from torchvision.transforms.v2.functional import resize as torchvision_resize

    size = [resolution, resolution]
    return _by_chunks(lambda chunk: torchvision_resize(chunk, size, antialias=True), images)


def set_channels(images: Tensor, channels: int) -> Tensor:
    """Turn grey images into RGB by repetition, or RGB into grey by ITU-R 601 luma, rounded.

    Args:
        images: uint8 [N, 1 or 3, H, W].
        channels: 1 or 3.

    Returns:
        uint8 [N, channels, H, W]; `images` itself when it has that many channels already.
    """
    if images.shape[1] == channels:
        return images
    assert {images.shape[1], channels} == {1, 3}, f"cannot turn {images.shape[1]} channels into {channels}"
    if channels == 3:
        return images.repeat(1, 3, 1, 1)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return _by_chunks(lambda chunk: (chunk * luma).sum(dim=1, keepdim=True).round().to(torch.uint8), images)


def _by_chunks(convert: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([convert(chunk) for chunk in images.split(CHUNK)])
