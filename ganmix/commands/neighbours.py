"""Samples beside their nearest training images, as a page and as figures: what `sample` writes of them."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganmix.config.common import FolderData
from ganmix.config.gan import Evaluation, GanConfig
from ganmix.data import ImageData
from ganmix.engine.files import write_atomically
from ganmix.engine.pictures import Row, write_page
from ganmix.engine.progress import bar, say
from ganmix.errors import UserError
from ganmix.evaluation.gan.extractors import Extractor, inception_path
from ganmix.evaluation.gan.features import PASS, extract
from ganmix.evaluation.gan.memorisation import Nearness, nearness
from ganmix.evaluation.gan.protocol import choose_parts
from ganmix.evaluation.gan.reference import image_reference
from ganmix.tasks.data import read_data, training_images
from ganmix.tasks.gan_scores import CACHE, build_extractor

NUM_COMPARED = 1000  # samples, and held-out images, that are compared with the training images
PIXELS = "pixels"


def choose_extractor(config: GanConfig, name: str | None) -> Extractor | None:
    """Return the extractor whose features are compared besides pixels; None: only pixels are compared.

    Args:
        name: as in `get_extractor`, or "none". None: the one that scores the run or, where it has no scores, the
            classifier shipped for its data, or Inception where its weights are here already. Where this one cannot be
            loaded, a note says so.

    Raises:
        UserError: `name` is unknown, or its weights cannot be loaded.
    """
    if name == "none":
        return None
    settings = config.evaluation or Evaluation(protocol="small")
    if name is not None:
        return build_extractor(name, settings.weights if name == "inception" else None, "--extractor")
    _, parts = choose_parts(settings.protocol, config.data.name, {"extractor": settings.extractor})
    assert parts.extractor is not None
    try:
        if config.evaluation is None and parts.extractor == "inception" and not inception_path().is_file():
            raise UserError("the Inception weights are not here")
        return build_extractor(parts.extractor, settings.weights)
    except UserError as error:
        say(f"note: neighbours only by pixels: {error}")
        return None


def write_neighbours(
    config: GanConfig,
    samples: Tensor,
    extractor: Extractor | None,
    device: torch.device,
    num_rows: int,
    folder: Path,
    origin: Mapping[str, Any],
) -> None:
    """Find the nearest training images of samples; write neighbours.png and neighbours.json.

    Where the training images cannot be read, print so and write neither.

    Args:
        samples: uint8 [S, C, R, R].
        num_rows: samples on the page: half of them the first ones, half those nearest to a training image.
        origin: what the samples come from, with "run" and "step".
    """
    try:
        data = training_images(read_data(config.data, "train"), config.data, config.run.seed)
    except UserError as error:
        say(f"neighbours   left out, as the training images cannot be read: {error}")
        return
    held_out = _held_out_images(config)
    references = data
    if config.data.flip:
        references = ImageData(torch.cat([data.images, data.images.flip(3)]), None, data.name, data.split)
    real = [references] if held_out is None else [references, held_out]
    found = _compare(samples, real, extractor, device)
    rows = _chosen_rows(found[0], num_rows)
    record = {
        **origin,
        "training_images": {"dataset": data.name, "split": data.split, "num": data.num_images},
        "mirrored_too": config.data.flip,
        "held_out": {"split": held_out.split, "num": held_out.num_images} if held_out else None,
        "measures": {near.name: near.summary() for near in found},
        "shown": [
            {"sample": i, **{near.name: _neighbours(near, i, data.num_images) for near in found}}
            for group in rows.values()
            for i in group
        ],
    }
    write_atomically(folder / "neighbours.json", json.dumps(record, indent=2).encode())
    compared = f"{len(samples):,} samples" + (f" and {held_out.num_images:,} held-out images" if held_out else "")
    median = f"median distance of {compared} to the nearest training image"
    write_page(
        folder / "neighbours.png",
        "Does it copy? Samples beside their nearest training images",
        ["sample", *(f"nearest training images {_by(near)}" for near in found)],
        {heading: [_row(i, samples, references, found) for i in group] for heading, group in rows.items()},
        [
            f"{origin['run']}, step {origin['step']}, trained on {data.num_images:,} images",
            f"{median.capitalize()}:",
            *(f"{_medians(near)}; {near.unit}" for near in found),
            *(["Samples much nearer than held-out images are copies."] if held_out else []),
        ],
    )
    say(f"neighbours   {folder / 'neighbours.png'}, and the figures in neighbours.json")
    say(f"             {median}: {', '.join(map(_medians, found))}")


def _compare(
    samples: Tensor, real: Sequence[ImageData], extractor: Extractor | None, device: torch.device
) -> list[Nearness]:
    """Compare samples, and the second of `real` where there is one, with the first, by pixels and by features."""
    pixels = [samples.flatten(1), *(data.images.flatten(1) for data in real)]
    unit = "root mean square of the differences of all values, which are 0 to 255"
    found = [nearness(PIXELS, unit, *pixels, scale=pixels[0].shape[1] ** -0.5)]
    if extractor is not None:
        features = [extract(samples, extractor, device).features]
        for data in real:
            watch = partial(bar, what="real images", scale=PASS)
            seen = image_reference(data, extractor, device, cache=CACHE, watch=watch).features
            assert seen is not None
            features.append(seen)
        found.append(nearness(extractor.name, "Euclidean distance of the extractor's features", *features))
    return found


def _held_out_images(config: GanConfig) -> ImageData | None:
    if isinstance(config.data, FolderData):
        return None
    try:
        data = read_data(config.data, "test")
    except UserError as error:
        say(f"note: no held-out images to compare with: {error}")
        return None
    return data.subset(torch.arange(min(NUM_COMPARED, data.num_images)))


def _chosen_rows(near: Nearness, num: int) -> dict[str, list[int]]:
    """Return which samples the page shows, each group under its heading."""
    nearest_first = near.distances[:, 0].argsort(stable=True).tolist()
    num_samples = len(nearest_first)
    groups = {"The first samples:": list(range(min(num_samples, (num + 1) // 2)))}
    if num > 1:
        groups[f"The samples, of {num_samples:,}, nearest to a training image by pixels:"] = nearest_first[: num // 2]
    return groups


def _neighbours(near: Nearness, i: int, num_images: int) -> list[dict[str, Any]]:
    pairs = zip(near.indices[i].tolist(), near.distances[i].tolist(), strict=True)
    return [
        {"image": index % num_images, "mirrored": index >= num_images, "distance": distance}
        for index, distance in pairs
    ]


def _row(i: int, samples: Tensor, references: ImageData, found: Sequence[Nearness]) -> Row:
    blocks = [(references.images[near.indices[i]], [*map(_short, near.distances[i].tolist())]) for near in found]
    return [(samples[i : i + 1], [f"no. {i}"]), *blocks]


def _by(near: Nearness) -> str:
    return "by pixels" if near.name == PIXELS else f"by features of {near.name}"


def _medians(near: Nearness) -> str:
    """Return the medians, as in "by pixels 21.3 (held-out 22.0)"."""
    figures = near.summary()
    held_out = f" (held-out {_short(figures['held_out']['median'])})" if figures["held_out"] else ""
    return f"{_by(near)} {_short(figures['samples']['median'])}{held_out}"


def _short(distance: float) -> str:
    return f"{distance:#.3g}".rstrip(".")
