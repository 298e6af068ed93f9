"""Protocols: all that a score depends on besides the generator. Only scores of equal protocols are compared."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ganmix.evaluation.gan.extractors import SHIPPED, Extractor
from ganmix.evaluation.gan.reference import Reference

FEW_IMAGES = 10_000  # FID grows as images become fewer; below this number, by more than most methods differ

# The same in every protocol. The first three are torch-fidelity's defaults. The seed draws the noise and the real
# images, so that scores differ only by the generators.
IS_SPLITS = 10
KID_SUBSET = 1000
NEIGHBOURS = 3
SEED = 2020


@dataclass(frozen=True)
class Parts:
    """What a protocol's name stands for.

    Args:
        extractor: its name or file; None: the classifier shipped for the data set or, where there is none, Inception.
        reference: "train", "test", or a .npz of statistics.
        num_real: draw this many of the reference's images by SEED; None: take all.
        quantisation: of generated images to bytes: "round" or "truncate".
        batch_norm: see `with_batch_norm`.
    """

    extractor: str | None
    num_fake: int
    reference: str
    num_real: int | None = None
    quantisation: str = "round"
    batch_norm: str = "running"


PROTOCOLS = {
    # The usual one today: 50,000 generated images against the training images (DDPM, EDM, StyleGAN2-ADA, mimicry).
    "modern": Parts("inception", 50_000, "train"),
    # The Manifold Mixup paper does not name the real images of its FIDs. The only mode of the authors' code that
    # computes one (task_launcher.py --interactive fid_tf) reads tf/cifar-10-fid.npz, which is not in their repository.
    # By its name and keys it is probably chainer-gan-lib's file, of the training images.
    "paper": Parts("inception", 50_000, "train", quantisation="truncate"),
    # The same against test images: a branch in their code that nothing calls.
    "paper_test": Parts("inception", 50_000, "test", quantisation="truncate"),
    # Miyato et al. 2018, whose FIDs of SN-GAN Table 6 quotes.
    "miyato": Parts("inception", 5_000, "test"),
    "small": Parts(None, 10_000, "train"),
}


def choose_parts(name: str, dataset: str, replaced: Mapping[str, Any]) -> tuple[str, Parts]:
    """Return a protocol's name and its parts for a data set, with the parts in `replaced` that are not None."""
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
    """Return the whole protocol as plain values for JSON, which are stored with each score.

    Raises:
        ValueError: there are too few images for any score.
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
