"""Protocols: all that a score depends on beside the generator. Scores of unlike protocols are never compared."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ganmix.evaluation.gan.extractors import SHIPPED, Extractor
from ganmix.evaluation.gan.reference import Reference

FEW_IMAGES = 10_000  # FID grows as images become fewer; below this, by more than most methods differ

# The same in every protocol: torch-fidelity's defaults, and the seed of the noise that is scored and of the choice of
# real images, so that scores differ only by the generators.
IS_SPLITS = 10
KID_SUBSET = 1000
NEIGHBOURS = 3
SEED = 2020


@dataclass(frozen=True)
class Parts:
    """What a protocol's name stands for.

    Args:
        extractor: its name or file; None: the classifier shipped for the data set or, where there is none, Inception.
        num_fake: generated images.
        reference: "train", "test", or a .npz of statistics.
        num_real: so many of the reference's images, drawn by SEED; None: all.
        quantisation: of generated images to bytes: "round" or "truncate".
        batch_norm: the statistics of G's batch norms: "running", "batch" or "standing".
    """

    extractor: str | None
    num_fake: int
    reference: str
    num_real: int | None = None
    quantisation: str = "round"
    batch_norm: str = "running"


PROTOCOLS = {
    # The field's: as many generated as real images, against the training images (DDPM, EDM, StyleGAN2-ADA, mimicry).
    "modern": Parts("inception", 50_000, "train"),
    # The Manifold Mixup paper does not say which real images its FIDs are against. The only mode of the authors' code
    # that computes one (task_launcher.py --interactive fid_tf) reads statistics from tf/cifar-10-fid.npz, which is not
    # in their repository. By its name and keys it is probably chainer-gan-lib's file, of the training images.
    "paper": Parts("inception", 50_000, "train", quantisation="truncate"),
    # The same against test images: a branch in their code that nothing calls.
    "paper_test": Parts("inception", 50_000, "test", quantisation="truncate"),
    # Miyato et al. 2018, whose FIDs of SN-GAN Table 6 quotes.
    "miyato": Parts("inception", 5_000, "test"),
    "small": Parts(None, 10_000, "train"),
}


def choose_parts(name: str, dataset: str, replaced: Mapping[str, Any]) -> tuple[str, Parts]:
    """Return a protocol's parts for a data set, some of them `replaced` where not None, and its name with these."""
    named = PROTOCOLS[name]
    if named.extractor is None:
        shipped = (SHIPPED / f"{dataset}.safetensors").is_file()
        named = replace(named, extractor=dataset if shipped else "inception")
    others = {key: value for key, value in replaced.items() if value not in (None, getattr(named, key))}
    in_words = ", ".join(f"{key} {value}" for key, value in others.items())
    return f"{name} with {in_words}" if in_words else name, replace(named, **others)


def describe_protocol(
    name: str, parts: Parts, extractor: Extractor, reference: Reference, *, ema: bool
) -> dict[str, Any]:
    """Return the whole protocol as plain values for JSON, to be stored with each score.

    Raises:
        ValueError: too few images for any score.
    """
    known = [num for num in (parts.num_fake, reference.num) if num is not None]
    if min(known) < IS_SPLITS:
        raise ValueError(f"at least {IS_SPLITS} images are needed on either side, got {min(known)}")
    return {
        "name": name,
        "extractor": extractor.name,
        "extractor_digest": extractor.digest,
        "reference": reference.identity,
        "num_fake": parts.num_fake,
        "few_images": min(known) < FEW_IMAGES,
        "quantisation": parts.quantisation,
        "batch_norm": parts.batch_norm,
        "ema": ema,
        "is_splits": IS_SPLITS,
        "kid_subset_size": min(KID_SUBSET, *known),
        "neighbours": NEIGHBOURS,
        "seed": SEED,
    }


def protocol_key(protocol: Mapping[str, Any]) -> str:
    """Return what is equal for stored protocols whose scores may be compared: all but the name, as canonical JSON."""
    return json.dumps({key: value for key, value in protocol.items() if key != "name"}, sort_keys=True)


def same_protocol(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Tell whether scores by two stored protocols may be compared."""
    return protocol_key(first) == protocol_key(second)
