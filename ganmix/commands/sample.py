"""`python -m ganmix sample`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ganmix.commands.common import exit_status


def sample(arguments: Sequence[str] | None = None) -> int:
    """Write images of a run's generator, walks between them, and their nearest training images; return the status."""
    parser = argparse.ArgumentParser(
        prog="ganmix sample",
        description="Images of a trained generator, a grid of them, interpolations as a strip and a GIF, and samples "
        "beside their nearest training images. The same arguments make the same files.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--checkpoint", default="latest", help="best, latest or a file; default %(default)s")
    parser.add_argument("--num", type=int, default=64, metavar="N", help="images; default %(default)s")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default RUN/generated")
    parser.add_argument(
        "--npz", action="store_true", help="the images as samples.npz (arr_0, uint8 [N, H, W, C]) instead of PNGs"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the noise; default %(default)s")
    parser.add_argument(
        "--truncation", type=float, metavar="T", help="noise from a normal distribution restricted to [-T, T]"
    )
    parser.add_argument(
        "--interpolations",
        type=int,
        default=6,
        metavar="ROWS",
        help="of the strip; 0: no strip and no GIF; default %(default)s",
    )
    parser.add_argument(
        "--neighbours",
        type=int,
        default=8,
        metavar="ROWS",
        help="samples beside their nearest training images; 0: none; default %(default)s",
    )
    parser.add_argument(
        "--extractor", help="of the features for nearness, or none: by pixels alone; default: what the run is scored by"
    )
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N; default the run's")
    options = parser.parse_args(arguments)

    def work() -> None:
        from ganmix.commands.sampling import run_sample

        run_sample(**vars(options))

    return exit_status(work)
