"""Image data in memory: read once as bytes, then drawn in batches on the device.

`data.folder` is not imported here: only it needs Pillow, and the networks use the conversions.
"""

from ganmix.data.batches import BatchOrder, ImageBatches, augment, random_crop
from ganmix.data.convert import resize, set_channels, to_float, to_uint8
from ganmix.data.datasets import DATASETS, Dataset, load_images
from ganmix.data.images import ImageData
from ganmix.data.splits import Split, check_labels, split_images

__all__ = [
    "DATASETS",
    "BatchOrder",
    "Dataset",
    "ImageBatches",
    "ImageData",
    "Split",
    "augment",
    "check_labels",
    "load_images",
    "random_crop",
    "resize",
    "set_channels",
    "split_images",
    "to_float",
    "to_uint8",
]
