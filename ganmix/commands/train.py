"""`train_gan.py` and `train_classifier.py`: read a config and train it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ganmix.commands.common import command
from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig
from ganmix.config.help import describe, json_schema
from ganmix.config.method import key_off_the_papers_row
from ganmix.config.reader import dump_config, read_config


@command
def train_gan(arguments: Sequence[str] | None = None) -> int:
    """Train a GAN from a config; return the exit status."""
    return _train("train_gan.py", GanConfig, arguments)


@command
def train_classifier(arguments: Sequence[str] | None = None) -> int:
    """Train a classifier from a config; return the exit status."""
    return _train("train_classifier.py", ClassifierConfig, arguments)


def _train(program: str, model: type[GanConfig] | type[ClassifierConfig], arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Train what CONFIG describes. The same command again resumes, exactly.",
        epilog=f"keys of the config:\n{describe(model)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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

    overrides = options.overrides
    config = read_config(model, options.config, overrides)
    if (key := key_off_the_papers_row(config, options.config, overrides)) is not None:
        no_row = f"{key} differs from {options.config}, so this run does not repeat the paper's row"
        print(f"note: {no_row}; it has paper=null", file=sys.stderr)
        overrides = [*overrides, "paper=null"]
        config = config.model_copy(update={"paper": None})
    if options.dry_run:
        print(dump_config(config), end="")
        return 0

    from ganmix.commands.seeds import run_seeds
    from ganmix.engine.train import run_path, train_run
    from ganmix.tasks import task_of

    folder = run_path(config.run.dir, options.config)
    if options.seeds:
        verb = program.removesuffix(".py").replace("_", "-")
        return run_seeds(verb, options.config, overrides, folder, options.seeds, options.jobs)
    train_run(task_of(config), folder)
    return 0
