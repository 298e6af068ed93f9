"""Runs that differ by their seed alone, as one group with a name, and the baseline of each that mixes."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig
from ganmix.config.method import method_keys
from ganmix.errors import UserError
from ganmix.report.kinds import Paper, Run


@dataclass(frozen=True, eq=False)
class Group:
    """The runs of one config, by seed.

    Args:
        name: the folder above its seed-N, or of its only run.
        label: the paper's name for the row, or `name`.
        title: `label`, with the name where two groups have one label.
        runs: in the order of their seeds.
        baseline: the group it is compared with.
    """

    name: str
    label: str
    title: str
    runs: tuple[Run, ...]
    baseline: "Group | None" = field(default=None, repr=False)

    @property
    def first(self) -> Run:
        """The run with the lowest seed, which stands for the others in all that a config says."""
        return self.runs[0]

    @property
    def config(self) -> GanConfig | ClassifierConfig:
        return self.first.config

    @property
    def subject(self) -> str:
        return self.first.subject

    @property
    def method(self) -> str:
        """What it does, in words: "FR+FF at input, alpha 0.2"."""
        return self.first.method

    @property
    def paper(self) -> Paper | None:
        return self.first.paper

    @property
    def steps(self) -> int:
        return max(run.steps for run in self.runs)  # of a run without sessions, those it has done


def group_runs(runs: Sequence[Run], baseline: str | None = None) -> list[Group]:
    """Group runs by config; each family has its baseline first, otherwise the order of the runs is kept.

    Args:
        baseline: name of the group that all others of its subject are compared with; else each group that mixes is
            compared with the one that equals it but for the mixing.

    Raises:
        UserError: two runs of a group have the same seed, or there is no group called `baseline`.
    """
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(_identity(run), []).append(run)
    _check_seeds(members.values())
    names = dict(zip(members, _names([group[0].path for group in members.values()]), strict=True))
    if baseline is not None and baseline not in names.values():
        near = difflib.get_close_matches(baseline, names.values(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names.values())}"
        raise UserError(f"no group of runs is called '{baseline}'; {hint}")
    labels = {key: paper.row if (paper := group[0].paper) else names[key] for key, group in members.items()}
    counts = Counter(labels.values())

    def make(key: str, base: Group | None) -> Group:
        label, name = labels[key], names[key]
        title = label if counts[label] == 1 else f"{label} [{name}]"
        return Group(name, label, title, tuple(sorted(members[key], key=lambda run: run.seed)), base)

    named = next((key for key, name in names.items() if name == baseline), None)
    bases: dict[str, str] = {}  # of each group that has one
    for key, group in members.items():
        base = _identity(group[0], mixing=False)
        if named is not None and members[named][0].subject == group[0].subject:
            base = named
        if base != key and base in members:
            bases[key] = base
    heads = {key: make(key, None) for key in members if key not in bases}
    families: dict[str, list[Group]] = {}
    for key in members:
        head = bases.get(key, key)
        family = families.setdefault(head, [heads[head]])
        if key != head:
            family.append(make(key, heads[head]))
    return [group for family in families.values() for group in family]


def mixes(run: Run) -> bool:
    """Tell whether a run is no baseline."""
    return any(getattr(run.config, section) is not None for section in run.mixing)


def _identity(run: Run, *, mixing: bool = True) -> str:
    tree = method_keys(run.config)
    return json.dumps(tree if mixing else tree | dict.fromkeys(run.mixing), sort_keys=True)


def _check_seeds(groups: Iterable[list[Run]]) -> None:
    problems = []
    for group in groups:
        first: dict[int, Run] = {}
        for run in group:
            other = first.setdefault(run.seed, run)
            if other is not run:
                problems.append(f"{other.path} and {run.path} are the same config with the same seed, {run.seed}")
    if problems:
        raise UserError([*problems, "leave one of them out: a seed counts once"])


def _names(paths: Sequence[Path]) -> list[str]:
    """Name groups by the folder of a run of each, as briefly as tells them apart."""
    above = [path.resolve() for path in paths]
    above = [path.parent if re.fullmatch(r"seed-\d+", path.name) else path for path in above]
    shared = Counter(above)
    folders = [own.resolve() if shared[folder] > 1 else folder for own, folder in zip(paths, above, strict=True)]
    depths = [1] * len(folders)
    while True:
        names = ["/".join(folder.parts[-depth:]) for folder, depth in zip(folders, depths, strict=True)]
        counts = Counter(names)
        if len(counts) == len(names):
            return names
        depths = [depth + (counts[name] > 1) for name, depth in zip(names, depths, strict=True)]
