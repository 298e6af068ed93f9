"""Conversions of images: bytes to floats and back, their size, grey and colour. Needs only torch."""

import torch
from torch import Tensor

CHUNK = 1024  # images resized at a time: float copies of a whole data set may not fit into memory
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


def to_float(images: Tensor) -> Tensor:
    """Turn uint8 images, of any shape, into float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor, quantisation: str = "round") -> Tensor:
    """Turn float images, of any shape, into uint8: -1 becomes 0, 1 becomes 255; clamp values outside.

    Args:
        quantisation: "round" to the nearest level, or "truncate" as some other tools do: this darkens every image by
            half a level and moves FID by several per cent.
    """
    levels = (images.float() * 127.5 + 127.5).clamp(0, 255)
    return (levels.round() if quantisation == "round" else levels).to(torch.uint8)


def set_channels(images: Tensor, channels: int) -> Tensor:
    """Repeat grey images to RGB, or turn RGB into luma: float [N, 1 or 3, H, W] to [N, channels, H, W]."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    return (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def resize(images: Tensor, resolution: int) -> Tensor:
    """Resize images, uint8 [N, C, H, W] to [N, C, resolution, resolution], by antialiased bilinear interpolation."""
    size = [resolution, resolution]
    if list(images.shape[2:]) == size:
        return images
    from torchvision.transforms.v2.functional import resize as torchvision_resize

    return torch.cat([torchvision_resize(chunk, size, antialias=True) for chunk in images.split(CHUNK)])
