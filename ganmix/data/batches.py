"""Training batches from images in memory: their order, and their augmentation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganmix.data.convert import to_float


class BatchOrder:
    """An endless sequence of batches of indices: a new permutation each epoch, without its last partial batch.

    Args:
        num_images: N; the indices are 0..N-1.
        batch_size: B, at most N.
        seed: of the permutations; they are the same on every device.
        device: of the batches; an epoch's permutation moves there once.

    Raises:
        ValueError: `batch_size` exceeds `num_images`.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int, device: torch.device | str):
        if batch_size > num_images:
            raise ValueError(f"a batch of {batch_size} exceeds the {num_images} images")
        self._num_images = num_images
        self._batch_size = batch_size
        self._device = device
        self._generator = torch.Generator().manual_seed(seed)
        self._start_epoch()

    def _start_epoch(self) -> None:
        self._epoch_state = self._generator.get_state()  # draws the current permutation again
        self._permutation = torch.randperm(self._num_images, generator=self._generator).to(self._device)
        self._position = 0

    def next(self) -> Tensor:
        """Return the next batch of indices, int64 [B] on the device."""
        if self._position + self._batch_size > self._num_images:
            self._start_epoch()
        batch = self._permutation[self._position : self._position + self._batch_size]
        self._position += self._batch_size
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return the state from which an order of the same sizes continues here."""
        return {"generator": self._epoch_state, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._generator.set_state(state["generator"].cpu())  # torch.load may have moved it to a GPU
        self._start_epoch()
        self._position = state["position"]


def random_crop(images: Tensor, padding: int, *, reflect: bool, generator: torch.Generator) -> Tensor:
    """Pad each image, then crop it to its old size at a random place of its own.

    Args:
        images: [N, C, R, R], of any type.
        padding: pixels, less than R.
        reflect: pad with the image mirrored at its border; False: with 0, which is black in bytes.
        generator: on the images' device.
    """
    num, channels, side, _ = images.shape
    shift = torch.randint(-padding, padding + 1, (2, num, 1), generator=generator, device=images.device)
    places = shift + torch.arange(side, device=images.device)  # [2, N, R]: rows and columns, inside or outside
    rows, columns = side - 1 - (side - 1 - places.abs()).abs()
    crops = images.gather(2, rows.view(num, 1, side, 1).expand(-1, channels, -1, side))
    crops = crops.gather(3, columns.view(num, 1, 1, side).expand(-1, channels, side, -1))
    if reflect:
        return crops
    row_inside, column_inside = (places >= 0) & (places < side)
    return crops * (row_inside.view(num, 1, side, 1) & column_inside.view(num, 1, 1, side))


def augment(
    images: Tensor,
    *,
    flip: bool,
    dequantise: bool,
    generator: torch.Generator,
    crop_padding: int = 0,
    padding: str = "black",
) -> Tensor:
    """Turn a batch of bytes into floats for training.

    Args:
        images: uint8 [N, C, R, R].
        crop_padding, padding: "black" or "reflect"; see `random_crop`. 0: no crop.
        flip: mirror each image left to right with probability 1/2.
        dequantise: add to each value x a uniform u in [0, 1) and scale by (x + u) / 128 - 1, as Miyato et al.
            (2018) did; real values on a grid would be easy to tell from generated ones.
        generator: draws all random numbers, on the images' device.

    Returns:
        float32 [N, C, H, W] in [-1, 1].
    """
    device = images.device
    if crop_padding:
        images = random_crop(images, crop_padding, reflect=padding == "reflect", generator=generator)
    if flip:
        mirrored = torch.rand(len(images), 1, 1, 1, generator=generator, device=device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
    if not dequantise:
        return to_float(images)
    return (images + torch.rand(images.shape, generator=generator, device=device)) / 128 - 1


@dataclass(frozen=True, eq=False)
class ImageBatches:
    """An endless sequence of training batches from images on the device.

    Args:
        images: uint8 [N, C, R, R].
        labels: int64 [N], or None.
        order: of the batches; on the same device.
        augment: from bytes to floats, such as a partial `augment`; its owner saves the state of its generator.
    """

    images: Tensor
    labels: Tensor | None
    order: BatchOrder
    augment: Callable[[Tensor], Tensor]

    def next(self) -> tuple[Tensor, Tensor | None]:
        """Return the next images, float32 [B, C, R, R] in [-1, 1], and their labels, int64 [B]."""
        index = self.order.next()
        images = self.augment(self.images[index])
        return images, None if self.labels is None else self.labels[index]

    def state_dict(self) -> dict[str, Any]:
        return self.order.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order.load_state_dict(state)
