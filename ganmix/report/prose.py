"""The sentences of a report: results, their certainty, the meaning of the numbers, and what is missing."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ganmix.report.comparisons import FEWEST, FEWEST_TO_RESAMPLE, Comparison, Difference
from ganmix.report.groups import Group
from ganmix.report.scores import MOST_COLUMNS, Column, Row, ScoreTable

ARXIV = "arXiv 1806.05236 v1"
NONE = "\N{EN DASH}"
INTERVAL_NOTE = (
    "Differences are paired: a group minus its baseline with the same seed. Below 6 seeds the interval is the range of "
    "the differences; from 6 seeds on it is the 95 % percentile bootstrap interval of their mean. Even if two methods "
    "were equal, all differences would have one sign in 1 of 2 comparisons with 2 seeds, in 1 of 4 with 3 and in 1 of "
    "16 with 5. Two seeds give no verdict. Below about 20 seeds a bootstrap interval is somewhat too narrow. Where "
    "there are many scores and rows, some differences appear by chance."
)
_PAPERS_SPREADS = {"Table 4": "over 5 trials", "Table 6": "over splits of the images"}


def lead(groups: Sequence[Group], table: ScoreTable, comparisons: Sequence[Comparison], num_protocols: int) -> str:
    """State the result, its certainty, the methods, the data and the protocol.

    Args:
        groups: all groups of the protocol's subject.
        num_protocols: the number of protocols that measure the same thing, this one included.
    """
    main = [difference for each in comparisons if (difference := each.of(table.main)) is not None]
    no_answer = "No group has a scored baseline, so these runs cannot tell whether mixup helps."
    sentences = [result(table, comparisons), _how_sure(main) if main else no_answer]
    runs = sum(len(row.seeds) for row in table.rows)
    data = listed(dict.fromkeys(row.group.words.trained_on for row in table.rows))
    steps = span(row.group.steps for row in table.rows)
    methods = counted(len(table.rows), "method") + (f" ({runs} runs)" if runs > len(table.rows) else "")
    was = "was" if len(table.rows) == 1 else "were"
    sentences.append(f"{methods} {was} trained on {data} for {steps} steps and scored {table.protocol.brief}.")
    sentences.append(table.protocol.warning)
    if num_protocols > 1:
        others = counted(num_protocols - 1, "other protocol")
        sentences.append(f"Scores by {others} follow below; they do not compare with these.")
    early = sum(not row.is_final for row in table.rows)
    waiting = sum(not run.measurements for group in groups for run in group.runs)
    missing = [f"{counted(early, 'method')} scored before the last step"] if early else []
    missing += [f"{counted(waiting, 'run')} without a score"] if waiting else []
    if missing:
        sentences.append(f"Not complete: {' and '.join(missing)}; see the notes.")
    return " ".join(filter(None, sentences))


def result(table: ScoreTable, comparisons: Sequence[Comparison]) -> str:
    """State the result by the main score; nothing for more than three methods without a comparison."""
    column = table.main
    main = [(each, difference) for each in comparisons if (difference := each.of(column)) is not None]
    if not main:
        found = [(row.group.title, pair) for row in table.rows if (pair := row.mean_and_std(column)) is not None]
        unit = f" {column.unit}" if column.unit else ""
        values = [f"{title}: {column.label} {column.show_spread(*pair)}{unit}." for title, pair in found]
        return " ".join(values) if len(values) <= 3 else ""
    if len(main) == 1:
        ((comparison, difference),) = main
        return f"{comparison.row.group.title} against {comparison.baseline.title}: {sentence(difference)}."
    if max(difference.num for _, difference in main) < 2:
        alike = [difference for _, difference in main if difference.comparable and difference.num]
        text = _are_better(sum(difference.better_in for difference in alike), len(alike))
        return f"By {column.label}, {f'{text} in one seed' if alike else 'no two methods are comparable yet'}."
    titles: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for comparison, difference in main:
        titles[difference.outcome].append(comparison.row.group.title)
    better, worse, undecided = (len(found) for found in titles.values())
    parts = [_are_better(better, len(main)) + (f": {listed(titles['better'])}" if better else "")]
    if worse:
        parts.append(f"{worse} {'is' if worse == 1 else 'are'} worse: {listed(titles['worse'])}")
    if undecided:
        parts.append(f"{undecided} {'shows' if undecided == 1 else 'show'} no clear difference")
    return f"By {column.label}, {'; '.join(parts)}."


def _are_better(number: int, total: int) -> str:
    verb = "are" if number > 1 else "is"
    return f"{number or 'none'} of {counted(total, 'method')} {verb} better than the baseline"


def _how_sure(main: Sequence[Difference]) -> str:
    num = min(difference.num for difference in main)
    if num < 2:
        return "One seed cannot tell a difference from chance."
    if num < FEWEST_TO_RESAMPLE:
        chance = f"1 of {2 ** (num - 1)} comparisons"
        return f"This rests on {num} seeds. Even if two methods were equal, {num} seeds would agree in {chance}."
    return f"This rests on {num} seeds, for which the interval is somewhat too narrow." if num < 20 else ""


def sentence(difference: Difference, *, brief: bool = False) -> str:
    """State a difference and its certainty.

    Args:
        brief: omit what the sentence on the main score says.
    """
    title, num = difference.column.title, difference.num
    if not num:
        return f"{title}: no seed in common with the baseline, so no answer"
    better = difference.better_in
    side = "lower" if difference.mean < 0 else "higher"
    points = " points" if difference.column.unit else ""
    amount = f"{side} by {difference.show(abs(difference.mean), '-')}{points}" if difference.mean else "equal"
    size = f"{title} is {amount}"
    interval = "" if brief else f"{interval_name(num)} "
    if difference.interval is None:
        text = f"{size} in one seed" + ("" if brief else ", which cannot tell a difference from chance")
    elif difference.excludes_0:
        near, far = (difference.show(bound, "-") for bound in sorted(map(abs, difference.interval)))
        worse = sum(value != 0 for value in difference.by_seed.values()) - better
        count = f"better in {better}" if difference.is_better(difference.mean) else f"worse in {worse}"
        text = f"{size} ({interval}{near} to {far}, {count} of {num})"
        text += "; 2 seeds agree by chance half the time" if num < FEWEST and not brief else ""
    else:
        low, high = map(difference.show, difference.interval)
        found = f"mean {difference.show(difference.mean)}, {interval}{low} to {high}, better in {better} of {num}"
        text = f"{title}: no clear difference ({found})"
    if difference.steps[0] == difference.steps[1] or brief:
        return text
    return f"{text}; it is at step {difference.steps[0]:,}, its baseline at step {difference.steps[1]:,}"


def interval_name(num: int) -> str:
    """Name the interval of the differences of `num` seeds."""
    return f"range of {num} seeds" if num < FEWEST_TO_RESAMPLE else "95 % bootstrap interval"


def sentences(comparison: Comparison, main: Column) -> list[str]:
    """Return a sentence for each score: first the main one, in full; many others are only counted."""
    first = [sentence(each) for each in comparison.differences if each.column == main]
    others = [each for each in comparison.differences if each.column != main]
    if len(others) < MOST_COLUMNS:
        return first + [sentence(each, brief=bool(first)) for each in others]
    found = Counter(each.outcome for each in others)
    text = f"{found['better']} are better, {found['worse']} are worse, {found['open']} show no clear difference"
    return [*first, f"Of the {len(others)} other scores, {text}"]


def footnotes(table: ScoreTable) -> list[str]:
    """Explain the numbers of a table."""
    found = [table.protocol.spread_note]
    if any(column.unit for column in table.columns):
        found.append("Accuracies are percentages of the images; their differences are in points.")
    if table.protocol.selected_by is None:
        found.append("Scores are those of the last training step. Choosing the best step would bias them.")
    else:
        found.append(f"Each run is scored at its checkpoint with the best {table.protocol.selected_by} accuracy.")
    return found + ([_paper_note(table)] if table.rows_with_paper else [])


def _paper_note(table: ScoreTable) -> str:
    titles: dict[str, list[str]] = {}
    spreads: dict[str, None] = {}
    for row in table.rows_with_paper:
        paper = row.group.config.paper
        assert paper is not None
        titles.setdefault(paper.table, []).append(row.group.title)
        values = [table.paper(row.group, column) for column in table.columns]
        if any(value is not None and value.spread is not None for value in values):
            spreads[_PAPERS_SPREADS.get(paper.table, "as the paper prints it")] = None
    named = [name if len(titles) == 1 else f"{name} ({'; '.join(rows)})" for name, rows in titles.items()]
    text = f"The paper's values are from its {', '.join(named)} ({ARXIV})"
    text += f"; their ± is {listed(spreads)}" if spreads else ""
    return f"{text}. {table.protocol.paper_note}"


def notes(groups: Sequence[Group], tables: Mapping[str, ScoreTable]) -> list[str]:
    """List what is missing from the groups, and from the tables by the titles of their chapters."""
    found = []
    compared = {group.baseline for group in groups}
    for group in groups:
        if group.words.mixes is not None and group.baseline is None and group not in compared:
            found.append(f"{group.title} has no baseline: no group here has its config without the mixup.")
        for run in group.runs:
            done = f"step {run.steps_done:,} of {group.steps:,}"
            if not run.measurements:
                found.append(f"{run.path} has no score; it has done {done}.")
            elif run.steps_done < group.steps:
                found.append(f"{run.path} has done {done}: it is training, was stopped, or diverged.")
            bad = sorted({each.step for each in run.measurements if not each.finite})
            if bad:
                steps = listed(f"{step:,}" for step in bad)
                found.append(f"{run.path}: scores at step {steps} are not finite numbers, so they are left out.")
    for title, table in tables.items():
        where = f" in '{title}'" if len(tables) > 1 else ""
        for row in table.rows:
            if mark := step_mark(row):
                found.append(f"{row.group.title}: shown {mark}, the last that all its scored seeds have{where}.")
            missing = [run.seed for run in row.group.runs if run.seed in row.missing and run.measurements]
            if missing:
                found.append(f"{row.group.title}: {counted_seeds(missing)} not scored at step {row.step:,}{where}.")
        if len(tables) > 1 and not table.protocol.on_validation and table.protocol.selected_by is None:
            scored = [group for group in table.unscored if any(run.measurements for run in group.runs)]
            found += [f"{group.title}: not scored{where}." for group in scored]
    return found


def pairing_notes(comparisons: Iterable[Comparison]) -> list[str]:
    """List the seeds that the comparisons leave out."""
    found = []
    for comparison in comparisons:
        ours, theirs = comparison.row.group.title, comparison.baseline.title
        if not comparison.differences:
            found.append(f"{ours}: its baseline, {theirs}, has none of these scores.")
            continue
        if comparison.only_here:
            found.append(f"{ours}: {counted_seeds(comparison.only_here)} missing in its baseline, {theirs}.")
        if comparison.only_there:
            found.append(f"{ours}: {counted_seeds(comparison.only_there)} missing; its baseline, {theirs}, has them.")
    return found


def cell(row: Row, column: Column) -> str:
    """Write a group's score as mean and spread over its seeds, with their number if some lack the score."""
    pair, num = row.mean_and_std(column), len(row.values.get(column.key, {}))
    if pair is None:
        return NONE
    return column.show_spread(*pair) + ("" if num == len(row.seeds) else f" ({num} of {len(row.seeds)} seeds)")


def step_mark(row: Row) -> str | None:
    return None if row.is_final else f"at step {row.step:,} of {row.group.steps:,}"


def selected_mark(row: Row) -> str | None:
    return f"step {span(row.selected_steps)} of {row.group.steps:,} selected" if row.selected_steps else None


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def counted_seeds(seeds: Sequence[int]) -> str:
    """Write "seed 1 is" or "seeds 1 and 2 are"."""
    return f"seed {seeds[0]} is" if len(seeds) == 1 else f"seeds {listed(map(str, seeds))} are"


def listed(items: Iterable[str]) -> str:
    """Write a list in words."""
    *others, last = items
    return f"{', '.join(others)} and {last}" if others else last


def span(numbers: Iterable[int]) -> str:
    """Write numbers as "3" or "1 to 3"."""
    values = set(numbers)
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
