"""The command lines: read arguments and a config, hand over, and turn what goes wrong into lines and exit statuses."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ganmix.config.base import Section
from ganmix.config.describe import describe, json_schema
from ganmix.config.reader import dump_config, read_config
from ganmix.errors import DivergedError, Stopped, UserError

Config = TypeVar("Config", bound=Section)


def train_gan(arguments: Sequence[str] | None = None) -> int:
    """Train a GAN from a config; return the exit status."""
    from ganmix.config.gan import GanConfig

    def run(config: GanConfig, path: Path) -> None:
        from ganmix.runs.gan import run_gan

        run_gan(config, path)

    return _train("train_gan.py", GanConfig, run, arguments)


def train_classifier(arguments: Sequence[str] | None = None) -> int:
    """Train a classifier from a config; return the exit status."""
    from ganmix.config.classifier import ClassifierConfig

    def run(config: ClassifierConfig, path: Path) -> None:
        from ganmix.runs.classifier import run_classifier

        run_classifier(config, path)

    return _train("train_classifier.py", ClassifierConfig, run, arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m ganmix VERB ...`; return the exit status."""
    verbs: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
        "train-gan": (train_gan, "train a GAN from a config, as train_gan.py does"),
        "train-classifier": (train_classifier, "train a classifier from a config, as train_classifier.py does"),
        "benchmark": (benchmark, "time a config's steps against the textbook's"),
    }
    parser = argparse.ArgumentParser(
        prog="ganmix",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="verbs:\n" + "\n".join(f"  {verb:<18} {text}" for verb, (_, text) in verbs.items()),
    )
    parser.add_argument("verb", choices=verbs, metavar="VERB", help="what to do; VERB --help tells more")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the verb's own")
    options = parser.parse_args(arguments)
    return verbs[options.verb][0](options.arguments)


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


def exit_status(work: Callable[[], None]) -> int:
    """Run `work`; print what a user can do something about as lines on stderr; return the exit status."""
    try:
        work()
    except UserError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return error.exit_status
    except DivergedError as error:
        print(f"diverged: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("stopped at once; a training goes on from its last checkpoint", file=sys.stderr)
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return UserError.exit_status
    except Stopped as stop:
        print(f"stopped by {stop}; the same command goes on from here", file=sys.stderr)
        return stop.exit_status
    return 0


class _Parser(argparse.ArgumentParser):
    """Puts the config's keys, with type, default and meaning, below the usual help."""

    model: type[Section]

    def format_help(self) -> str:
        return f"{super().format_help()}\nkeys of the config:\n{describe(self.model)}\n"


def _train(
    program: str,
    model: type[Config],
    run: Callable[[Config, Path], None],
    arguments: Sequence[str] | None,
) -> int:
    parser = _Parser(prog=program, description="Train what CONFIG says. The same command again resumes, exactly.")
    parser.model = model
    parser.add_argument("config", type=Path, nargs="?", help="a YAML file; see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="replace a key: training.steps=100")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and stop")
    parser.add_argument("--schema", action="store_true", help="print the config's JSON schema and stop")
    options = parser.parse_intermixed_args(arguments)
    if options.schema:
        print(json_schema(model), end="")
        return 0
    if options.config is None:
        parser.error("a config is needed")

    def work() -> None:
        config = read_config(model, options.config, options.overrides)
        if options.dry_run:
            print(dump_config(config), end="")
        else:
            run(config, options.config)

    return exit_status(work)
