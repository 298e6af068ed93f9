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
    parser.add_argument("--num", type=int, default=NUM_GRID, metavar="N", help="number of images; default %(default)s")
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
    _write_samples(parser.parse_args(arguments))


def _write_samples(options: argparse.Namespace) -> None:
    """Write images/ or samples.npz, grid.png, interpolation.png and .gif, neighbours.png and .json, and samples.json.

    The same arguments write the same bytes, and a larger `num` adds images. The files replace older ones.
    """
    run, num, seed, truncation = options.run, options.num, options.seed, options.truncation
    interpolations, neighbours = options.interpolations, options.neighbours
    checks = {
        f"--num must be at least 1, got {num}": num >= 1,
        f"--seed must be at least 0 and below 2^63, got {seed}": 0 <= seed < 2**63,
        f"--truncation must be a finite number greater than 0, got {truncation}": (
            truncation is None or 0 < truncation < float("inf")
        ),
        f"--interpolations must be at least 0, got {interpolations}": interpolations >= 0,
        f"--neighbours must lie in 0..{MAX_ROWS}, got {neighbours}": 0 <= neighbours <= MAX_ROWS,
    }
    if problems := [problem for problem, passed in checks.items() if not passed]:
        raise UserError(problems)

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
    device = device_named(options.device or config.device.name, "--device" if options.device else "device.name")
    extractor = choose_extractor(config, options.extractor) if neighbours else None
    trained = load_generator(config, run_folder.checkpoint(options.checkpoint), device=device)
    folder = options.output or run / "generated"
    origin = {
        "run": str(run),
        "checkpoint": str(trained.checkpoint),
        "step": trained.step,
        "ema": trained.ema,
        "seed": seed,
        "truncation": truncation,
        "batch_norm": "running" if truncation is None else "standing",
    }
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write to {folder} (no permission)")
    keep_freed_memory()

    def draw(num: int) -> "Tensor":
        return draw_latents(num, config.generator.z, seed, truncation)

    def make(noise: "Tensor", what: str) -> "Tensor":
        return torch.cat([generate_bytes(network, part) for part in bar(noise.split(PASS), what, PASS)])

    network = trained.network if truncation is None else fitted_to(trained.network, draw(NUM_FITTED))
    say(f"generator    {trained.checkpoint}, step {trained.step}{', moving average' if trained.ema else ''}")
    images = make(draw(max(num, NUM_COMPARED if neighbours else 0)), "sampling")
    if options.npz:
        write_npz(folder / "samples.npz", images[:num])
        say(f"samples      {folder / 'samples.npz'} ({num:,}: arr_0, uint8 [N, H, W, C])")
    else:
        write_pngs(folder / "images", images[:num])
        others = sorted(x for x in (folder / "images").glob("*.png") if not x.stem.isdecimal() or int(x.stem) >= num)
        also = f"; {len(others)} older ones remain, such as {others[0].name}" if others else ""
        say(f"samples      {folder / 'images'} ({num:,}{also})")
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
        write_neighbours(config, images[:NUM_COMPARED], extractor, device, neighbours, folder, origin)
