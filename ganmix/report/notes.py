"""What is missing or not as it should be, said rather than dropped: scores, steps, seeds, baselines."""

from collections.abc import Iterable, Mapping, Sequence

from ganmix.report.collect import finite_scores
from ganmix.report.comparisons import Comparison
from ganmix.report.groups import Group, mixes
from ganmix.report.scores import ScoreTable
from ganmix.report.words import counted, counted_seeds, listed


def notes(groups: Sequence[Group], tables: Mapping[str, ScoreTable]) -> list[str]:
    """Say what is missing from groups and tables, which go by their chapters' titles."""
    found = []
    compared = {group.baseline for group in groups}
    for group in groups:
        if mixes(group.first) and group.baseline is None and group not in compared:
            found.append(f"{group.title} has no baseline: no group here equals it but for the mixup.")
        for run in group.runs:
            if run.num_old:
                lines = counted(run.num_old, "line")
                found.append(
                    f"{run.path} is of an older version: {lines} of scores.jsonl left out, which say no measure."
                )
            done = f"step {run.steps_done:,} of {group.steps:,}"
            if not run.scores:
                found.append(f"{run.path} has no score; it has done {done}.")
            elif run.steps_done < group.steps:
                found.append(f"{run.path} has done {done}: it is training, was stopped, or diverged.")
            bad = sorted({line["step"] for line in run.scores if not finite_scores(line)})
            if bad:
                found.append(
                    f"{run.path}: scores at step {listed(f'{step:,}' for step in bad)} are not finite numbers."
                )
    for title, table in tables.items():
        where = f" in '{title}'" if len(tables) > 1 else ""
        for row in table.rows:
            if not row.is_final:
                of = f"step {row.step:,} of {row.group.steps:,}"
                found.append(f"{row.group.title}: shown at {of}, the last that all its scored seeds have{where}.")
            missing = [run.seed for run in row.group.runs if run.seed in row.missing and run.scores]
            if missing:
                found.append(f"{row.group.title}: {counted_seeds(missing)} not scored at step {row.step:,}{where}.")
        if len(tables) > 1 and not table.protocol.of_validation and table.protocol.chosen_by is None:
            found += [f"{g.title}: not scored{where}." for g in table.unscored if any(run.scores for run in g.runs)]
    return found


def pairing_notes(comparisons: Iterable[Comparison]) -> list[str]:
    """Say which seeds a comparison had to leave out."""
    found = []
    for comparison in comparisons:
        ours, theirs = comparison.row.group.title, comparison.baseline.title
        if not comparison.differences:
            found.append(f"{ours}: its baseline, {theirs}, has none of its scores.")
            continue
        if comparison.only_here:
            found.append(f"{ours}: {counted_seeds(comparison.only_here)} missing in its baseline, {theirs}.")
        if comparison.only_there:
            found.append(f"{ours}: {counted_seeds(comparison.only_there)} missing, which its baseline, {theirs}, has.")
    return found
