"""Runs for a report: the contents of their folders, and their configs in words."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganmix.config.base import Section
from ganmix.config.classifier import ClassifierConfig, Mixup
from ganmix.config.common import FolderData
from ganmix.config.either import read_either_config
from ganmix.config.gan import GanConfig
from ganmix.config.gan import Mixup as GanMixup
from ganmix.engine.run_folder import RunFolder, find_runs
from ganmix.engine.scores import Measurement
from ganmix.errors import UserError


@dataclass(frozen=True)
class Description:
    """A config in words.

    Args:
        kind: "GAN" or "classifier".
        subject: equal for runs whose scores may compare: "GANs", or the data set of classifiers.
        method: "FR+FF at input, alpha 0.2".
        mixes: the kind of mixing, which decides the dashes of curves: "FR+FF"; None: nothing is mixed.
        mixing: each config section that mixes, in words; a baseline has none of these sections.
        trained_on: the data set, and the network of classifiers: "digits at 16x16".
        images_per_step: the images of a step that `images_per_second` counts.
    """

    kind: str
    subject: str
    method: str
    mixes: str | None
    mixing: dict[str, str]
    trained_on: str
    images_per_step: int


@dataclass(frozen=True, eq=False)
class Run:
    """The contents of a run's folder; the logs are in the order of their steps."""

    folder: RunFolder
    config: GanConfig | ClassifierConfig
    words: Description
    metrics: list[dict[str, Any]]
    measurements: list[Measurement]
    sessions: list[dict[str, Any]]

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def seed(self) -> int:
        return self.config.run.seed

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        if self.sessions:  # a config may count epochs instead
            return int(self.sessions[-1]["total_steps"])
        return self.config.training.steps or self.steps_done

    @property
    def steps_done(self) -> int:
        """The last step that has metrics or scores."""
        steps = [line["step"] for line in self.metrics] + [each.step for each in self.measurements]
        return max(steps, default=0)

    @property
    def speeds(self) -> list[float]:
        return [line["images_per_second"] for line in self.metrics if line["images_per_second"] > 0]

    @property
    def training_seconds(self) -> float | None:
        """Seconds spent in training steps; None: the metrics are empty."""
        seconds, since = 0.0, 0
        for line in self.metrics:
            if line["images_per_second"] > 0:
                seconds += (line["step"] - since) * self.words.images_per_step / line["images_per_second"]
            since = line["step"]
        return seconds or None


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """Read the runs at or below the paths, each once. Nothing is locked or written; a run may still be training.

    Raises:
        UserError: there is no run, or a config or log cannot be read.
    """
    folders: dict[Path, RunFolder] = {}
    for folder in find_runs(paths):
        folders.setdefault(folder.path.resolve(), folder)
    runs, problems = [], []
    for folder in folders.values():
        try:
            runs.append(_read_run(folder))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return runs


def _read_run(folder: RunFolder) -> Run:
    folder.check_format()
    config = read_either_config(folder.config)
    words = _describe_gan(config) if isinstance(config, GanConfig) else _describe_classifier(config)
    metrics, sessions = (sorted(log, key=lambda line: line["step"]) for log in (folder.metrics, folder.sessions))
    # Stable: of two measurements at one step, the later one comes last.
    return Run(folder, config, words, metrics, sorted(folder.measurements, key=lambda each: each.step), sessions)


def _describe_gan(config: GanConfig) -> Description:
    data, mixup, method, mixes = config.data, config.mixup, "no mixup", None
    if mixup is not None:
        method = _mixup("+".join(mixup.pairs), mixup, but=["alpha", "stages", "pairs"])
        mixes = "+".join(sorted(mixup.pairs, reverse=True))
    return Description(
        kind="GAN",
        subject="GANs",
        method=method,
        mixes=mixes,
        mixing={"mixup": method},
        trained_on=_data(data.path if isinstance(data, FolderData) else data.name, data.resolution, data.num_images),
        images_per_step=config.training.n_dis * config.training.batch_size,
    )


def _describe_classifier(config: ClassifierConfig) -> Description:
    data, network, cutmix, semi = config.data, config.network, config.cutmix, config.semi_supervised
    mixing = {"mixup": "no mixup", "cutmix": "no CutMix", "semi_supervised": "no unlabelled images"}
    if config.mixup is not None:
        mixing["mixup"] = _mixup("mixup", config.mixup)
    if cutmix is not None:
        mixing["cutmix"] = f"CutMix, alpha {cutmix.alpha:g}"
    method = mixing["mixup" if cutmix is None else "cutmix"]
    if semi is not None:
        unlabelled = ["unlabelled " + _mixup("mixup", semi.mixup), *_not_default(semi, but=["batch_size", "mixup"])]
        mixing["semi_supervised"] = ", ".join(unlabelled)
        labelled = method.replace("no mixup", "not mixed")
        method = f"semi-supervised: labelled {labelled}; {mixing['semi_supervised']}"
    sizes = [f"{key} {value}" for key, value in network.model_dump(exclude={"name"}).items()]
    details = [f"{data.labels_per_class:,} labels a class"] if data.labels_per_class is not None else []
    details.append(", ".join([network.name, *sizes]))
    return Description(
        kind="classifier",
        subject=data.name,
        method=method,
        mixes=_mixes(config),
        mixing=mixing,
        trained_on=f"{_data(data.name, data.resolution, data.num_images)} ({'; '.join(details)})",
        images_per_step=config.training.batch_size + (semi.batch_size if semi is not None else 0),
    )


def _mixes(config: ClassifierConfig) -> str | None:
    mixup = config.mixup if config.semi_supervised is None else config.semi_supervised.mixup
    if mixup is None:
        return None if config.cutmix is None else "CutMix"
    if mixup.block_gradients:
        return "mixup with blocked gradients"
    return "mixup at the input" if set(mixup.stages) <= {0, "input"} else "mixup at hidden layers too"


def _mixup(what: str, mixup: Mixup | GanMixup, but: Iterable[str] = ("alpha", "stages")) -> str:
    """Return "mixup at input, stage 2, alpha 1" with all other values that are not the default."""
    places = [
        "input" if stage == 0 else f"stage {stage}" if isinstance(stage, int) else stage for stage in mixup.stages
    ]
    return ", ".join([f"{what} at {', '.join(places)}", f"alpha {mixup.alpha:g}", *_not_default(mixup, but=but)])


def _not_default(section: Section, *, but: Iterable[str]) -> list[str]:
    """Return the values of a section that are not the default: "labels soft"."""
    others = section.model_dump(exclude=set(but), exclude_defaults=True)
    return [f"{key} {json.dumps(value)}".replace('"', "") for key, value in others.items()]


def _data(name: str, resolution: int | None, num_images: int | None) -> str:
    """Return "1,000 images of fashion_mnist at 16x16"."""
    size = f" at {resolution}x{resolution}" if resolution else ""
    return (f"{num_images:,} images of " if num_images else "") + name + size
