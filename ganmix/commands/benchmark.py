"""`python -m ganmix benchmark`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ganmix.commands.common import exit_status


def benchmark(arguments: Sequence[str] | None = None) -> int:
    """Time a config's training steps in several ways; return the exit status."""
    ways = ["float32", "bfloat16", "compiled-float32", "compiled-bfloat16"]
    parser = argparse.ArgumentParser(
        prog="ganmix benchmark",
        description="Seconds of a config's training steps, on noise for images: ours beside a textbook step, in turns, "
        "with the ratios, and what mixup costs. Of a GAN: a D step, a G step and an iteration (n_dis D + 1 G), without "
        "mixup, and with FR and FR+FF at each stage. Of a classifier: a step without mixup, and with it at each stage; "
        "the textbook is the way of the paper's authors; then the mixing alone, forward and backward.",
    )
    parser.add_argument("config", type=Path, help="a YAML file of either kind")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace a key: training.batch_size=100")
    parser.add_argument(
        "--ways", nargs="+", choices=ways, default=ways[:2], help="of computing ours; default %(default)s"
    )
    parser.add_argument(
        "--settings",
        nargs="+",
        metavar="S",
        help="only these, as the table calls them: none 'FR at input', none 'mixup at layer1'",
    )
    parser.add_argument("--rounds", type=int, default=7, help="timed repetitions; default %(default)s")
    parser.add_argument("--json", type=Path, help="write the tables there too")
    options = parser.parse_intermixed_args(arguments)
    keys = {"ways": options.ways, "only": options.settings, "rounds": options.rounds, "output": options.json}

    def work() -> None:
        from ganmix.config.either import read_either_config
        from ganmix.config.gan import GanConfig

        config = read_either_config(options.config, options.overrides)
        if isinstance(config, GanConfig):
            from ganmix.benchmark.gan import benchmark_gan

            benchmark_gan(config, **keys)
        else:
            from ganmix.benchmark.classifier import benchmark_classifier

            benchmark_classifier(config, **keys)

    return exit_status(work)
