"""Run folders made without training."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig
from ganmix.config.reader import dump_config, read_config

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
VALIDATION = CLEAN | {"split": "validation", "num": 100}
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
    *(f"rotation {degrees}" for degrees in (20, 40, 60, 80)),
    *(f"shear {degrees}" for degrees in (28.6, 57.3, 114.6, 143.2, 171.9)),
    *(f"zoom in {percent}" for percent in (20, 40, 60, 80)),
    *(f"zoom out {percent}" for percent in (120, 140, 160, 180)),
]
VERSIONS = {"torch": "2.14.1", "numpy": "2.4.6"}


def make_run(
    path: Path,
    *overrides: str,
    seed: int = 0,
    fid: Mapping[int, float] | None = None,
    lines: Sequence[Mapping[str, Any]] = (),
    steps_done: int = 3000,
    speed: float = 500.0,
    hardware: str | None = "a processor",
    samples: bool = True,
) -> Path:
    """Write a run's folder.

    Args:
        overrides: of CONFIG.
        fid: at each step it was scored at by PROTOCOL.
        lines: further ones of scores.jsonl.
        hardware: in sessions.jsonl; None: there is no such file.
    """
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG)
    config = read_config(GanConfig, path / "config.yaml", [f"run.seed={seed}", *overrides])
    (path / "config.yaml").write_text(dump_config(config))
    metrics = [
        {"step": step, "logit/real": 1.0, "logit/fake": -step / 1000, "images_per_second": speed}
        for step in range(500, steps_done + 1, 500)
    ]
    write_lines(path / "metrics.jsonl", metrics)
    scored = [score_line(step, value) for step, value in (fid or {}).items()]
    if scored or lines:
        write_lines(path / "scores.jsonl", [*scored, *lines])
    if hardware is not None:
        session = {"step": 0, "started": "2026-11-24T09:15:00+00:00", "hardware": hardware, "versions": VERSIONS}
        write_lines(path / "sessions.jsonl", [session])
    if samples:
        (path / "samples").mkdir()
        noise = np.random.default_rng(seed).integers(256, size=(66, 66), dtype=np.uint8)
        for name in {"reals", "fakes_000500", f"fakes_{steps_done:06d}"}:
            Image.fromarray(noise).convert("RGB").save(path / "samples" / f"{name}.png")
    return path


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
    lines: Sequence[Mapping[str, Any]] = (),
    steps_done: int = 3000,
    total_steps: int | None = None,
) -> Path:
    """Write a classifier's run folder.

    Args:
        overrides: of CLASSIFIER.
        accuracy: on clean test images at each step, in per cent.
        lines: further ones of scores.jsonl.
        total_steps: in sessions.jsonl; None: it lacks them.
    """
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(CLASSIFIER)
    config = read_config(ClassifierConfig, path / "config.yaml", [f"run.seed={seed}", *overrides])
    (path / "config.yaml").write_text(dump_config(config))
    metrics = [
        {"step": step, "loss": 1.0, "accuracy": 0.5, "images_per_second": 1000.0}
        for step in range(500, steps_done + 1, 500)
    ]
    write_lines(path / "metrics.jsonl", metrics)
    scored = [clean_line(step, value) for step, value in (accuracy or {}).items()]
    if scored or lines:
        write_lines(path / "scores.jsonl", [*scored, *lines])
    session = {"step": 0, "started": "2026-11-24T09:15:00+00:00", "hardware": "a processor", "versions": VERSIONS}
    write_lines(path / "sessions.jsonl", [session | ({"total_steps": total_steps} if total_steps else {})])
    return path


def make_classifiers(path: Path, *overrides: str, accuracies: Sequence[float], **others: Any) -> Path:
    """Write the runs of one classifier's config with seeds 0, 1, ..., and a last accuracy each."""
    for seed, accuracy in enumerate(accuracies):
        make_classifier_run(path / f"seed-{seed}", *overrides, seed=seed, accuracy={3000: accuracy}, **others)
    return path


def line_of(step: int, scores: Mapping[str, float], protocol: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Return a line of scores.jsonl."""
    return {"step": step, "scores": dict(scores), "protocol": dict(protocol), "versions": VERSIONS, **others}


def clean_line(step: int, accuracy: float, protocol: Mapping[str, Any] = CLEAN, **others: Any) -> dict[str, Any]:
    """Return a line of scores on clean images, all of which say the same."""
    wrong = (100 - accuracy) / 100
    scores = {"accuracy": accuracy, "nll": 2 * wrong, "ece": wrong / 4, "brier": wrong / 2}
    return line_of(step, scores, protocol, **others)


def score_line(step: int, fid: float, protocol: Mapping[str, Any] = PROTOCOL) -> dict[str, Any]:
    """Return a line of scores.jsonl: IS is 10 less FID, and IS_std is no spread over seeds that there could be."""
    scores = {"digits-IS": 10 - fid, "digits-IS_std": 777.0, "digits-FID": fid}
    return {"step": step, "scores": scores, "protocol": dict(protocol), "versions": VERSIONS}


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write a log."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
