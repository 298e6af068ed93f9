"""The sections that GAN and classifier configs share."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from ganmix.config.base import Count, CountOrZero, Section


class Run(Section):
    """Where a run lives, and its seed."""

    dir: str | None = None
    """folder of everything the run writes; null: runs/NAME_OF_THE_CONFIG"""
    seed: CountOrZero = 0
    """of the initial weights and every random draw"""


class Data(Section):
    """A known data set."""

    name: Literal["digits", "fashion_mnist", "mnist", "cifar10", "cifar100", "svhn"]
    root: str = "data"
    """folder where data sets are looked for, and downloaded to"""
    resolution: Count | None = None
    """pixels a side; null: the data set's own (digits 8, the others 32)"""
    num_images: Count | None = None
    """train on this many of them, drawn by the run's seed; null: all"""
    flip: bool = False
    """mirror each image with probability 1/2"""
    dequantise: bool = False
    """add uniform noise within a grey level"""


class FolderData(Section):
    """A folder of images, in any depth, of any sizes and modes."""

    name: Literal["folder"]
    path: str
    """the folder"""
    resolution: Count
    """pixels a side: images are resized to it by their shorter side, then cropped at the centre"""
    channels: Literal[1, 3] = 3
    """1 grey, 3 colour"""
    skip_broken: bool = False
    """leave out files that cannot be read, with a count, instead of stopping"""
    num_images: Count | None = None
    """train on this many of them, drawn by the run's seed; null: all"""
    flip: bool = False
    """mirror each image with probability 1/2"""
    dequantise: bool = False
    """add uniform noise within a grey level"""


class Logging(Section):
    """Steps between what a run writes."""

    scalars_every: Count = 100
    """steps between lines of metrics.jsonl and points of the curves, which are means over them"""
    images_every: Count = 1000
    """steps between sample grids"""
    checkpoint_every: Count = 1000
    """steps between checkpoints; a kill loses at most these"""
    keep_every: Count | None = None
    """steps between checkpoints that are kept for good, as step_NNNNNN.pt; null: none"""


class Device(Section):
    """Where and how to compute."""

    name: str = "auto"
    """auto (CUDA if there is one), cpu, cuda or cuda:N"""
    channels_last: bool = True
    """memory format of images and weights"""
    bf16: bool = False
    """bfloat16 autocast; penalties stay in float32"""
    compile: bool = False
    """torch.compile for G and D; needs a C++ compiler on the CPU"""


class PaperRow(Section):
    """A row of the paper's tables (arXiv 1806.05236 v1), whatever this config trains on."""

    table: str
    """Table 1, ..."""
    row: str
    """the row's name"""
    values: dict[str, float]
    """by score; accuracies in per cent"""
    spreads: dict[str, float] = Field(default_factory=dict)
    """the paper's own +-, by score"""


def with_input_as_0(stages: Sequence[int | str]) -> list[int | str]:
    """Return where to mix with the input as a number, whether it came as 'input' or as 0."""
    return [0 if stage == "input" else stage for stage in stages]


class RunConfig(Section):
    """What every config that can be trained has."""

    run: Run = Run()
