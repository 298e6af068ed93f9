"""What `train_classifier.py` reads: every key of a classifier's YAML, with its type, default and meaning."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ganmix.config.base import Count, CountOrZero, PositiveFloat, Section
from ganmix.config.common import Data, Device, Logging, PaperRow, RunConfig, with_input_as_0

Fraction = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class LabelledData(Data):
    """A known data set, what of it is trained on, and how a batch of it is changed."""

    labels_per_class: Count | None = None
    """train on the labels of so many images of each class, drawn by the run's seed; null: of all"""
    num_validation: CountOrZero = 0
    """training images kept apart to choose a checkpoint by, drawn by the run's seed, as evenly over the classes as the
    number allows"""
    crop_padding: CountOrZero = 0
    """pixels by which images are padded before a crop of their size is taken at random; 0: no crop"""
    padding: Literal["black", "reflect"] = "black"
    """what they are padded with"""
    prepare: Literal["channels", "zca", "zca_only"] | None = None
    """channels: mean 0 and standard deviation 1 of each channel; zca: global contrast normalisation, then whitening
    (Oliver et al. 2018); zca_only: whitening (the authors' code); by the training images"""
    noise: NotNegative = 0.0
    """standard deviation of Gaussian noise on what was prepared"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.labels_per_class is not None and self.num_images is not None:
            raise ValueError("labels_per_class and num_images exclude each other")
        return self


class ConvNetwork(Section):
    """Three convolutions with batch norm; mean over the pixels, linear."""

    name: Literal["conv"]
    width: Count = 16
    """channels of the first convolution; then 2 and 4 times as many"""
    downsample: Literal["stride", "max_pool"] = "stride"
    """how the resolution is halved twice: by the stride of the second and third convolution, or by max pooling after
    the first and second, which takes the same multiplications"""


class PreActResNet(Section):
    """He et al. 2016, identity mappings; stages layer1 to layer4, the paper's resblocks."""

    name: Literal["preact_resnet"]
    depth: Literal[18, 34, 152] = 18
    """layers"""
    width: Annotated[Count, Field(ge=8)] = 64
    """channels of the first group; each later one has twice as many. Below 8, the CPU's strided 1x1 convolutions write
    past their memory in channels_last (torch 2.14)"""


class WideResNet(Section):
    """Zagoruyko and Komodakis 2016, as Oliver et al. 2018 have it; stages layer1 to layer3."""

    name: Literal["wide_resnet"]
    depth: Count = 28
    """layers, 6 n + 4"""
    width: Count = 2
    """k: the groups have 16 k, 32 k and 64 k channels"""
    slope: NotNegative = 0.1
    """of LeakyReLU below 0; 0.01 in the authors' code"""
    dropout: Fraction = 0.0
    """share of values dropped between the two convolutions of each block; 0.3 in the authors' code"""


class BottleneckMlp(Section):
    """Figure 5: two hidden layers, a bottleneck, two hidden layers."""

    name: Literal["bottleneck_mlp"]
    hidden: Count = 1024
    """units of each hidden layer"""
    bottleneck: Count = 2
    """units of the bottleneck"""


class Loss(Section):
    """What is minimised on labelled images."""

    name: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    """of soft targets; binary_cross_entropy (the authors' code): of each softmax output, a mean over the classes too,
    so gradients are about as many times smaller as there are classes"""
    label_smoothing: Fraction = 0.0
    """share of each target that goes to all classes alike"""


class Mixup(Section):
    """Manifold Mixup, section 2 of the paper; stages: [0] is input mixup."""

    alpha: PositiveFloat = 2.0
    """of Beta(alpha, alpha); the paper has 2.0 for Manifold Mixup and 1.0 for input mixup"""
    stages: Annotated[tuple[CountOrZero | str, ...], Field(min_length=1)] = (0, 1, 2)
    """where to mix, one drawn each step: numbers or names; 0 is the input, k the output of the k-th stage"""
    lam_per: Literal["sample", "batch"] = "batch"
    """one lambda for each image, or for the whole batch"""
    block_gradients: bool = False
    """no gradient of a mix reaches the stages below it (section 4.1): in such a step these get no gradient at all, and
    neither momentum nor weight decay moves them (in the PyTorch of 2018 both still did)"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        places = with_input_as_0(self.stages)
        if len(set(places)) < len(places):
            raise ValueError(f"stages repeat, got {list(self.stages)}: one is drawn, each with the same probability")
        if self.block_gradients and places == [0]:
            raise ValueError("block_gradients needs a stage above the input: below the input there is nothing to block")
        return self


class CutMix(Section):
    """Boxes of one image pasted into another (Yun et al. 2019), for comparison."""

    alpha: PositiveFloat = 1.0
    """of Beta(alpha, alpha), the share of the image that stays"""


class SemiSupervised(Section):
    """Consistency of mixes of unlabelled images, algorithms 1 and 3 of the paper. An epoch is one pass over these."""

    batch_size: Count = 100
    """unlabelled images in a batch; all training images are unlabelled ones, those with labels too"""
    mixup: Mixup
    """of unlabelled images and their pseudo-labels, drawn apart from that of labelled ones"""
    weight: PositiveFloat = 1.0
    """largest consistency coefficient"""
    ramp: Annotated[float, Field(gt=0, le=1)] = 0.4
    """share of the steps over which the coefficient rises to it, as exp(-5 (1 - t)^2)"""
    targets: Literal["softmax", "logits"] = "softmax"
    """what the squared error is between: softmax outputs, as the paper says, or logits, as the authors' code had it"""
    batch_norm: Literal["batch", "running"] = "batch"
    """statistics that pseudo-labels are computed with: their batch's own, which leave no trace in the running means, or
    the running means"""


