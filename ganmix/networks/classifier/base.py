"""The base class of all classifiers."""

from collections.abc import Mapping
from typing import Any, ClassVar, NotRequired, TypedDict

from torch import Tensor, nn

from ganmix.networks.staged import Staged


class Shared(TypedDict):
    """What the constructor of every classifier takes besides its own keys; see `Classifier`."""

    num_classes: int
    prepare: NotRequired[nn.Module | None]


class Classifier(Staged):
    """Images [N, C, R, R] in [-1, 1] -> logits [N, K]: a preparation, the stages, and a last stage called 'linear'.

    `forward` takes prepared images, so that a plan at stage 0 mixes these; `predict` takes images.

    Args:
        stages: name -> module, in order; prepared images to features [N, D].
        num_features: D.
        channels, resolution: C and R.
        keys: the arguments of the network's own constructor, to build it again.
        num_classes: K.
        prepare: prepares images before stage 0; a saved classifier needs one of `PREPARATIONS`, or None for nothing.
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
        """Return the last layer's input, features [N, D], and the logits [N, K] of images in [-1, 1]."""
        features = self.hidden(self.prepare(images), len(self.stages) - 1)
        return features, self.stages["linear"](features)
