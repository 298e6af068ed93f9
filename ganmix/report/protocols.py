"""The protocols that runs were scored by: which there are, and what each says in words."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ganmix.evaluation.protocol import protocol_key
from ganmix.report.collect import Run

_QUANTISATIONS = {"round": "rounded", "truncate": "truncated"}
_BATCH_NORMS = {"running": "running means", "batch": "each batch's own", "standing": "standing statistics"}


@dataclass(frozen=True)
class Protocol:
    """All that a score depends on beside the generator; two protocols are one where all but the name is equal.

    Args:
        key: the parts as canonical JSON, without the name.
        names: what it was called, which need not be one name.
    """

    key: str
    names: tuple[str, ...]

    @property
    def parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = json.loads(self.key)
        return parts

    @property
    def name(self) -> str:
        return ", ".join(self.names) or "unnamed"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()[:8]

    @property
    def few_images(self) -> bool:
        return bool(self.parts.get("few_images"))

    def in_brief(self) -> str:
        """Return the images of both sides and what sees them."""
        reference = self.parts.get("reference", {})
        return f"{self._generated()} against {_real_images(reference)}, seen by {self._extractor()}"

    def in_words(self) -> list[str]:
        """Return the parts, each in a few words; one that an old run did not note is left out."""
        parts, reference = self.parts, self.parts.get("reference", {})
        words = [f"{self._generated()} against {_real_images(reference)} [{str(reference.get('digest', '?'))[:8]}]"]
        words.append(f"seen by {self._extractor()} [{str(parts.get('extractor_digest', '?'))[:8]}]")
        if "quantisation" in parts:
            words.append(f"{_QUANTISATIONS.get(parts['quantisation'], parts['quantisation'])} to bytes")
        if "batch_norm" in parts:
            words.append(f"batch norm by {_BATCH_NORMS.get(parts['batch_norm'], parts['batch_norm'])}")
        if "ema" in parts:
            words.append("moving average of G's weights" if parts["ema"] else "G's weights themselves, no average")
        return words

    def _generated(self) -> str:
        return f"{self.parts['num_fake']:,} generated" if "num_fake" in self.parts else "generated"

    def _extractor(self) -> str:
        name = self.parts.get("extractor", "?")
        return "Inception" if name == "inception" else f"the classifier {name}"


def find_protocols(runs: Iterable[Run]) -> list[Protocol]:
    """Return the protocols that runs were scored by, the one of most runs first."""
    names: dict[str, dict[str, None]] = {}
    scored: dict[str, set[int]] = {}
    for position, run in enumerate(runs):
        for line in run.scores:
            key = protocol_key(line["protocol"])
            names.setdefault(key, {})
            if "name" in line["protocol"]:
                names[key][line["protocol"]["name"]] = None
            scored.setdefault(key, set()).add(position)
    keys = sorted(names, key=lambda key: -len(scored[key]))
    return [Protocol(key, tuple(names[key])) for key in keys]


def differing_parts(protocols: Iterable[Protocol]) -> list[str]:
    """Return the names of the parts in which protocols differ."""
    parts = [protocol.parts for protocol in protocols]
    keys = dict.fromkeys(key for part in parts for key in part)
    return [key for key in keys if len({json.dumps(part.get(key), sort_keys=True) for part in parts}) > 1]


def _real_images(reference: Mapping[str, Any]) -> str:
    num = reference.get("num")
    count = f"{num:,} real images" if num else "an unknown number of real images"
    if "file" in reference:
        return f"{count} (statistics in {reference['file']})"
    return f"{count} ({reference.get('dataset', '?')} {reference.get('split', '?')})"
