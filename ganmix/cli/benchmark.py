"""`python -m ganmix benchmark`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ganmix.cli.common import exit_status
from ganmix.config.reader import read_config


def benchmark(arguments: Sequence[str] | None = None) -> int:
    """Time a config's D and G steps in several ways; return the exit status."""
    from ganmix.config.gan import GanConfig

    ways = ["float32", "bfloat16", "compiled-float32", "compiled-bfloat16"]
    parser = argparse.ArgumentParser(
        prog="ganmix benchmark",
        description="Seconds of a D step, a G step and an iteration (n_dis D + 1 G) of a config's networks: "
        "without mixup, and with FR and FR+FF at each stage; ours beside a textbook step, in turns, with the ratio.",
    )
    parser.add_argument("config", type=Path, help="a GAN's YAML")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace a key: training.n_dis=5")
    parser.add_argument(
        "--ways", nargs="+", choices=ways, default=ways[:2], help="of computing ours; default %(default)s"
    )
    parser.add_argument(
        "--settings", nargs="+", metavar="S", help="only these, as the table calls them: none 'FR at input'"
    )
    parser.add_argument("--rounds", type=int, default=7, help="timed repetitions; default %(default)s")
    parser.add_argument("--resolution", type=int, default=32, help="of the made images; default %(default)s")
    parser.add_argument("--channels", type=int, default=3, help="of the made images; default %(default)s")
    parser.add_argument("--json", type=Path, help="write the table there too")
    options = parser.parse_intermixed_args(arguments)

    def work() -> None:
        config = read_config(GanConfig, options.config, options.overrides)
        from ganmix.benchmark.steps import run_benchmark

        run_benchmark(
            config,
            ways=options.ways,
            only=options.settings,
            rounds=options.rounds,
            resolution=options.resolution,
            channels=options.channels,
            output=options.json,
        )

    return exit_status(work)
