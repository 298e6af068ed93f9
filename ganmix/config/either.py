"""A config of either kind, GAN or classifier."""

from collections.abc import Sequence
from pathlib import Path

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig
from ganmix.config.reader import Document
from ganmix.errors import UserError

Config = GanConfig | ClassifierConfig


def read_either_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a GAN's config, which has the key `generator`, or a classifier's, which has `network`; see `read_config`."""
    document = Document(path, overrides)
    if "generator" in document.tree:
        return document.check(GanConfig)
    if "network" in document.tree:
        return document.check(ClassifierConfig)
    keys = ", ".join(document.tree)
    raise UserError(f"{path}: a GAN needs the key generator, a classifier needs network; got {keys}")
