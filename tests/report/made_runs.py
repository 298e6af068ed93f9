"""Run folders made without training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig
from ganmix.config.reader import dump_config, read_config
from ganmix.engine.run_folder import RunFolder
from ganmix.engine.scores import Measurement, Score

CONFIG = """\
data: {name: digits}
generator: {name: conv, z: 8, width: 4}
discriminator: {name: conv, width: 4}
loss: {name: hinge}
training: {steps: 3000, batch_size: 50, n_dis: 2}
"""
FR = "mixup={alpha: 0.2, stages: [input], pairs: [FR]}"
FR_FF = "mixup={alpha: 0.2, stages: [input], pairs: [FR, FF]}"
PROTOCOL = {
    "name": "small",
    "extractor": "digits",
    "extractor_digest": "ab12cd34" + 56 * "0",
    "reference": {"dataset": "digits", "split": "train", "num": 12000, "digest": "98fe76dc" + 56 * "0"},
    "num_fake": 10000,
    "few_images": False,
    "quantisation": "round",
    "batch_norm": "running",
    "ema": True,
    "is_splits": 10,
    "kid_subset_size": 1000,
    "neighbours": 3,
    "seed": 2020,
}
FEW = {**PROTOCOL, "name": "small with num_fake 500", "num_fake": 500, "few_images": True}
CLASSIFIER = """\
data: {name: digits}
network: {name: conv, width: 4}
training: {steps: 3000, batch_size: 50}
"""
INPUT = "mixup={alpha: 1, stages: [input]}"
HIDDEN = "mixup={alpha: 2, stages: [input, layer1, layer2]}"
CLEAN = {"what": "clean", "dataset": "digits", "split": "test", "num": 359, "digest": "5e" * 32, "ema": False}
VALIDATION = {key: value for key, value in CLEAN.items() if key != "digest"} | {"split": "validation", "num": 100}
ATTACKS = CLEAN | {
    "what": "attacks",
    "epsilon": 0.03,
    "space": "pixel",
    "pgd_step": 0.0075,
    "pgd_steps": 20,
    "seed": 0,
    "clamp": True,
    "pgd_start": "uniform in the ball",
    "attacked_loss": "cross-entropy of the true label",
}
UNBOUNDED = CLEAN | {
    "what": "unbounded",
    "step_size": 0.01,
    "steps": 200,
    "clamp": True,
    "num": 300,
    "pgd_start": "the image",
    "attacked_loss": "cross-entropy of the true label",
}
DEFORMATIONS = CLEAN | {"what": "deformations", "seed": 0, "fill": "black", "interpolation": "bilinear"}
INTERPOLATION = CLEAN | {
    "what": "interpolation",
    "num_lambdas": 51,
    "pairs": "each image with one of a random permutation of all",
    "seed": 0,
}
DEFORMED = [
    *(("rotation", at) for at in ("20", "40", "60", "80")),
    *(("shear", at) for at in ("28.6", "57.3", "114.6", "143.2", "171.9")),
    *(("zoom in", at) for at in ("20", "40", "60", "80")),
    *(("zoom out", at) for at in ("120", "140", "160", "180")),
]
VERSIONS = {"torch": "2.14.1", "numpy": "2.4.6"}


def make_run(
    path: Path,
    *overrides: str,
    seed: int = 0,
    fid: Mapping[int, float] | None = None,
    measurements: Sequence[Measurement] = (),
    steps_done: int = 3000,
    speed: float = 500.0,
    hardware: str | None = "a processor",
    samples: bool = True,
) -> RunFolder:
    """Write a GAN's run folder.

    Args:
        overrides: of CONFIG.
        fid: at each step it was scored at by PROTOCOL.
        measurements: others.
        hardware: of its session; None: there is no session.
    """
    found = [*(gan_scores(step, value) for step, value in (fid or {}).items()), *measurements]
    config = _read(GanConfig, path, CONFIG, [f"run.seed={seed}", *overrides])
    values = {"logit/real": 1.0, "images_per_second": speed}
    metrics = {step: {**values, "logit/fake": -step / 1000} for step in range(500, steps_done + 1, 500)}
    folder = _write(path, config, found, metrics, hardware, config.training.steps)
    if samples:
        noise = np.random.default_rng(seed).integers(256, size=(66, 66), dtype=np.uint8)
        for name in {"reals", "fakes_000500", f"fakes_{steps_done:06d}"}:
            Image.fromarray(noise).convert("RGB").save(folder.samples / f"{name}.png")
    return folder


def make_group(path: Path, *overrides: str, fids: Sequence[float], **others: Any) -> Path:
    """Write the runs of one config with seeds 0, 1, ..., and a last FID each."""
    for seed, fid in enumerate(fids):
        make_run(path / f"seed-{seed}", *overrides, seed=seed, fid={3000: fid}, **others)
    return path


def make_classifier_run(
    path: Path,
    *overrides: str,
    seed: int = 0,
    accuracy: Mapping[int, float] | None = None,
    measurements: Sequence[Measurement] = (),
    steps_done: int = 3000,
    total_steps: int | None = 3000,
) -> RunFolder:
    """Write a classifier's run folder.

    Args:
        overrides: of CLASSIFIER.
        accuracy: on clean test images at each step, in per cent.
        measurements: others.
        total_steps: of its session; None: there is no session.
    """
    found = [*(clean_scores(step, value) for step, value in (accuracy or {}).items()), *measurements]
    config = _read(ClassifierConfig, path, CLASSIFIER, [f"run.seed={seed}", *overrides])
    values = {"loss": 1.0, "accuracy": 0.5, "images_per_second": 1000.0}
    metrics = dict.fromkeys(range(500, steps_done + 1, 500), values)
    return _write(path, config, found, metrics, "a processor" if total_steps else None, total_steps or 0)


def make_classifiers(path: Path, *overrides: str, accuracies: Sequence[float], **others: Any) -> Path:
    """Write the runs of one classifier's config with seeds 0, 1, ..., and a last accuracy each."""
    for seed, accuracy in enumerate(accuracies):
        make_classifier_run(path / f"seed-{seed}", *overrides, seed=seed, accuracy={3000: accuracy}, **others)
    return path


