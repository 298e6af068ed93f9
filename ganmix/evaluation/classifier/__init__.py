"""Scores of classifiers: on clean, attacked and deformed images, and along interpolations."""
