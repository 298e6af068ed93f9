"""The real side of a score: features and statistics of real images, and their cache."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ganmix.data import ImageData
from ganmix.engine.digests import sha256_of
from ganmix.engine.files import write_atomically
from ganmix.engine.world import World
from ganmix.errors import UserError, first_line
from ganmix.evaluation.gan.extractors import Extractor
from ganmix.evaluation.gan.features import PASS, extract, join

Watch = Callable[[Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, eq=False)
class Reference:
    """The features of real images, or only their statistics.

    Args:
        identity: identifies the images in a protocol: dataset, split and number, or file; a digest; and the seed that
            drew them, where they are only a part.
        mu: mean of the features, float64 [D].
        sigma: their covariance, float64 [D, D].
        features: float32 [M, D]; None: only the statistics are known, so FID is the only score against them.
    """

    identity: dict[str, Any]
    mu: Tensor
    sigma: Tensor
    features: Tensor | None

    @property
    def num(self) -> int | None:
        """The number of images, or None where it is unknown."""
        return self.identity["num"]


def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean [D] and unbiased covariance [D, D], float64, of features [N, D]."""
    features = features.double()
    return features.mean(0), torch.cov(features.T)


def images_digest(images: Tensor) -> str:
    """Return the SHA-256, in hex, over the shape, values and order of images."""
    return sha256_of({"images": images})


def draw_images(data: ImageData, num: int, seed: int) -> ImageData:
    """Draw `num` of the images and keep their order; the first images of a data set may all be of one class."""
    draw = torch.Generator().manual_seed(seed)
    return data.subset(torch.randperm(data.num_images, generator=draw)[:num].sort().values)


def image_reference(
    data: ImageData,
    extractor: Extractor,
    device: torch.device,
    *,
    cache: Path | None,
    world: World | None = None,
    watch: Watch = lambda items: items,
) -> Reference:
    """Compute the features of real images, or read them from the cache.

    Args:
        cache: folder of the features, 4 D bytes an image. The digests of the images and of the extractor's weights
            name each file; a damaged or changed file is computed again. None: no cache.
        watch: wraps the passes, as a progress bar does.
    """
    world = world or World()
    digest = images_digest(data.images)
    path = cache / f"{extractor.name}-{extractor.digest[:16]}-{digest[:16]}.safetensors" if cache else None
    origin = {"images": digest, "extractor": extractor.digest}
    found = world.share(_read(path, origin, data.num_images) if path and world.speaks else None)
    if found is None:
        parts = world.map(lambda images: extract(images, extractor, device), data.images.split(PASS), watch)
        if world.speaks:
            features = join(parts).features
            mu, sigma = statistics(features)
            found = {"features": features, "mu": mu, "sigma": sigma}
            if path:
                content = safetensors.torch.save(found, origin | {"content": sha256_of(found)})
                write_atomically(path, content, shared=True)  # by trainings side by side
        found = world.share(found)
        assert found is not None
    identity = {"dataset": data.name, "split": data.split, "num": data.num_images, "digest": digest}
    return Reference(identity, found["mu"], found["sigma"], found["features"])


def _read(path: Path, origin: dict[str, str], num_images: int) -> dict[str, Tensor] | None:
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in ("features", "mu", "sigma")}
    except (OSError, safetensors.SafetensorError):  # absent, damaged, or another file
        return None
    whole = metadata == origin | {"content": sha256_of(tensors)} and len(tensors["features"]) == num_images
    return tensors if whole else None


def save_reference(path: Path, reference: Reference, extractor: Extractor) -> None:
    """Write a .npz of mu and sigma, the names that other tools use too, and of the images' and extractor's identity."""
    buffer = io.BytesIO()
    known = {key: str(value) for key, value in reference.identity.items() if key != "file" and value is not None}
    origin = {"extractor_digest": extractor.digest, **known}
    np.savez(buffer, mu=reference.mu.numpy(), sigma=reference.sigma.numpy(), **origin)  # type: ignore[arg-type]
    write_atomically(path, buffer.getbuffer())


def file_reference(path: Path, extractor: Extractor) -> Reference:
    """Read mean and covariance from a .npz with mu [D] and sigma [D, D], ours or another tool's.

    Raises:
        UserError: there is no such file, it is not of this kind, or it names another extractor.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        mu, sigma = (torch.from_numpy(found[name]).double() for name in ("mu", "sigma"))
        num = int(found["num"]) if "num" in found else None
    except Exception as error:  # damaged, or another file: NumPy, zipfile and zlib raise many kinds
        problem = first_line(error) if path.exists() else "there is no such file"
        raise UserError(f"{path} is not a .npz of mu and sigma ({problem})") from error
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"{path} must have mu [D] and sigma [D, D], got {[*mu.shape]}, {[*sigma.shape]}")
    if not (mu.isfinite().all() and sigma.isfinite().all()):
        raise UserError(f"{path} has a mu or sigma that is not finite")
    seen_by = str(found.get("extractor_digest", extractor.digest))
    if seen_by != extractor.digest:
        raise UserError(
            f"{path} was computed by another extractor ({seen_by[:8]}...)"
            f" than {extractor.name} ({extractor.digest[:8]}...)"
        )
    identity = {"file": path.name, "num": num, "digest": sha256_of({"mu": mu, "sigma": sigma})}
    return Reference(identity, mu, sigma, None)
