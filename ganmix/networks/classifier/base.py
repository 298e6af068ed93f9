"""The base class of all classifiers."""

from collections.abc import Mapping
from typing import Any, ClassVar, NotRequired, TypedDict

from torch import Tensor, nn

from ganmix.networks.staged import Staged


class Shared(TypedDict):
    """What the constructor of every classifier takes beside its own keys; see `Classifier`."""

    num_classes: int
    prepare: NotRequired[nn.Module | None]


class Classifier(Staged):
    """Images [N, C, R, R] in [-1, 1] -> logits [N, K]: a preparation, the stages, and a last one called 'linear'.

    `forward` takes what `prepare` returns, so that a plan at stage 0 mixes prepared images; `predict` takes images.

    Args:
        stages: name -> module, in order; prepared images to features [N, D].
        num_features: D.
        channels, resolution: C and R of the images it is made for.
        keys: the arguments of the network's own constructor, from which it is built again.
        num_classes: K.
        prepare: what is done to images before stage 0, one of `PREPARATIONS` if the classifier is to be saved; None:
            nothing.
    """

    name: ClassVar[str]  # in CLASSIFIERS

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        num_features: int,
        channels: int,
        resolution: int,
        keys: Mapping[str, object],
        *,
        num_classes: int,
        prepare: nn.Module | None = None,
    ):
        super().__init__({**stages, "linear": nn.Linear(num_features, num_classes)})
        self.prepare = nn.Identity() if prepare is None else prepare
        self.channels = channels
        self.resolution = resolution
        self.num_classes = num_classes
        self.settings: dict[str, Any] = {
            "name": self.name,
            "prepare": None if prepare is None else getattr(prepare, "name", type(prepare).__name__),
            "channels": channels,
            "resolution": resolution,
            "num_classes": num_classes,
            **keys,
        }

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits [N, K] of images [N, C, R, R] in [-1, 1], differentiable in the images."""
        return self(self.prepare(images))

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features [N, D], which the last layer sees, and the logits [N, K] of images in [-1, 1]."""
        features = self.hidden(self.prepare(images), len(self.stages) - 1)
        return features, self.stages["linear"](features)