class Training(Section):
    """Optimisation: SGD with momentum."""

    steps: Count | None = None
    """batches"""
    epochs: Count | None = None
    """passes over the training images; the alternative to steps"""
    batch_size: Count = 128
    """labelled images in a batch"""
    lr: PositiveFloat = 0.1
    """first learning rate"""
    decay: Literal["constant", "linear", "cosine", "multistep"] = "linear"
    """how the rate falls: linear and cosine to 0 over the training, multistep to a tenth at each of drops"""
    drops: tuple[Count, ...] = ()
    """of multistep: epochs, or steps where steps are given; all before the end of the training"""
    momentum: Fraction = 0.9
    """of SGD"""
    nesterov: bool = True
    """Nesterov's momentum"""
    weight_decay: NotNegative = 1e-4
    """L2, of every parameter"""
    l1: NotNegative = 0.0
    """coefficient of the sum of the weights' absolute values"""
    l1_of: Literal["all", "first"] = "all"
    """the weights in that sum: of all layers, or of the first convolution alone, as the authors' code had it"""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """decay of an exponential moving average of the network, which is then what is evaluated"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("either steps or epochs is needed, not both")
        if (self.decay == "multistep") != bool(self.drops):
            raise ValueError("drops go with decay: multistep, and it needs them")
        if list(self.drops) != sorted(set(self.drops)):
            raise ValueError(f"drops must rise, got {list(self.drops)}")
        end, unit = (self.steps, "steps") if self.epochs is None else (self.epochs, "epochs")
        if self.drops and end is not None and self.drops[-1] >= end:
            raise ValueError(f"drops must lie before the end ({unit}: {end}), got {list(self.drops)}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.l1_of == "first" and not self.l1:
            raise ValueError("l1_of: first needs l1, which is 0")
        return self


class Attacks(Section):
    """White-box attacks on test images (Table 5, appendix D)."""

    epsilon: PositiveFloat = 0.03
    """largest change of a pixel, of a range of 1"""
    space: Literal["pixel", "normalised"] = "pixel"
    """normalised: epsilon in standard deviations of each channel and no clamp to the range, as the authors attacked;
    about a quarter as strong"""
    pgd_step: PositiveFloat = 0.0075
    """length of a step of PGD, in the unit of epsilon: in normalised space these are standard deviations"""
    pgd_steps: Count = 20
    """steps of PGD, in either space"""
    unbounded_step: PositiveFloat = 0.01
    """length of a step of the check without bound, of a pixel's range whatever space says"""
    unbounded_steps: Count = 200
    """its steps"""


class Evaluation(Section):
    """Scores on test images, never seen in training."""

    every: Count | Literal["epoch"] | None = "epoch"
    """steps between evaluations on clean images; epoch: after each; null: at the end only"""
    select: Literal["last", "validation", "test"] = "last"
    """the step whose network is evaluated and reported: the last; the best on validation images; or the best on test
    images, as the authors did, which is no honest estimate"""
    num_test: Count | None = None
    """attacks, deformations and interpolations are of the first so many test images; null: of all, as clean scores"""
    attacks: Attacks = Attacks()


class ClassifierConfig(RunConfig):
    """A classifier training, supervised or semi-supervised."""

    data: LabelledData
    network: Annotated[ConvNetwork | PreActResNet | WideResNet | BottleneckMlp, Field(discriminator="name")]
    loss: Loss = Loss()
    mixup: Mixup | None = None
    cutmix: CutMix | None = None
    semi_supervised: SemiSupervised | None = None
    training: Training
    logging: Logging = Logging()
    evaluation: Evaluation = Evaluation()
    device: Device = Device()
    paper: PaperRow | None = None
    """the row of the paper that this config repeats, for reports"""

    @property
    def images_per_step(self) -> int:
        """Training images of a step, which `images_per_second` counts."""
        semi = self.semi_supervised
        return self.training.batch_size + (0 if semi is None else semi.batch_size)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.mixup is not None and self.cutmix is not None:
            raise ValueError("mixup and cutmix exclude each other")
        if self.semi_supervised is not None and self.cutmix is not None:
            raise ValueError("cutmix and semi_supervised exclude each other: labelled images can only have mixup there")
        if self.evaluation.select == "validation" and not self.data.num_validation:
            raise ValueError("evaluation.select: validation needs data.num_validation")
        if self.semi_supervised is not None and self.data.labels_per_class is None:
            raise ValueError("semi_supervised needs data.labels_per_class: with all labels nothing is unlabelled")
        return self
