"""The networks whose features and logits the scores are computed from."""

import copy
import difflib
import hashlib
import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganmix.data.convert import set_channels, to_float
from ganmix.engine.digests import sha256_of
from ganmix.errors import UserError, first_line
from ganmix.networks.classifier import Classifier
from ganmix.networks.classifier.files import load_classifier

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256_PREFIX = "6726825d"  # by torch hub's convention, the name ends with it
SHIPPED = Path(__file__).parents[1] / "weights"

_BUILT: dict[str, "Extractor"] = {}  # Inception takes seconds to build, and many runs may be scored by it


@dataclass(frozen=True)
class Extractor:
    """A frozen network that turns images into features.

    Args:
        name: names the scores: "digits", "fashion_mnist", ... Only the published Inception is "inception", because
            only its scores are what the literature calls FID and IS.
        digest: SHA-256 in hex, different for another network and for other weights.
        network: uint8 images [N, C, H, W] -> (features [N, D], of FID, KID, precision and recall; logits [N, K],
            of IS).
    """

    name: str
    digest: str
    network: nn.Module = field(compare=False, repr=False)


def get_extractor(name: str, weights: str | None = None) -> Extractor:
    """Return the extractor that a config names.

    Args:
        name: "inception", the name of a classifier in ganmix/evaluation/weights/, or a path that ends in .safetensors.
        weights: path of the Inception weights; None looks in torch hub's folder, then downloads them there.

    Raises:
        ValueError: the name is unknown, or weights are given to a classifier, which has its own.
        UserError: a file is missing or not the one expected.
    """
    if name == "inception":
        return inception_extractor(Path(weights) if weights is not None else None)
    if weights is not None:
        raise ValueError(f"weights are only for 'inception', and the extractor is {name!r}")
    path = Path(name) if name.endswith(".safetensors") else SHIPPED / f"{name}.safetensors"
    shipped = sorted(file.stem for file in SHIPPED.glob("*.safetensors"))
    if path.parent == SHIPPED and path.stem not in shipped:
        known = [*shipped, "inception"]
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown extractor {name!r}{hint} (known: {', '.join(known)}, or a .safetensors file)")
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        classifier = load_classifier(path)
    except Exception as error:  # damaged, or another network's: safetensors', json's and torch's errors
        raise UserError(f"{path} is not a classifier's file ({first_line(error)})") from error
    return classifier_extractor(
        _FeaturesAndLogits(classifier),
        path.name if path.stem == "inception" else path.stem,
        resolution=classifier.resolution,
        channels=classifier.channels,
    )


def classifier_extractor(
    network: nn.Module, name: str, *, resolution: int | None = None, channels: int | None = None
) -> Extractor:
    """Make an extractor of a frozen copy of a classifier; training `network` further does not change the scores.

    Args:
        network: maps float images [N, C, H, W] in [-1, 1] to (features [N, D], logits [N, K]).
        resolution: height and width that it was trained on; resize other images (bilinear, antialiased). None: take
            any size.
        channels: 1 or 3, as trained; repeat grey images, and turn colour images to luma (ITU-R BT.601). None: take
            any number.
    """
    size = torch.tensor([resolution or 0, channels or 0])
    digest = sha256_of({**network.state_dict(), "input size": size})
    frozen = _OnUint8(copy.deepcopy(network), resolution, channels).eval().requires_grad_(False)
    return Extractor(name, digest, frozen)


def inception_path() -> Path:
    """Return where torch hub keeps the Inception weights: in $TORCH_HOME/hub/checkpoints."""
    return Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE


def inception_extractor(weights: Path | None = None) -> Extractor:
    """Return the Inception network of the published FID and IS: torch-fidelity's 'inception-v3-compat'.

    It takes grey images too, and resizes to 299x299 itself, as TensorFlow 1 did.

    Args:
        weights: path of weights-inception-2015-12-05-6726825d.pth (95.7 MB); None: see `get_extractor`.

    Raises:
        UserError: the file is missing and cannot be downloaded, or it is another file.

    Source: https://github.com/toshas/torch-fidelity, feature_extractor_inceptionv3.py.
    """
    path = inception_path() if weights is None else weights
    advice = (
        f"Get {INCEPTION_FILE} (95.7 MB, SHA-256 {INCEPTION_SHA256_PREFIX}...) from torch-fidelity's release v0.2.0"
        f" and put it into {inception_path().parent}"
    )
    if weights is None and not path.exists():
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix=INCEPTION_SHA256_PREFIX)
        except (OSError, RuntimeError) as error:  # RuntimeError: the download has another digest
            raise UserError(f"cannot download the Inception weights ({error}). {advice}") from error
    if not path.is_file():
        raise UserError(f"there is no file {path}. {advice}")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if not digest.startswith(INCEPTION_SHA256_PREFIX):
        raise UserError(
            f"{path} is damaged or not the Inception weights: its SHA-256 starts with {digest[:8]}, expected"
            f" {INCEPTION_SHA256_PREFIX}. {advice}"
        )
    if digest not in _BUILT:
        _BUILT[digest] = Extractor("inception", digest, _Inception(content).eval().requires_grad_(False))
    return _BUILT[digest]


class _OnUint8(nn.Module):
    """A classifier that takes uint8 images of any size and number of channels."""

    def __init__(self, network: nn.Module, resolution: int | None, channels: int | None):
        super().__init__()
        self.network = network
        self.resolution = resolution
        self.channels = channels

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = to_float(images)
        if self.channels is not None:
            x = set_channels(x, self.channels)
        if self.resolution is not None and x.shape[-2:] != (self.resolution, self.resolution):
            x = F.interpolate(x, size=self.resolution, mode="bilinear", antialias=True)
        features, logits = self.network(x)
        return features, logits


class _FeaturesAndLogits(nn.Module):
    """A classifier's `features_and_logits` as a forward."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.classifier.features_and_logits(images)


class _Inception(nn.Module):
    """torch-fidelity's Inception on grey or colour images."""

    def __init__(self, content: bytes):
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        # torch-fidelity unpickles with weights_only=False, which would run code hidden in the file. Eight hex
        # digits of a digest can be forged, so the very bytes it gets are first shown to hold only weights.
        try:
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(f"the Inception file holds more than weights, and is not read ({error})") from error
        with torch.random.fork_rng(devices=[]):  # the initial weights, soon overwritten, are drawn at random
            self.inception = FeatureExtractorInceptionV3(
                "inception-v3-compat",
                ["2048", "logits_unbiased"],
                feature_extractor_weights_path=io.BytesIO(content),
            )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.inception(images.expand(-1, 3, -1, -1))
        return features, logits
