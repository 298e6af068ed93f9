"""The command lines: read arguments and a config, and hand over."""

import argparse
from collections.abc import Callable, Sequence

from ganmix.commands.benchmark import benchmark
from ganmix.commands.evaluate import evaluate
from ganmix.commands.report import report
from ganmix.commands.sample import sample
from ganmix.commands.train import train_classifier, train_gan

VERBS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "train-gan": (train_gan, "train a GAN from a config, as train_gan.py does"),
    "train-classifier": (train_classifier, "train a classifier from a config, as train_classifier.py does"),
    "evaluate": (evaluate, "score checkpoints of runs: IS, FID, KID, precision, recall"),
    "sample": (sample, "images of a trained generator, walks between them, nearest training images"),
    "report": (report, "did mixup help? one page about runs: tables over seeds, curves, samples"),
    "benchmark": (benchmark, "time a config's steps against the textbook's"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m ganmix VERB ...`; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="ganmix",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="verbs:\n" + "\n".join(f"  {verb:<18} {text}" for verb, (_, text) in VERBS.items()),
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="what to do; VERB --help tells more")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the verb's own")
    options = parser.parse_args(arguments)
    return VERBS[options.verb][0](options.arguments)


__all__ = ["evaluate", "main", "train_classifier", "train_gan"]
