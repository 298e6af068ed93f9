"""The command line: each verb reads its arguments, hands over to a lower layer and returns an exit status."""

import argparse
from collections.abc import Callable, Sequence

from ganmix.commands.benchmark import benchmark
from ganmix.commands.evaluate import evaluate
from ganmix.commands.report import report
from ganmix.commands.sample import sample
from ganmix.commands.train import train_classifier, train_gan

VERBS: dict[str, tuple[Callable[..., int], str]] = {
    "train-gan": (train_gan, "train a GAN from a config; train_gan.py does the same"),
    "train-classifier": (train_classifier, "train a classifier from a config; train_classifier.py does the same"),
    "evaluate": (evaluate, "score checkpoints of runs: FID and others for GANs, accuracy and others for classifiers"),
    "sample": (sample, "write images of a trained generator, interpolations, and nearest training images"),
    "report": (report, "did mixup help? write one page about runs: tables over seeds, curves, samples"),
    "benchmark": (benchmark, "time a config's training steps against a textbook implementation"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m ganmix VERB ...`; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="ganmix",
        description="Train GANs and classifiers with mixup, and compare them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="verbs:\n" + "\n".join(f"  {verb:<18} {text}" for verb, (_, text) in VERBS.items()),
    )
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help="see below; VERB --help lists its arguments")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="arguments of the verb")
    options = parser.parse_args(arguments)
    return VERBS[options.verb][0](options.arguments)


__all__ = ["evaluate", "main", "train_classifier", "train_gan"]
