"""What `train_classifier.py` reads: every key of a classifier's YAML, with its type, default and meaning."""

from typing import Annotated, Literal

from pydantic import Field

from ganmix.config.base import Count, PositiveFloat, Section
from ganmix.config.common import Data, Device, Logging, RunConfig

Momentum = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0)]


class ConvNetwork(Section):
    """Three convolutions with batch norm, the last two of stride 2; mean over the pixels, linear."""

    name: Literal["conv"]
    width: Count = 16
    """channels of the first convolution; then 2 and 4 times as many"""


class Training(Section):
    """Optimisation: SGD with Nesterov momentum, the rate falling linearly to 0."""

    steps: Count
    """batches"""
    batch_size: Count = 128
    """images in a batch"""
    lr: PositiveFloat = 0.1
    """first learning rate"""
    momentum: Momentum = 0.9
    """Nesterov's"""
    weight_decay: Decay = 1e-4
    """of every parameter"""


class Evaluation(Section):
    """Accuracy and negative log-likelihood on the test split."""

    every: Count | None = None
    """steps between evaluations; null: at the end only"""


class ClassifierConfig(RunConfig):
    """A supervised classifier training."""

    data: Data
    network: ConvNetwork
    training: Training
    logging: Logging = Logging()
    evaluation: Evaluation = Evaluation()
    device: Device = Device()
