"""The protocols that runs were scored by: which there are, and in what they differ."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ganmix.evaluation.gan.protocol import protocol_key
from ganmix.report.classifiers import ClassifierProtocol
from ganmix.report.gans import SUBJECT, GanProtocol
from ganmix.report.kinds import Protocol, Run


def find_protocols(runs: Sequence[Run]) -> list[Protocol]:
    """Return the protocols that runs were scored by, in a report's order: of each subject, that of most runs first."""
    names: dict[str, dict[str, None]] = {}
    scored: dict[str, set[int]] = {}
    for position, run in enumerate(runs):
        for line in run.scores:
            key = report_key(line["protocol"])
            names.setdefault(key, {})
            if "name" in line["protocol"]:
                names[key][line["protocol"]["name"]] = None
            scored.setdefault(key, set()).add(position)
    subjects = sorted(dict.fromkeys(run.subject for run in runs), key=lambda subject: subject == SUBJECT)

    def place(protocol: Protocol) -> tuple[int, int, int, bool]:
        subject = subjects.index(protocol.subject) if protocol.subject in subjects else len(subjects)
        # A step that validation images chose is what its config asks for, beside the last.
        return subject, protocol.rank, -len(scored[protocol.key]), protocol.chosen_by is None

    return sorted((_protocol(key, tuple(names[key])) for key in names), key=place)


def report_key(protocol: Mapping[str, Any]) -> str:
    """Return what is equal for stored protocols whose scores stand in one table, as canonical JSON.

    Validation images are drawn by each run's seed, so that their digest tells seeds apart and not protocols.
    """
    drawn = protocol.get("split") == "validation"
    return protocol_key({key: value for key, value in protocol.items() if not (drawn and key == "digest")})


def differing_parts(protocols: Iterable[Protocol]) -> list[str]:
    """Return the names of the parts in which protocols differ."""
    parts = [protocol.parts for protocol in protocols]
    keys = dict.fromkeys(key for part in parts for key in part)
    return [key for key in keys if len({json.dumps(part.get(key), sort_keys=True) for part in parts}) > 1]


def _protocol(key: str, names: tuple[str, ...]) -> Protocol:
    return (ClassifierProtocol if "what" in json.loads(key) else GanProtocol)(key, names)