def gan_scores(step: int, fid: float, protocol: Mapping[str, Any] = PROTOCOL, **others: float) -> Measurement:
    """Return scores of a GAN; IS is 10 less FID, with a spread over splits that cannot be one over seeds."""
    extractor = protocol["extractor"]
    scores = [Score("IS", 10 - fid, 777.0, extractor), Score("FID", fid, extractor=extractor)]
    scores += [Score(metric, value, extractor=extractor) for metric, value in others.items()]
    return Measurement(step, step, scores, protocol, VERSIONS)


def clean_scores(
    step: int, accuracy: float, protocol: Mapping[str, Any] = CLEAN, checkpoint: int | None = None
) -> Measurement:
    """Return scores on clean images that all are as good as the accuracy."""
    wrong = (100 - accuracy) / 100
    values = {"accuracy": accuracy, "nll": 2 * wrong, "ece": wrong / 4, "brier": wrong / 2}
    return measured(step, values, protocol, checkpoint)


def measured(
    step: int, values: Mapping[str, float], protocol: Mapping[str, Any], checkpoint: int | None = None
) -> Measurement:
    """Return scores by their metrics."""
    scores = [Score(metric, value) for metric, value in values.items()]
    return Measurement(step, checkpoint or step, scores, protocol, VERSIONS)


def deformed_scores(step: int, first: float) -> Measurement:
    """Return the accuracies under all deformations: `first`, `first` + 1, ..."""
    scores = [Score(metric, first + number, at=at) for number, (metric, at) in enumerate(DEFORMED)]
    return Measurement(step, step, scores, DEFORMATIONS, VERSIONS)


def interpolation_scores(step: int, num_lambdas: int = 3, **curves: Sequence[float]) -> Measurement:
    """Return the loss along interpolations at some boundaries."""
    scores = [Score("mixed nll", fmean(curve), at=name) for name, curve in curves.items()]
    return Measurement(step, step, scores, INTERPOLATION | {"num_lambdas": num_lambdas}, VERSIONS, curves)


def paper(row: str, table: str = "Table 6", spreads: str = "", **values: float) -> str:
    """Return the override for a row of the paper."""
    listed = ", ".join(f"{name}: {value}" for name, value in values.items())
    return f"paper={{table: {table}, row: '{row}', values: {{{listed}}}, spreads: {{{spreads}}}}}"


def _read(model: type, path: Path, text: str, overrides: Sequence[str]) -> Any:
    source = path.with_name(f"{path.name}.yaml")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text)
    config = read_config(model, source, overrides)
    source.unlink()
    return config


def _write(
    path: Path,
    config: GanConfig | ClassifierConfig,
    measurements: Sequence[Measurement],
    metrics: Mapping[int, Mapping[str, float]],
    hardware: str | None,
    total_steps: int,
) -> RunFolder:
    folder = RunFolder(path)
    with folder.held():
        folder.config.write_text(dump_config(config))
        for step, values in metrics.items():
            folder.add_metrics(step, values)
        for measurement in measurements:
            folder.add_measurement(measurement)
        if hardware is not None:
            facts = {"total_steps": total_steps, "hardware": hardware, "versions": VERSIONS}
            folder.add_session(0, {"started": "2026-11-24T09:15:00+00:00", **facts})
    return folder
