"""Scores: of generated images (`gan`) and of classifiers (`classifier`)."""
