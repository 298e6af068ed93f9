"""`train_gan.py` and `train_classifier.py`: read a config, hand it over."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from ganmix.commands.common import exit_status
from ganmix.config.base import Section
from ganmix.config.common import RunConfig
from ganmix.config.help import describe, json_schema
from ganmix.config.method import key_off_the_papers_row
from ganmix.config.reader import dump_config, read_config

Config = TypeVar("Config", bound=RunConfig)


def train_gan(arguments: Sequence[str] | None = None) -> int:
    """Train a GAN from a config; return the exit status."""
    from ganmix.config.gan import GanConfig

    def run(config: GanConfig, path: Path) -> None:
        from ganmix.tasks.gan import run_gan

        run_gan(config, path)

    return _train("train_gan.py", GanConfig, run, arguments)


def train_classifier(arguments: Sequence[str] | None = None) -> int:
    """Train a classifier from a config; return the exit status."""
    from ganmix.config.classifier import ClassifierConfig

    def run(config: ClassifierConfig, path: Path) -> None:
        from ganmix.tasks.classifier import run_classifier

        run_classifier(config, path)

    return _train("train_classifier.py", ClassifierConfig, run, arguments)


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
    parser.add_argument(
        "--seeds", nargs="+", type=int, metavar="S", help="train each seed, into seed-S below the run's folder"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="J", help="seeds trained side by side; default %(default)s"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and stop")
    parser.add_argument("--schema", action="store_true", help="print the config's JSON schema and stop")
    options = parser.parse_intermixed_args(arguments)
    if options.schema:
        print(json_schema(model), end="")
        return 0
    if options.config is None:
        parser.error("a config is needed")

    def work() -> int | None:
        overrides = options.overrides
        config = read_config(model, options.config, overrides)
        if (key := key_off_the_papers_row(config, options.config, overrides)) is not None:
            no_row = f"{key} differs from {options.config}, so this run does not repeat the paper's row"
            print(f"note: {no_row}; it has paper=null", file=sys.stderr)
            overrides = [*overrides, "paper=null"]
            config = config.model_copy(update={"paper": None})
        if options.dry_run:
            print(dump_config(config), end="")
        elif options.seeds:
            from ganmix.commands.seeds import run_seeds
            from ganmix.tasks.common import run_path

            verb = program.removesuffix(".py").replace("_", "-")
            folder = run_path(config.run.dir, options.config)
            return run_seeds(verb, options.config, overrides, folder, options.seeds, options.jobs)
        else:
            run(config, options.config)
        return None

    return exit_status(work)
