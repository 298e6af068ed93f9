"""The sections that GAN and classifier configs share."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from ganmix.config.base import Count, CountOrZero, PositiveFloat, Section


class Run(Section):
    """The run's folder and seed."""

    dir: str | None = None
    """folder for everything that the run writes; null: runs/NAME_OF_THE_CONFIG"""
    seed: CountOrZero = 0
    """seed of the initial weights and of every random draw"""


class Images(Section):
    """The keys of every data section."""

    name: str
    num_images: Count | None = None
    """train on this many images, drawn with the run's seed; null: all"""
    flip: bool = False
    """mirror each image with probability 1/2"""
    dequantise: bool = False
    """add uniform noise within one grey level"""

    @property
    def augmentation(self) -> dict[str, Any]:
        """The arguments of `data.augment` for training batches."""
        return {"flip": self.flip, "dequantise": self.dequantise}


class Data(Images):
    """A known data set."""

    name: Literal["digits", "fashion_mnist", "mnist", "cifar10", "cifar100", "svhn"]
    root: str = "data"
    """folder of the data sets; missing ones are downloaded to it"""
    resolution: Count | None = None
    """height and width in pixels; null: the data set's own (digits 8, the others 32)"""

    @property
    def source(self) -> str:
        """Where the images are, for a message."""
        return f"{self.root} ({self.name})"


class FolderData(Images):
    """A folder of images of any size and mode, with or without subfolders."""

    name: Literal["folder"]
    path: str
    """the folder"""
    resolution: Count
    """height and width in pixels; each image is resized by its shorter side, then cropped at the centre"""
    channels: Literal[1, 3] = 3
    """1: grey, 3: colour"""
    skip_broken: bool = False
    """skip unreadable files and print their number, instead of stopping"""

    @property
    def source(self) -> str:
        return self.path


class Logging(Section):
    """How often a run writes."""

    scalars_every: Count = 100
    """steps between lines of metrics.jsonl and points in TensorBoard; each is a mean over these steps"""
    images_every: Count = 1000
    """steps between image grids"""
    checkpoint_every: Count = 1000
    """steps between checkpoints; a killed run loses at most these steps"""
    keep_every: Count | None = None
    """steps between checkpoints that are never deleted (step_NNNNNN.pt); null: none"""


class Device(Section):
    """Where and how to compute."""

    name: str = "auto"
    """auto (CUDA if available), cpu, cuda or cuda:N"""
    channels_last: bool = True
    """store images and weights in channels_last memory format"""
    bf16: bool = False
    """use bfloat16 autocast; penalties stay in float32"""
    compile: bool = False
    """compile the networks with torch.compile; on the CPU this needs a C++ compiler"""


class PaperRow(Section):
    """A row of a table in the paper (arXiv 1806.05236 v1); the config may train on other data."""

    table: str
    """the table's name: Table 1, ..."""
    row: str
    """the row's name"""
    values: dict[str, PositiveFloat]
    """the paper's value of each score; accuracies in per cent"""
    spreads: dict[str, PositiveFloat] = Field(default_factory=dict)
    """the paper's +- of each score; in Table 6 over 10 splits, averaged over 3 runs, and as printed in quoted rows"""

    def _problems(self) -> Iterator[str]:
        if others := self.spreads.keys() - self.values.keys():
            yield f"spreads needs a value for each of its scores, and has none for {', '.join(others)}"


Stages = Annotated[
    tuple[CountOrZero | str, ...],
    Field(
        min_length=1,
        description="where to mix: numbers or names, one drawn a step; 0 is the input, k the output of the k-th stage",
    ),
]
LambdaPer = Annotated[
    Literal["sample", "batch"], Field(description="one lambda for each image, or for the whole batch")
]


class StageMixup(Section):
    """The keys of every mixup section."""

    alpha: PositiveFloat
    stages: Stages
    lam_per: LambdaPer
    block_gradients: bool = False
    """no gradient of a mix reaches the stages below it"""

    def _problems(self) -> Iterator[str]:
        places = [0 if stage == "input" else stage for stage in self.stages]
        if len(set(places)) < len(places):
            yield f"stages must not repeat, as each is drawn with the same probability, got {list(self.stages)}"
        if self.block_gradients and set(places) == {0}:
            yield "block_gradients changes nothing at the input, as no layer lies below it; add other stages"


class RunConfig(Section):
    """The keys of every training's config."""

    run: Run = Run()
