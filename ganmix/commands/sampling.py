"""`ganmix sample`: images of a trained generator, walks between them, and whether it copies its training images."""

import json
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ganmix.commands.neighbours import NUM_COMPARED, choose_extractor, write_neighbours
from ganmix.config.either import read_either_config
from ganmix.config.gan import GanConfig
from ganmix.data import to_float, to_uint8
from ganmix.engine.device import find_device, keep_freed_memory
from ganmix.engine.files import write_atomically
from ganmix.engine.pictures import tile, write_animation
from ganmix.engine.progress import bar, say
from ganmix.engine.recorder import image_grid, write_png
from ganmix.engine.run_folder import RunFolder
from ganmix.errors import UserError
from ganmix.evaluation.gan.features import PASS
from ganmix.evaluation.gan.latent import draw_latents, loop, paths
from ganmix.evaluation.gan.sampling import fitted_to, generate
from ganmix.tasks.gan import load_generator

NUM_FITTED = 1024  # samples whose batch statistics truncated noise is given
NUM_GRID = 64  # images in the grid
NUM_COLUMNS = 10  # of the strip
SIDE = 96  # pixels that an image in a strip or an animation has about
NUM_CELLS, NUM_ANIMATED_COLUMNS = 12, 4  # of the animation
NUM_STOPS = 4  # samples that each of its cells passes through
FRAMES = 20  # from one to the next, and in a second


def run_sample(
    run: Path,
    *,
    checkpoint: str = "latest",
    num: int = NUM_GRID,
    output: Path | None = None,
    npz: bool = False,
    seed: int = 0,
    truncation: float | None = None,
    interpolations: int = 6,
    neighbours: int = 8,
    extractor: str | None = None,
    device: str | None = None,
) -> None:
    """Write what a run's generator makes; the same arguments write the same bytes, and a larger `num` more images.

    Into `output` go images/ or samples.npz, grid.png, interpolation.png and .gif, neighbours.png and .json, and
    samples.json, which says what they come from. Files of these names are replaced.

    Args:
        run: the run's folder.
        checkpoint: "latest", "best" or a path.
        num: images, at least 1.
        output: the folder; None: generated/ in the run's.
        npz: write the images as one samples.npz, `arr_0` uint8 [num, R, R, C], instead of images/000000.png ...
        seed: of the noise, 0 <= seed < 2^63.
        truncation: T > 0: noise from a normal distribution restricted to [-T, T], and batch norm by its statistics.
        interpolations: rows of the strip, each from one sample to the next; 0: neither strip nor animation.
        neighbours: samples shown beside their nearest training images; 0: these are not looked for.
        extractor: of the features that nearness is measured by besides the pixels', or "none"; None: what the run is
            scored by, where that can be had.
        device: to generate on; None: the run's.

    Raises:
        UserError: an argument out of its range, no run, no checkpoint, no such extractor or device, or a folder that
            cannot be written.
    """
    _check(num=num, seed=seed, truncation=truncation, interpolations=interpolations, neighbours=neighbours)
    run_folder = RunFolder(run)
    run_folder.check_format()
    config = read_either_config(run_folder.config)
    if not isinstance(config, GanConfig):
        raise UserError(f"{run}: a classifier's run, not a GAN's")
    place = find_device(device or config.device.name)
    judge = choose_extractor(config, extractor) if neighbours else None
    trained = load_generator(config, run_folder.checkpoint(checkpoint), device=place)
    folder = output or run / "generated"
    _make_writable(folder)
    keep_freed_memory()

    draw = partial(draw_latents, noise_size=config.generator.z, seed=seed, truncation=truncation)
    origin = {
        "run": str(run),
        "checkpoint": str(trained.checkpoint),
        "step": trained.step,
        "ema": trained.ema,
        "seed": seed,
        "truncation": truncation,
        "batch_norm": "running" if truncation is None else "standing",
    }
    network = trained.network if truncation is None else fitted_to(trained.network, draw(NUM_FITTED))
    average = ", moving average of the weights" if trained.ema else ""
    say(f"generator    {trained.checkpoint}, step {trained.step}{average}")
    noise = draw(max(num, NUM_COMPARED if neighbours else 0))
    first = _write_samples(network, noise, num, folder, npz=npz)
    write_atomically(folder / "samples.json", json.dumps({**origin, "num": num}, indent=2).encode())
    write_png(folder / "grid.png", image_grid(to_float(first[: min(num, NUM_GRID)])))
    say(f"             {folder / 'grid.png'}")
    if interpolations:
        _write_strip(network, draw(2 * interpolations), folder)
        _write_animation(network, draw(NUM_STOPS * NUM_CELLS), folder)
    if neighbours:
        write_neighbours(config, first[:NUM_COMPARED], judge, place, neighbours, folder, origin)


