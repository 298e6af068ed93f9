"""Scores of generated images, and all that makes two scores comparable; imports no torch-fidelity."""

from ganmix.evaluation.gan.extractors import Extractor, classifier_extractor, get_extractor
from ganmix.evaluation.gan.features import Features, extract
from ganmix.evaluation.gan.fidelity import fidelity_scores
from ganmix.evaluation.gan.protocol import PROTOCOLS, same_protocol
from ganmix.evaluation.gan.reference import Reference, image_reference

__all__ = [
    "PROTOCOLS",
    "Extractor",
    "Features",
    "Reference",
    "classifier_extractor",
    "extract",
    "fidelity_scores",
    "get_extractor",
    "image_reference",
    "same_protocol",
]
