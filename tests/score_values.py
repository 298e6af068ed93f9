"""Scores as tests compare them."""


def values_of(scores):
    """The values by the scores' names, and spreads by their names with '_std'."""
    spreads = {f"{score.name}_std": score.spread for score in scores if score.spread is not None}
    return {score.name: score.value for score in scores} | spreads
