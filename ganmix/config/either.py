"""A config of either kind, read as what it is; no torch here."""

from collections.abc import Sequence
from pathlib import Path

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig
from ganmix.config.reader import read_config
from ganmix.errors import UserError


def read_either_config(path: Path, overrides: Sequence[str] = ()) -> GanConfig | ClassifierConfig:
    """Read a GAN's or a classifier's config; no file is both.

    Raises:
        UserError: with the problems of the kind that has fewer, which is the one that was meant: read as the other,
            the file's own sections are unknown and others missing.
    """
    kinds: list[type[GanConfig | ClassifierConfig]] = [GanConfig, ClassifierConfig]
    errors = []
    for model in kinds:
        try:
            return read_config(model, path, overrides)
        except UserError as error:
            errors.append(error)
    raise min(errors, key=lambda error: len(error.problems))
