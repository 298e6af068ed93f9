"""Scores as records: what was measured, of which checkpoint, by which protocol. The lines of scores.jsonl are these."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Self


@dataclass(frozen=True)
class Score:
    """One number that an evaluation found.

    Args:
        metric: 'FID', 'IS', 'accuracy', 'rotation' ...
        value: the number.
        spread: its standard deviation within the evaluation: of IS over splits, of KID over subsets; None: it has none.
        extractor: whose features it was computed from, 'inception' or a classifier's name; None: no extractor's.
        at: where or by how much it was measured: the boundary 'layer1', '20' degrees; None: the metric has one value.
    """

    metric: str
    value: float
    spread: float | None = None
    extractor: str | None = None
    at: str | None = None

    @property
    def name(self) -> str:
        """The metric and where it was measured: 'FID', 'rotation 20'."""
        return self.metric if self.at is None else f"{self.metric} {self.at}"

    @property
    def prefix(self) -> str:
        """The extractor before the name: 'digits-'; nothing for Inception, the literature's."""
        return "" if self.extractor in (None, "inception") else f"{self.extractor}-"

    @property
    def label(self) -> str:
        """The name with its prefix: 'digits-FID'."""
        return self.prefix + self.name


@dataclass(frozen=True)
class Measurement:
    """What one evaluation found: a line of scores.jsonl.

    Args:
        step: the step of the run that the scores stand for.
        checkpoint: the step of the network that was scored; an earlier one where a selection chose it.
        scores: in the order of a table's columns.
        protocol: all that the scores depend on beside the network; two that are equal but for their 'name' compare.
        versions: of the libraries that computed them.
        curves: by name, values over equal steps of lambda from 0 to 1.
    """

    step: int
    checkpoint: int
    scores: Sequence[Score]
    protocol: Mapping[str, Any]
    versions: Mapping[str, str]
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @cached_property
    def protocol_digest(self) -> str:
        """See `digest_of`."""
        return digest_of(self.protocol)

    @property
    def values(self) -> dict[str, float]:
        """The scores' values by their labels."""
        return {score.label: score.value for score in self.scores}

    def tagged(self, tag: str) -> dict[str, float]:
        """Return the values by the names of their curves in TensorBoard."""
        return {f"{tag}/{label}": value for label, value in self.values.items()}

    @property
    def finite(self) -> bool:
        """Whether all scores are finite numbers, as a diverged run's need not be."""
        return all(math.isfinite(score.value) for score in self.scores)

    def value(self, metric: str) -> float:
        """Return the value of a metric that has one."""
        return next(score.value for score in self.scores if score.metric == metric)

    def to_line(self) -> dict[str, Any]:
        """Return the JSON object that stands in scores.jsonl; what is None or empty is left out."""
        scores = [{key: value for key, value in asdict(score).items() if value is not None} for score in self.scores]
        line = {"step": self.step, "checkpoint": self.checkpoint, "protocol_digest": self.protocol_digest}
        line |= {"scores": scores, "protocol": dict(self.protocol), "versions": dict(self.versions)}
        return line | ({"curves": dict(self.curves)} if self.curves else {})

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Self:
        """Return the measurement that `to_line` wrote.

        Raises:
            LookupError, TypeError, AttributeError: it is another object.
        """
        parts = {key: value for key, value in line.items() if key not in ("protocol_digest", "scores")}
        return cls(**parts, scores=[Score(**score) for score in line["scores"]])


def digest_of(protocol: Mapping[str, Any]) -> str:
    """Return 16 hex digits that are equal for protocols whose scores compare: of all their parts but the name."""
    parts = {key: value for key, value in protocol.items() if key != "name"}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def in_words(scores: Sequence[Score]) -> str:
    """Return scores as 'FID 0.4224, IS 7.08 ± 0.1'; accuracies and the like are per cent."""

    def text(score: Score) -> str:
        return f"{score.label} {score.value:.4g}" + (f" ± {score.spread:.2g}" if score.spread is not None else "")

    return ", ".join(map(text, scores))
