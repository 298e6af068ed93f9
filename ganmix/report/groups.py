"""Runs that differ by their seed alone, as one group with a name, and each mixup group's baseline."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganmix.config.gan import GanConfig, Mixup
from ganmix.errors import UserError
from ganmix.report.collect import Run


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
    def config(self) -> GanConfig:
        return self.runs[0].config

    @property
    def steps(self) -> int:
        return self.config.training.steps

    @property
    def method(self) -> str:
        """What it does, in words: "FR+FF at input, alpha 0.2"."""
        return mixup_in_words(self.config.mixup)


def group_runs(runs: Sequence[Run], baseline: str | None = None) -> list[Group]:
    """Group runs by config; each family has its baseline first, otherwise the order of the runs is kept.

    Args:
        baseline: name of the group that all others are compared with; None: each mixup group with the one that equals
            it but for the mixup.

    Raises:
        UserError: two runs of a group have the same seed, or there is no group called `baseline`.
    """
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(_identity(run.config), []).append(run)
    _check_seeds(members.values())
    names = dict(zip(members, _names([group[0].path for group in members.values()]), strict=True))
    if baseline is not None and baseline not in names.values():
        near = difflib.get_close_matches(baseline, names.values(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names.values())}"
        raise UserError(f"no group of runs is called '{baseline}'; {hint}")
    labels = {key: group[0].config.paper.row if group[0].config.paper else names[key] for key, group in members.items()}
    counts = Counter(labels.values())

    def make(key: str, base: Group | None) -> Group:
        label, name = labels[key], names[key]
        title = label if counts[label] == 1 else f"{label} [{name}]"
        return Group(name, label, title, tuple(sorted(members[key], key=lambda run: run.seed)), base)

    bases: dict[str, str] = {}  # of each group that has one
    for key, group in members.items():
        base = _identity(group[0].config, without_mixup=True)
        if baseline is not None:
            base = next(other for other, name in names.items() if name == baseline)
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


def mixup_in_words(mixup: Mixup | None) -> str:
    """Say what is mixed and where: "FR+FF at input, alpha 0.2", and what else is not as by default."""
    if mixup is None:
        return "no mixup"
    names = {stage: stage if isinstance(stage, str) else f"stage {stage}" for stage in mixup.stages} | {0: "input"}
    places = [names[stage] for stage in mixup.stages]
    words = [f"{'+'.join(mixup.pairs)} at {', '.join(places)}", f"alpha {mixup.alpha:g}"]
    others = mixup.model_dump(exclude={"alpha", "stages", "pairs"}, exclude_defaults=True)
    return ", ".join(words + [f"{key} {json.dumps(value)}".replace('"', "") for key, value in others.items()])


def method_keys(config: GanConfig) -> dict[str, Any]:
    """Return what of a config is the method: all but its seed and where and how it runs, is watched and scored."""
    elsewhere = {"run": True, "device": True, "logging": True, "evaluation": True, "paper": True}
    return config.model_dump(mode="json", exclude={**elsewhere, "data": {"root"}})


def _identity(config: GanConfig, *, without_mixup: bool = False) -> str:
    tree = method_keys(config)
    return json.dumps(tree | {"mixup": None} if without_mixup else tree, sort_keys=True)


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
