"""Image data in memory: read it once as bytes, then draw batches from it without a host in the way."""

from ganmix.data.batches import BatchOrder, ImageBatches, augment, to_float, to_uint8
from ganmix.data.folder import read_folder
from ganmix.data.images import ImageData, resize, set_channels
from ganmix.data.sources import DATASETS, SHAPES, load_images

__all__ = [
    "DATASETS",
    "SHAPES",
    "BatchOrder",
    "ImageBatches",
    "ImageData",
    "augment",
    "load_images",
    "read_folder",
    "resize",
    "set_channels",
    "to_float",
    "to_uint8",
]
