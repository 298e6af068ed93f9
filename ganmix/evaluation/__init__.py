"""Scores of generated images, and all that makes two scores comparable; imports no torch-fidelity."""

from ganmix.evaluation.extractors import (
    Extractor,
    classifier_extractor,
    get_extractor,
    inception_extractor,
    shipped_extractor,
)
from ganmix.evaluation.fidelity import Reference, fidelity_scores, images_digest, protocol

__all__ = [
    "Extractor",
    "Reference",
    "classifier_extractor",
    "fidelity_scores",
    "get_extractor",
    "images_digest",
    "inception_extractor",
    "protocol",
    "shipped_extractor",
]
