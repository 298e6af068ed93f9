"""What the report says in sentences: its lead and its footnotes."""

from collections.abc import Iterable, Sequence

from ganmix.report.comparisons import Comparison, Difference
from ganmix.report.groups import Group
from ganmix.report.scores import ScoreTable


def lead(groups: Sequence[Group], table: ScoreTable, comparisons: Sequence[Comparison], num_protocols: int) -> str:
    """Say what came out, how sure it is, what was compared, on what and by which protocol.

    Args:
        groups: all of the protocol's subject.
        num_protocols: how many measure the same thing in their ways, with this one.
    """
    main = [difference for each in comparisons if (difference := each.of(table.main)) is not None]
    no_answer = "No scored baseline to compare with, so no answer to whether mixup helps."
    sentences = [result(table, comparisons), _how_sure(main) if main else no_answer]
    runs = sum(len(row.seeds) for row in table.rows)
    data = listed(dict.fromkeys(row.group.first.trained_on for row in table.rows))
    steps = span(row.group.steps for row in table.rows)
    methods = counted(len(table.rows), "method") + (f" ({runs} runs)" if runs > len(table.rows) else "")
    sentences += [
        f"{methods} {'was' if len(table.rows) == 1 else 'were'} trained on {data} for {steps} steps, and scored "
        f"{table.protocol.in_brief()}."
    ]
    if table.protocol.warning is not None:
        sentences.append(table.protocol.warning)
    if num_protocols > 1:
        others = "another protocol" if num_protocols == 2 else f"{num_protocols - 1} other protocols"
        sentences.append(f"Scores by {others}, which do not compare with these, follow below.")
    early = [row for row in table.rows if not row.is_final]
    waiting = sum(not run.scores for group in groups for run in group.runs)
    if early or waiting:
        early_text = f"{counted(len(early), 'method')} scored before the last step" if early else ""
        waiting_text = f"{counted(waiting, 'run')} without a score" if waiting else ""
        sentences.append(f"Not complete: {' and '.join(filter(None, [early_text, waiting_text]))}; see the notes.")
    return " ".join(filter(None, sentences))


def result(table: ScoreTable, comparisons: Sequence[Comparison]) -> str:
    """Say what came out by the main score; nothing where there are many methods and no comparison."""
    column = table.main
    main = [(each, difference) for each in comparisons if (difference := each.of(column)) is not None]
    if not main:
        rows = [(row, row.mean_and_std(column.name)) for row in table.rows]
        unit = f" {column.unit}".rstrip()
        values = [
            f"{row.group.title}: {column.label} {column.show_spread(*found)}{unit}." for row, found in rows if found
        ]
        return " ".join(values) if len(values) <= 3 else ""
    if len(main) == 1:
        ((comparison, difference),) = main
        return f"{comparison.row.group.title} against {comparison.baseline.title}: {difference.sentence()}."
    if max(difference.num for _, difference in main) < 2:
        alike = [difference for _, difference in main if difference.comparable and difference.num]
        better = sum(difference.better_in for difference in alike)
        said = f"{_are_better(better, len(alike))} in their one seed" if alike else "no two methods can be compared yet"
        return f"By {column.label}, {said}."
    titles: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for comparison, difference in main:
        titles[difference.outcome].append(comparison.row.group.title)
    better, worse, undecided = (len(found) for found in titles.values())
    parts = [_are_better(better, len(main))]
    parts[0] += f": {listed(titles['better'])}" if better else ""
    if worse:
        parts.append(f"{worse} {'is' if worse == 1 else 'are'} worse: {listed(titles['worse'])}")
    if undecided:
        parts.append(f"{undecided} cannot be told apart from it")
    return f"By {column.label}, {'; '.join(parts)}."


def _are_better(number: int, total: int) -> str:
    verb = "are" if number > 1 else "is"
    return f"{number or 'none'} of {counted(total, 'method')} {verb} better than the baseline"


def _how_sure(main: Sequence[Difference]) -> str:
    num = min(difference.num for difference in main)
    if num < 2:
        return "One seed cannot tell a difference from chance."
    if num < 4:
        return f"That rests on {num} seeds, which agree by chance in 1 of {2 ** (num - 1)} comparisons of like methods."
    return f"That rests on {num} seeds: intervals over so few are rather too narrow." if num < 20 else ""


def footnotes(table: ScoreTable) -> list[str]:
    """Say what the numbers of a table are."""
    notes = [table.protocol.spread_note]
    if any(column.unit for column in table.columns):
        notes.append("Accuracies are per cent of the images; differences of them are points.")
    if table.protocol.chosen_by is None:
        notes.append("Scores are those of the last training step, never the best on the way, which would be selection.")
    else:
        notes.append(f"Scores are those of the step of each run's {table.protocol.chosen_by}, whose network it keeps.")
    if table.paper_columns:
        tables: dict[str, list[str]] = {}
        for group, paper in table.papers:
            tables.setdefault(paper.table, []).append(group.title)
        notes.append(table.protocol.paper_note(tables))
    return notes


INTERVAL_NOTE = (
    "Differences are seed by seed: a group less its baseline with the same seed. The interval is the 95% percentile "
    "bootstrap over the seeds. With 2 or 3 seeds it is exactly the range of the differences, and so few agree by "
    "chance in 1 of 2 or 1 of 4 comparisons; 2 are not taken for an answer. Up to some 20 seeds it is rather too "
    "narrow. Many scores and rows are many comparisons."
)


def counted(number: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def counted_seeds(seeds: Sequence[int]) -> str:
    """Write "seed 1 is" or "seeds 1 and 2 are"."""
    return f"seed {seeds[0]} is" if len(seeds) == 1 else f"seeds {listed(map(str, seeds))} are"


def listed(items: Iterable[str]) -> str:
    """Write a list in words."""
    *others, last = list(items)
    return f"{', '.join(others)} and {last}" if others else last


def span(numbers: Iterable[int]) -> str:
    """Write numbers as "3" or "1 to 3"."""
    values = set(numbers)
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