def _check(*, num: int, seed: int, truncation: float | None, interpolations: int, neighbours: int) -> None:
    problems = []
    if num < 1:
        problems.append(f"the number of images must be at least 1, got {num}")
    if not 0 <= seed < 2**63:
        problems.append(f"the seed must be at least 0 and below 2^63, got {seed}")
    if truncation is not None and not 0 < truncation < float("inf"):
        problems.append(f"truncation must be a finite number greater than 0, got {truncation:g}")
    for name, value in {"interpolations": interpolations, "neighbours": neighbours}.items():
        if value < 0:
            problems.append(f"{name} must be at least 0, got {value}")
    if problems:
        raise UserError(problems)


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write to {folder} (no permission)")


def _generate(network: nn.Module, noise: Tensor) -> Tensor:
    """Return the images of noise [N, z], uint8 [N, C, R, R] on the CPU; each depends on its own row alone."""
    # Convolutions round otherwise for another number of images: always the same number, filled up with zeros.
    whole = F.pad(noise, (0, 0, 0, -len(noise) % PASS))
    return torch.cat([to_uint8(generate(network, part)).cpu() for part in whole.split(PASS)])[: len(noise)]


def _write_samples(network: nn.Module, noise: Tensor, num: int, folder: Path, *, npz: bool) -> Tensor:
    """Write the images of the first `num` noises; return those of the first noises, enough for all else."""
    kept: list[Tensor] = []
    written = _write_npz if npz else _write_pngs

    def passes() -> Iterator[Tensor]:
        for i, part in enumerate(bar(noise.split(PASS), "sampling", PASS)):
            images = _generate(network, part)
            if i * PASS < max(NUM_GRID, NUM_COMPARED):
                kept.append(images)
            yield images[: max(0, num - i * PASS)].permute(0, 2, 3, 1)

    say(f"samples      {written(passes(), num, folder)}")
    return torch.cat(kept)


def _write_npz(passes: Iterable[Tensor], num: int, folder: Path) -> str:
    path = folder / "samples.npz"
    images = np.concatenate([part.numpy() for part in passes])
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, arr_0=images)
    temporary.replace(path)
    return f"{path} ({num:,}: arr_0, uint8 {[*images.shape]})"


def _write_pngs(passes: Iterable[Tensor], num: int, folder: Path) -> str:
    path = folder / "images"
    path.mkdir(exist_ok=True)
    index = 0
    for part in passes:
        for image in part.numpy():
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(path / f"{index:06d}.png")
            index += 1
    others = sorted(file for file in path.glob("*.png") if not file.stem.isdecimal() or int(file.stem) >= num)
    also = f"; {len(others)} others, such as {others[0].name}, were there before" if others else ""
    return f"{path} ({num:,}{also})"


def _write_strip(network: nn.Module, ends: Tensor, folder: Path) -> None:
    path = folder / "interpolation.png"
    noise = paths(ends[::2], ends[1::2], NUM_COLUMNS).flatten(0, 1)
    write_png(path, tile(_generate(network, noise), NUM_COLUMNS, SIDE))
    say(f"between them {path}")


def _write_animation(network: nn.Module, noise: Tensor, folder: Path) -> None:
    path = folder / "interpolation.gif"
    way = loop(noise.unflatten(0, (NUM_STOPS, NUM_CELLS)), FRAMES)
    images = _generate(network, way.flatten(0, 1)).unflatten(0, (len(way), NUM_CELLS))
    write_animation(path, [tile(frame, NUM_ANIMATED_COLUMNS, SIDE) for frame in images], FRAMES)
    say(f"             {path}")
