"""The images that a config names: read, drawn from by the run's seed, and made into batches."""

from functools import partial

import torch
from torch import Tensor

from ganmix.config.common import Data, FolderData
from ganmix.data import DATASETS, BatchOrder, ImageBatches, ImageData, augment, load_images
from ganmix.data.folder import UnreadableImageError, read_folder
from ganmix.engine.seeds import seeds_of
from ganmix.errors import UserError


def read_data(data: Data | FolderData, split: str) -> ImageData:
    """Read the images that a config names; a folder has one split."""
    if isinstance(data, FolderData):
        shape = {"channels": data.channels, "resolution": data.resolution}
        try:
            return read_folder(data.path, **shape, skip_broken=data.skip_broken)
        except UnreadableImageError as error:
            raise UserError(f"{error}; data.skip_broken=true skips such files") from error
    return load_images(data.name, split, root=data.root, resolution=data.resolution)


def image_shape(data: Data | FolderData) -> tuple[int, int]:
    """Return channels and resolution of the images that a config names, without reading them."""
    if isinstance(data, FolderData):
        return data.channels, data.resolution
    dataset = DATASETS[data.name]
    return dataset.channels, data.resolution or dataset.resolution


def training_images(data: ImageData, settings: Data | FolderData, seed: int) -> ImageData:
    """Return what a run trains on: `data`, or `settings.num_images` of it, drawn by the run's seed.

    Raises:
        UserError: there are fewer.
    """
    num = settings.num_images
    if num is None:
        return data
    if num > data.num_images:
        raise UserError(f"data.num_images: {data.name} has {data.num_images} images, fewer than {num}")
    draw = torch.Generator().manual_seed(seeds_of(seed).images)
    return data.subset(torch.randperm(data.num_images, generator=draw)[:num])


def build_batches(
    data: ImageData,
    labels: Tensor | None,
    settings: Data | FolderData,
    *,
    batch_size: int,
    seed: int,
    generator: torch.Generator,
) -> ImageBatches:
    """Return training batches of `data`, which lie on the generator's device; `seed` is of their order."""
    device = generator.device
    return ImageBatches(
        data.images.to(device),
        None if labels is None else labels.to(device),
        BatchOrder(data.num_images, batch_size, seed, device),
        partial(augment, generator=generator, **settings.augmentation),
    )
