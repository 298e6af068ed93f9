"""What a report asks of a run and of a protocol, whatever was trained: `gans.py` and `classifiers.py` answer."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from ganmix.config.base import Section
from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig

ARXIV = "arXiv 1806.05236 v1"


@dataclass(frozen=True)
class Paper:
    """A row of the paper's tables.

    Args:
        table: "Table 6".
        heading: what stands over its values: "CIFAR-10, Inception", or the table's name.
        row: its name.
        values: by the name of the score.
        spreads: the paper's own +-, by the name of the score.
        spread_of: "over splits".
    """

    table: str
    heading: str
    row: str
    values: Mapping[str, float]
    spreads: Mapping[str, float]
    spread_of: str


@dataclass(frozen=True, eq=False)
class Run(ABC):
    """A run as its folder tells it.

    Args:
        path: the folder.
        config: what it was trained by.
        metrics, scores, sessions: the lines of these logs; a log that is not there has none.
        num_old: lines of scores.jsonl that are left out, as another version of ganmix wrote them, by another measure.
    """

    kind: ClassVar[str]

    path: Path
    config: GanConfig | ClassifierConfig
    metrics: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    sessions: list[dict[str, Any]]
    num_old: int = 0

    @property
    @abstractmethod
    def subject(self) -> str:
        """What the protocols that may score it share: see `Protocol.subject`."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps of the whole training."""

    @property
    @abstractmethod
    def images_per_step(self) -> int:
        """Images that a step counts in `images_per_second`."""

    @property
    @abstractmethod
    def mixing(self) -> dict[str, str]:
        """The sections of its config that mix, all null in a baseline, each in words."""

    @property
    @abstractmethod
    def method(self) -> str:
        """What it does, in words: "FR+FF at input, alpha 0.2"."""

    @property
    @abstractmethod
    def mixes(self) -> str:
        """What is mixed, in a word: a key of `figures.DASHES`."""

    @property
    @abstractmethod
    def trained_on(self) -> str:
        """Its data, and what else a reader must know of all that is equal: "digits at 16x16"."""

    @property
    @abstractmethod
    def paper(self) -> Paper | None:
        """The row of the paper that it repeats."""

    @property
    def seed(self) -> int:
        return self.config.run.seed

    @cached_property
    def steps_done(self) -> int:
        """The last step that metrics or scores tell of."""
        return max((line["step"] for line in (*self.metrics, *self.scores)), default=0)

    @property
    def speeds(self) -> list[float]:
        """Images per second, a value for each interval of the metrics."""
        return [line["images_per_second"] for line in self.metrics if line.get("images_per_second", 0) > 0]

    @property
    def training_seconds(self) -> float | None:
        """Time spent in training steps; None where the metrics do not tell."""
        seconds, since = 0.0, 0
        for line in self.metrics:
            if line.get("images_per_second", 0) > 0:
                seconds += (line["step"] - since) * self.images_per_step / line["images_per_second"]
            since = line["step"]
        return seconds or None


@dataclass(frozen=True)
class Protocol(ABC):
    """All that a score depends on beside the network; two protocols are one where all but the name is equal.

    Args:
        key: the parts as canonical JSON, without the name.
        names: what it was called, which need not be one name.
    """

    key: str
    names: tuple[str, ...]

    @property
    @abstractmethod
    def subject(self) -> str:
        """What is scored: "GANs", or the data set that classifiers know."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What it measures, as a heading; protocols of one title measure the same thing in unlike ways."""

    @property
    @abstractmethod
    def rank(self) -> int:
        """Its place among those of its subject, the least first."""

    @property
    def name(self) -> str:
        """What it is called, by people or for want of that by what it measures."""
        return ", ".join(self.names) or self.title

    @property
    @abstractmethod
    def num_images(self) -> int | None:
        """Images of a data set that it takes."""

    @abstractmethod
    def in_brief(self) -> str:
        """Return the end of "scored ..."."""

    @abstractmethod
    def in_words(self) -> list[str]:
        """Return the parts, each in a few words; one that an old run did not note is left out."""

    @property
    def warning(self) -> str | None:
        """What a reader must know before the numbers."""
        return None

    @property
    def of_validation(self) -> bool:
        """Whether it scores validation images, which are there to choose a step by."""
        return False

    @property
    def repeats_paper(self) -> bool:
        """Whether the paper's values stand beside these."""
        return not self.of_validation

    @property
    def chosen_by(self) -> str | None:
        """What chose the step whose network was scored: "best validation accuracy"; None: it was not chosen."""
        return None

    @property
    @abstractmethod
    def spread_note(self) -> str:
        """What +- is."""

    @abstractmethod
    def paper_note(self, tables: Mapping[str, list[str]]) -> str:
        """Say what the paper's values are of.

        Args:
            tables: titles of the rows that repeat each table.
        """

    @property
    def parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = json.loads(self.key)
        return parts

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()[:8]


def mixup_in_words(what: str, stages: Iterable[int | str], alpha: float, others: Iterable[str]) -> str:
    """Say what is mixed and where: "mixup at input, stage 2, alpha 1", and what else is not as by default."""
    places = ["input" if stage == 0 else stage if isinstance(stage, str) else f"stage {stage}" for stage in stages]
    return ", ".join([f"{what} at {', '.join(places)}", f"alpha {alpha:g}", *others])


def not_default(section: Section, *, but: Iterable[str]) -> list[str]:
    """Return what of a section, `but` these keys, is not as by default: "labels soft"."""
    others = section.model_dump(exclude=set(but), exclude_defaults=True)
    return [f"{key} {json.dumps(value)}".replace('"', "") for key, value in others.items()]


def data_in_words(name: str, resolution: int | None, num_images: int | None) -> str:
    """Name a data set, its size and how much of it: "1,000 images of fashion_mnist at 16x16"."""
    size = f" at {resolution}x{resolution}" if resolution else ""
    return (f"{num_images:,} images of " if num_images else "") + name + size
