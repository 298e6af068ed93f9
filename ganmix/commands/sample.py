"""`python -m ganmix sample`: images of a trained generator, interpolations, and whether it copies."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ganmix.commands.common import command
from ganmix.config.either import read_either_config
from ganmix.config.gan import GanConfig
from ganmix.engine.files import write_atomically
from ganmix.engine.progress import bar, say
from ganmix.engine.run_folder import RunFolder
from ganmix.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

NUM_FITTED = 1024  # truncated noises whose batch statistics the generator gets
NUM_GRID = 64  # images in the grid
NUM_COLUMNS = 10  # of the strip
SIDE = 96  # pixels that an image in a strip or an animation is wide, about
GAP = 6  # pixels between them
NUM_CELLS, NUM_ANIMATED_COLUMNS = 12, 4  # of the animation
NUM_STOPS = 4  # samples that each of its cells passes through
FRAMES = 20  # from one to the next, and in a second
MAX_ROWS = 200  # of neighbours on a page


@command
def sample(arguments: Sequence[str] | None = None) -> None:
    """Write images of a run's generator, interpolations, and their nearest training images."""
    parser = argparse.ArgumentParser(
        prog="ganmix sample",
        description="Write images of a trained generator, a grid of them, interpolations as a strip and as a GIF, and "
        "samples beside their nearest training images. The same arguments write the same files.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a GAN run")
    parser.add_argument("--checkpoint", default="latest", help="best, latest or a file; default %(default)s")
    parser.add_argument("--num", type=int, default=64, metavar="N", help="number of images; default %(default)s")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="folder to write into; default RUN/generated")
    parser.add_argument(
        "--npz", action="store_true", help="write one samples.npz (arr_0, uint8 [N, H, W, C]) instead of PNGs"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the noise; default %(default)s")
    parser.add_argument("--truncation", type=float, metavar="T", help="restrict the normal noise to [-T, T]")
    parser.add_argument(
        "--interpolations",
        type=int,
        default=6,
        metavar="ROWS",
        help="rows of the strip; 0: no strip and no GIF; default %(default)s",
    )
    parser.add_argument(
        "--neighbours",
        type=int,
        default=8,
        metavar="ROWS",
        help=f"samples to show beside their nearest training images, at most {MAX_ROWS}; 0: none; default %(default)s",
    )
    parser.add_argument(
        "--extractor",
        help="compare its features besides pixels; none: only pixels; default: the extractor that scores the run",
    )
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N; default: the run's")
    run_sample(**vars(parser.parse_args(arguments)))


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
    """Write what a run's generator makes; the same arguments write the same bytes, and a larger `num` adds images.

    These files replace older ones: images/ or samples.npz, grid.png, interpolation.png and .gif, neighbours.png and
    .json, and samples.json, which says what they were made from. `--help` explains the arguments.

    Raises:
        UserError: an argument is out of its range, there is no such run, checkpoint, extractor or device, or the
            folder cannot be written.
    """
    _check(num, seed, truncation, interpolations, neighbours)

    # PyTorch takes seconds to load: --help and wrong arguments need not wait for it.
    import torch

    from ganmix.commands.neighbours import NUM_COMPARED, choose_extractor, write_neighbours
    from ganmix.data import to_float
    from ganmix.engine.device import device_named, keep_freed_memory
    from ganmix.engine.pictures import square_grid, tile, write_animation, write_npz, write_png, write_pngs
    from ganmix.evaluation.gan.features import PASS
    from ganmix.evaluation.gan.latent import draw_latents, loop, paths
    from ganmix.evaluation.gan.sampling import fitted_to, generate_bytes
    from ganmix.tasks.gan import load_generator

    run_folder = RunFolder(run)
    run_folder.check_format()
    config = read_either_config(run_folder.config)
    if not isinstance(config, GanConfig):
        raise UserError(f"{run} is a classifier's run; only GANs make images")
    place = device_named(device or config.device.name, "--device" if device else "device.name")
    judge = choose_extractor(config, extractor) if neighbours else None
    trained = load_generator(config, run_folder.checkpoint(checkpoint), device=place)
    folder = output or run / "generated"
    _make_writable(folder)
    keep_freed_memory()

    def draw(num: int) -> "Tensor":
        return draw_latents(num, config.generator.z, seed, truncation)

    def make(noise: "Tensor", what: str) -> "Tensor":
        return torch.cat([generate_bytes(network, part) for part in bar(noise.split(PASS), what, PASS)])

    network = trained.network if truncation is None else fitted_to(trained.network, draw(NUM_FITTED))
    say(f"generator    {trained.checkpoint}, step {trained.step}{', moving average' if trained.ema else ''}")
    images = make(draw(max(num, NUM_COMPARED if neighbours else 0)), "sampling")
    if npz:
        write_npz(folder / "samples.npz", images[:num])
        say(f"samples      {folder / 'samples.npz'} ({num:,}: arr_0, uint8 [N, H, W, C])")
    else:
        write_pngs(folder / "images", images[:num])
        others = sorted(x for x in (folder / "images").glob("*.png") if not x.stem.isdecimal() or int(x.stem) >= num)
        also = f"; {len(others)} others, such as {others[0].name}, were there before" if others else ""
        say(f"samples      {folder / 'images'} ({num:,}{also})")
    origin = {
        "run": str(run),
        "checkpoint": str(trained.checkpoint),
        "step": trained.step,
        "ema": trained.ema,
        "seed": seed,
        "truncation": truncation,
        "batch_norm": "running" if truncation is None else "standing",
    }
    write_atomically(folder / "samples.json", json.dumps({**origin, "num": num}, indent=2).encode())
    write_png(folder / "grid.png", square_grid(to_float(images[: min(num, NUM_GRID)])))
    say(f"             {folder / 'grid.png'}")
    if interpolations:
        scale = max(1, round(SIDE / images.shape[-1]))
        ends = draw(2 * interpolations)
        strip = make(paths(ends[::2], ends[1::2], NUM_COLUMNS).flatten(0, 1), "interpolating")
        write_png(folder / "interpolation.png", tile(strip, NUM_COLUMNS, scale, GAP))
        path = loop(draw(NUM_STOPS * NUM_CELLS).unflatten(0, (NUM_STOPS, NUM_CELLS)), FRAMES).flatten(0, 1)
        frames = make(path, "interpolating").split(NUM_CELLS)
        grids = [tile(frame, NUM_ANIMATED_COLUMNS, scale, GAP) for frame in frames]
        write_animation(folder / "interpolation.gif", grids, FRAMES)
        say(f"between them {folder / 'interpolation.png'}, and .gif")
    if neighbours:
        write_neighbours(config, images[:NUM_COMPARED], judge, place, neighbours, folder, origin)


def _check(num: int, seed: int, truncation: float | None, interpolations: int, neighbours: int) -> None:
    problems = []
    if num < 1:
        problems.append(f"the number of images must be at least 1, got {num}")
    if not 0 <= seed < 2**63:
        problems.append(f"the seed must be at least 0 and below 2^63, got {seed}")
    if truncation is not None and not 0 < truncation < float("inf"):
        problems.append(f"truncation must be a finite number greater than 0, got {truncation:g}")
    if interpolations < 0:
        problems.append(f"interpolations must be at least 0, got {interpolations}")
    if not 0 <= neighbours <= MAX_ROWS:
        problems.append(f"neighbours must lie in 0..{MAX_ROWS}, got {neighbours}")
    if problems:
        raise UserError(problems)


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write to {folder} (no permission)")
