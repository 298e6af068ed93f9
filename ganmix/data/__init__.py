"""Image data in memory: read it once as bytes, then draw batches from it without a host in the way."""

from ganmix.data.batches import BatchOrder, ImageBatches, augment, random_crop, to_float, to_uint8
from ganmix.data.datasets import DATASETS, NUM_CLASSES, SHAPES, load_images
from ganmix.data.folder import read_folder
from ganmix.data.images import ImageData, resize, set_channels
from ganmix.data.splits import Split, check_labels, split_images

__all__ = [
    "DATASETS",
    "NUM_CLASSES",
    "SHAPES",
    "BatchOrder",
    "ImageBatches",
    "ImageData",
    "Split",
    "augment",
    "check_labels",
    "load_images",
    "random_crop",
    "read_folder",
    "resize",
    "set_channels",
    "split_images",
    "to_float",
    "to_uint8",
]
