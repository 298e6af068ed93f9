"""Does a generator copy its training images? Its samples' nearest ones, beside those of images held out of training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganmix.config.common import FolderData
from ganmix.config.gan import GanConfig
from ganmix.data import ImageData
from ganmix.engine.files import write_atomically
from ganmix.engine.pictures import Cell, Group, write_page
from ganmix.engine.progress import bar, say
from ganmix.errors import UserError
from ganmix.evaluation.gan import Extractor, extract, get_extractor, image_reference
from ganmix.evaluation.gan.extractors import INCEPTION_FILE
from ganmix.evaluation.gan.features import PASS
from ganmix.evaluation.gan.neighbours import nearest
from ganmix.evaluation.gan.protocol import choose_parts
from ganmix.tasks.data import read_data, training_images
from ganmix.tasks.gan_scores import CACHE

NUM_COMPARED = 1000  # samples, and held-out images, whose nearest training images are looked for
NUM_NEIGHBOURS = 5
SIDE = 64  # pixels that an image on the page has about
PIXELS = "pixels"


@dataclass(frozen=True, eq=False)
class Measure:
    """Distances by one way to measure them.

    Args:
        name: "pixels", or the extractor's name.
        unit: of the distances, in words.
        distances: of each sample's nearest training images, float64 [S, K], ascending.
        indices: of these images, int64 [S, K].
        held_out: of each held-out image's nearest training image, float64 [H]; None: there are none.
    """

    name: str
    unit: str
    distances: Tensor
    indices: Tensor
    held_out: Tensor | None

    @property
    def by(self) -> str:
        """What it goes by, in words."""
        return "by pixels" if self.name == PIXELS else f"by features of {self.name}"

    def summary(self) -> dict[str, Any]:
        """Return the distances to the nearest training image in figures, for JSON."""

        def figures(distances: Tensor) -> dict[str, float]:
            return {"num": len(distances), "median": float(distances.quantile(0.5)), "least": float(distances.min())}

        samples = figures(self.distances[:, 0])
        if self.held_out is None:
            return {"unit": self.unit, "samples": samples, "held_out": None, "ratio": None}
        held_out = figures(self.held_out)
        ratio = samples["median"] / held_out["median"] if held_out["median"] else None
        return {"unit": self.unit, "samples": samples, "held_out": held_out, "ratio": ratio}

    def in_words(self) -> str:
        """Say the medians, as in "by pixels 21.3 (held-out 22.0)"."""
        figures = self.summary()
        held_out = figures["held_out"]
        beside = f" (held-out {_short(held_out['median'])})" if held_out else ""
        return f"{self.by} {_short(figures['samples']['median'])}{beside}"


def choose_extractor(config: GanConfig, name: str | None) -> Extractor | None:
    """Return the extractor whose features nearness is measured by, besides pixels; None: by pixels alone.

    Args:
        name: as in `get_extractor`, or "none"; None: what the run is scored by or, where it has no scores, the
            classifier shipped for its data or Inception, if that need not be downloaded; with a note where this one
            cannot be had.

    Raises:
        UserError: `name` is none.
    """
    if name == "none":
        return None
    settings = config.evaluation
    weights = settings.weights if settings is not None else None
    if name is not None:
        return get_extractor(name, weights if name == "inception" else None)
    replaced = {"extractor": settings.extractor} if settings is not None else {}
    _, parts = choose_parts(settings.protocol if settings is not None else "small", config.data.name, replaced)
    assert parts.extractor is not None
    inception = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    if settings is None and parts.extractor == "inception" and not inception.is_file():
        say("note: neighbours by pixels alone, as the Inception weights are not here")
        return None
    try:
        return get_extractor(parts.extractor, weights)
    except UserError as error:
        say(f"note: neighbours by pixels alone: {error}")
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
    """Find samples' nearest training images, and say whether they are nearer than those of held-out images.

    Writes neighbours.png and neighbours.json; where the training images cannot be read, it says so and writes neither.

    Args:
        samples: uint8 [S, C, R, R].
        num_rows: samples that are shown: half of them the first ones, half those nearest to a training image.
        origin: what the samples come from, "run" and "step" among it.
    """
    try:
        data = training_images(read_data(config.data, "train"), config.data, config.run.seed)
    except UserError as error:
        say(f"neighbours   left out, as the training images cannot be read: {error}")
        return
    held_out = _held_out_images(config)
    references = _as_trained_on(data, flip=config.data.flip)
    measures = _measures(samples, references, held_out, extractor, device)
    rows = _chosen_rows(measures[0], num_rows)
    record = {
        **origin,
        "training_images": {"dataset": data.name, "split": data.split, "num": data.num_images},
        "mirrored_too": config.data.flip,
        "held_out": {"split": held_out.split, "num": held_out.num_images} if held_out else None,
        "measures": {measure.name: measure.summary() for measure in measures},
        "shown": [
            {"sample": i, **{measure.name: _neighbours(measure, i, data.num_images) for measure in measures}}
            for group in rows.values()
            for i in group
        ],
    }
    write_atomically(folder / "neighbours.json", json.dumps(record, indent=2).encode())
    words = ", ".join(measure.in_words() for measure in measures)
    whose = f"{len(samples):,} samples" + (f" and {held_out.num_images:,} held-out images" if held_out else "")
    median = f"Median distance to the nearest training image, of {whose}"
    write_page(
        folder / "neighbours.png",
        "Does it copy? Samples beside their nearest training images",
        ["sample", *(f"nearest training images {measure.by}" for measure in measures)],
        [Group(heading, [_cells(i, samples, references, measures) for i in group]) for heading, group in rows.items()],
        [
            f"{origin['run']}, step {origin['step']}, trained on {data.num_images:,} images",
            f"{median}:",
            *(f"{measure.in_words()}; {measure.unit}" for measure in measures),
            *(["Samples that lie much nearer than held-out images do are copies."] if held_out else []),
        ],
        SIDE,
    )
    say(f"neighbours   {folder / 'neighbours.png'}, and the figures in neighbours.json")
    say(f"             {median.lower()}: {words}")


def _held_out_images(config: GanConfig) -> ImageData | None:
    if isinstance(config.data, FolderData):
        return None
    try:
        data = read_data(config.data, "test")
    except UserError as error:
        say(f"note: no held-out images to compare with: {error}")
        return None
    return data.subset(torch.arange(min(NUM_COMPARED, data.num_images)))


def _as_trained_on(data: ImageData, *, flip: bool) -> ImageData:
    """Return the images and, where training mirrors at random, the mirrored ones after them."""
    if not flip:
        return data
    return ImageData(torch.cat([data.images, data.images.flip(3)]), None, data.name, data.split)


def _measures(
    samples: Tensor,
    references: ImageData,
    held_out: ImageData | None,
    extractor: Extractor | None,
    device: torch.device,
) -> list[Measure]:
    def measure(name: str, unit: str, *vectors: Tensor, scale: float = 1.0) -> Measure:
        of_samples, of_references, *of_held_out = vectors
        distances, indices = nearest(of_samples, of_references, min(NUM_NEIGHBOURS, len(of_references)))
        others = nearest(of_held_out[0], of_references, 1)[0][:, 0] * scale if of_held_out else None
        return Measure(name, unit, distances * scale, indices, others)

    real = [references] if held_out is None else [references, held_out]
    pixels = [images.flatten(1) for images in (samples, *(data.images for data in real))]
    unit = "root mean square of the differences of all values, which are 0 to 255"
    found = [measure(PIXELS, unit, *pixels, scale=pixels[0].shape[1] ** -0.5)]
    if extractor is not None:
        see = partial(image_reference, extractor=extractor, device=device, cache=CACHE)
        features = [extract(samples, extractor, device).features]
        for data in real:
            seen = see(data, watch=partial(bar, what="real images", scale=PASS)).features
            assert seen is not None
            features.append(seen)
        found.append(measure(extractor.name, "Euclidean distance of the extractor's features", *features))
    return found


def _chosen_rows(measure: Measure, num: int) -> dict[str, list[int]]:
    """Return the samples to be shown, under what they are."""
    nearest_first = measure.distances[:, 0].argsort(stable=True).tolist()
    num_samples = len(nearest_first)
    num_first = min(num_samples, (num + 1) // 2)
    groups = {"Samples as they come:": list(range(num_first))}
    if num > 1:
        heading = f"Those of {num_samples:,} samples that are nearest to a training image {measure.by}:"
        groups[heading] = nearest_first[: num // 2]
    return groups


def _neighbours(measure: Measure, i: int, num_images: int) -> list[dict[str, Any]]:
    pairs = zip(measure.indices[i].tolist(), measure.distances[i].tolist(), strict=True)
    return [
        {"image": index % num_images, "mirrored": index >= num_images, "distance": distance}
        for index, distance in pairs
    ]


def _cells(i: int, samples: Tensor, references: ImageData, measures: Sequence[Measure]) -> list[list[Cell]]:
    def block(measure: Measure) -> list[Cell]:
        images = references.images[measure.indices[i]]
        return [Cell(x, _short(d)) for x, d in zip(images, measure.distances[i].tolist(), strict=True)]

    return [[Cell(samples[i], f"no. {i}")], *map(block, measures)]


def _short(distance: float) -> str:
    return f"{distance:#.3g}".rstrip(".")
