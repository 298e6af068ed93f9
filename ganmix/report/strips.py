"""A comparison drawn in one line of a table: each seed's difference on an axis, the interval behind them, and 0."""

from collections.abc import Sequence
from dataclasses import dataclass

from ganmix.report.comparisons import Difference

WIDTH, MARGIN = 120.0, 6.0  # of the drawing, in its own units


@dataclass(frozen=True)
class Strip:
    """Places on a horizontal axis.

    Args:
        zero: where no difference would be.
        dots: each seed's place, and whether it is an improvement.
        bar: start and length of the interval; none for one seed.
    """

    zero: float
    dots: list[tuple[float, bool]]
    bar: tuple[float, float] | None


def strips(differences: Sequence[Difference | None]) -> list[Strip | None]:
    """Place the differences of one score on one scale, which has 0 in its middle; those alone that are comparable."""
    shown = [each if each is not None and each.num and each.comparable else None for each in differences]
    reach = max((abs(value) for each in shown if each for value in each.by_seed.values()), default=0) or 1

    def place(value: float) -> float:
        return round(WIDTH / 2 + value / reach * (WIDTH / 2 - MARGIN), 1)

    def strip(difference: Difference) -> Strip:
        dots = [(place(value), difference.is_better(value)) for value in difference.by_seed.values()]
        if difference.interval is None:
            return Strip(place(0), dots, None)
        low, high = map(place, difference.interval)
        return Strip(place(0), dots, (low, round(high - low, 1)))

    return [strip(each) if each is not None else None for each in shown]
