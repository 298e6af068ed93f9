"""`python -m ganmix benchmark`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ganmix.commands.common import command
from ganmix.config.either import read_either_config
from ganmix.config.gan import GanConfig


@command
def benchmark(arguments: Sequence[str] | None = None) -> None:
    """Time a config's training steps against a textbook implementation."""
    ways = ["float32", "bfloat16", "compiled-float32", "compiled-bfloat16"]
    parser = argparse.ArgumentParser(
        prog="ganmix benchmark",
        description="Time a config's training steps and a textbook implementation of them in turn, on noise images. "
        "Print seconds, speed ratios and the cost of mixup. For a GAN: a D step, a G step and an iteration (n_dis D "
        "steps and one G step), without mixup and with FR and FR+FF at each stage. For a classifier: a step without "
        "mixup and with mixup at each stage, where the textbook mixes as the paper's authors do, and then the mixing "
        "alone, forward and backward.",
    )
    parser.add_argument("config", type=Path, help="a YAML file for a GAN or a classifier")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace a key: training.batch_size=100")
    parser.add_argument(
        "--ways", nargs="+", choices=ways, default=ways[:2], help="how our steps compute; default %(default)s"
    )
    parser.add_argument(
        "--settings",
        nargs="+",
        metavar="S",
        dest="only",
        help="time only these, named as in the table: none 'FR at input', none 'mixup at layer1'",
    )
    parser.add_argument("--rounds", type=int, default=7, help="timed repetitions; default %(default)s")
    parser.add_argument("--json", type=Path, dest="output", help="also write the tables to this file")
    options = vars(parser.parse_intermixed_args(arguments))
    config = read_either_config(options.pop("config"), options.pop("overrides"))

    if isinstance(config, GanConfig):
        from ganmix.benchmark.gan import benchmark_gan

        benchmark_gan(config, **options)
    else:
        from ganmix.benchmark.classifier import benchmark_classifier

        benchmark_classifier(config, **options)
