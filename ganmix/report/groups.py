"""Groups of runs that differ only in their seed; their names, baselines and config differences."""

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig
from ganmix.config.method import method_keys
from ganmix.errors import UserError
from ganmix.report.runs import Description, Run

ABSENT = "\N{EN DASH}"


@dataclass(frozen=True, eq=False)
class Group:
    """The runs of one config, by seed.

    Args:
        name: the folder above its seed-N, or of its only run.
        label: the paper's name of the row, or `name`.
        title: `label`, with the name if two groups have the same label.
        runs: in the order of their seeds.
    """

    name: str
    label: str
    title: str
    runs: tuple[Run, ...]
    baseline: "Group | None" = field(default=None, repr=False)

    @property
    def first(self) -> Run:
        """The run with the lowest seed."""
        return self.runs[0]

    @property
    def config(self) -> GanConfig | ClassifierConfig:
        return self.first.config

    @property
    def words(self) -> Description:
        return self.first.words

    @property
    def steps(self) -> int:
        return max(run.steps for run in self.runs)


def group_runs(runs: Sequence[Run], baseline: str | None = None) -> list[Group]:
    """Group runs by config, in the order of the runs; each baseline precedes the groups compared with it.

    Args:
        baseline: see `write_report`.

    Raises:
        UserError: two runs of a group have the same seed, or no group is called `baseline`.
    """
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(_identity(run), []).append(run)
    _check_seeds(members.values())
    groups = dict(zip(members, _without_baselines(list(members.values())), strict=True))
    named = _find(baseline, groups) if baseline is not None else None
    bases: dict[str, str] = {}
    for key, group in groups.items():
        is_named = named is not None and groups[named].words.subject == group.words.subject
        base = named if is_named else _identity(group.first, mixing=False)
        if base in groups and base != key:
            bases[key] = base
    heads = {key: bases.get(key, key) for key in groups}
    order = sorted(groups, key=lambda key: ([*heads.values()].index(heads[key]), key in bases))
    return [replace(groups[key], baseline=groups[bases[key]]) if key in bases else groups[key] for key in order]


def _identity(run: Run, *, mixing: bool = True) -> str:
    tree = method_keys(run.config)
    return json.dumps(tree if mixing else tree | dict.fromkeys(run.words.mixing), sort_keys=True)


def _check_seeds(groups: Iterable[list[Run]]) -> None:
    problems = []
    for group in groups:
        first: dict[int, Run] = {}
        for run in group:
            other = first.setdefault(run.seed, run)
            if other is not run:
                problems.append(f"{other.path} and {run.path} have the same config and the same seed, {run.seed}")
    if problems:
        raise UserError([*problems, "leave one of them out: a seed counts once"])


def _without_baselines(members: Sequence[list[Run]]) -> list[Group]:
    names = _names([runs[0].path for runs in members])
    papers = [runs[0].config.paper for runs in members]
    labels = [paper.row if paper else name for paper, name in zip(papers, names, strict=True)]
    groups = []
    for runs, name, label in zip(members, names, labels, strict=True):
        title = label if labels.count(label) == 1 else f"{label} [{name}]"
        groups.append(Group(name, label, title, tuple(sorted(runs, key=lambda run: run.seed))))
    return groups


def _find(name: str, groups: dict[str, Group]) -> str:
    keys = {group.name: key for key, group in groups.items()}
    if name not in keys:
        near = difflib.get_close_matches(name, keys, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(keys)}"
        raise UserError(f"no group of runs is called '{name}'; {hint}")
    return keys[name]


def _names(paths: Sequence[Path]) -> list[str]:
    """Name each group by the folder of one of its runs, with as many parents as make the names unique."""
    runs = [path.resolve() for path in paths]
    above = [run.parent if re.fullmatch(r"seed-\d+", run.name) else run for run in runs]
    folders = [run if above.count(folder) > 1 else folder for run, folder in zip(runs, above, strict=True)]
    depths = [1] * len(folders)
    while True:
        names = ["/".join(folder.parts[-depth:]) for folder, depth in zip(folders, depths, strict=True)]
        counts = Counter(names)
        if len(counts) == len(names):
            return names
        depths = [depth + (counts[name] > 1) for name, depth in zip(names, depths, strict=True)]


def config_differences(groups: Sequence[Group]) -> list[tuple[str, list[str]]]:
    """Return the dotted keys of the method that differ, each with the groups' values; a mixing section is in words."""
    rows: list[tuple[str, list[str]]] = []

    def compare(key: str, values: Sequence[Any]) -> None:
        if all(isinstance(value, dict) for value in values):
            for name in dict.fromkeys(name for value in values for name in value):
                compare(f"{key}.{name}" if key else name, [value.get(name, ABSENT) for value in values])
        elif any(value != values[0] for value in values):
            texts = [json.dumps(value, ensure_ascii=False).replace('"', "") for value in values]
            rows.append((key, [group.words.mixing.get(key, text) for group, text in zip(groups, texts, strict=True)]))

    compare("", [method_keys(group.config) for group in groups])
    return rows
