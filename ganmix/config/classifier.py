"""Every key of a classifier's YAML, with its type, default and meaning."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ganmix.config.base import Count, CountOrZero, EmaDecay, Fraction, NotNegative, PositiveFloat, Section
from ganmix.config.common import Data, Device, LambdaPer, Logging, PaperRow, RunConfig, StageMixup, Stages


class LabelledData(Data):
    """A known data set with labels."""

    labels_per_class: Count | None = None
    """labelled images of each class, drawn with the run's seed; null: all"""
    num_validation: CountOrZero = 0
    """training images held out to choose a checkpoint by, drawn with the run's seed and balanced over the classes"""
    crop_padding: CountOrZero = 0
    """pixels of padding on each side before a random crop of the original size; 0: no crop"""
    padding: Literal["black", "reflect"] = "black"
    """content of the padding"""
    prepare: Literal["channels", "zca", "zca_only"] | None = None
    """input normalisation, fitted to the training images. channels: mean 0 and standard deviation 1 in each channel;
    zca: global contrast normalisation, then whitening (Oliver et al. 2018); zca_only: whitening (the authors' code)"""
    noise: NotNegative = 0.0
    """standard deviation of Gaussian noise added to the normalised input"""

    @property
    def augmentation(self) -> dict[str, Any]:
        return super().augmentation | {"crop_padding": self.crop_padding, "padding": self.padding}

    def _problems(self) -> Iterator[str]:
        if self.labels_per_class is not None and self.num_images is not None:
            yield "labels_per_class and num_images exclude each other"


class ConvNetwork(Section):
    """Three convolutions with batch norm, a mean over the pixels, and a linear layer."""

    name: Literal["conv"]
    width: Count = 16
    """channels of the first convolution; the others have 2 and 4 times as many"""
    downsample: Literal["stride", "max_pool"] = "stride"
    """how the resolution is halved twice: by strides in the second and third convolution, or by max pooling after the
    first and second; the number of multiplications is the same"""


class PreActResNet(Section):
    """He et al. 2016, identity mappings; the stages layer1 to layer4 are the paper's resblocks."""

    name: Literal["preact_resnet"]
    depth: Literal[18, 34, 152] = 18
    """number of layers"""
    width: Annotated[Count, Field(ge=8)] = 64
    """channels of the first group; they double from group to group. Below 8, strided 1x1 convolutions in channels_last
    write out of bounds on the CPU (torch 2.14)"""


class WideResNet(Section):
    """Zagoruyko and Komodakis 2016, in the variant of Oliver et al. 2018; stages layer1 to layer3."""

    name: Literal["wide_resnet"]
    depth: Count = 28
    """number of layers, 6 n + 4"""
    width: Count = 2
    """widening factor k: the groups have 16 k, 32 k and 64 k channels"""
    slope: NotNegative = 0.1
    """negative slope of LeakyReLU (0.01 in the authors' code)"""
    dropout: Fraction = 0.0
    """dropout rate between the two convolutions of each block (0.3 in the authors' code)"""


class BottleneckMlp(Section):
    """Figure 5: two hidden layers, a bottleneck, two hidden layers."""

    name: Literal["bottleneck_mlp"]
    hidden: Count = 1024
    """units of each hidden layer"""
    bottleneck: Count = 2
    """units of the bottleneck"""


class Loss(Section):
    """The loss on labelled images."""

    name: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    """binary_cross_entropy (the authors' code): of each softmax output, averaged over the classes too, so its gradients
    are smaller by about the number of classes"""
    label_smoothing: Fraction = 0.0
    """share of each target that is spread evenly over all classes"""


class Mixup(StageMixup):
    """Manifold Mixup, section 2 of the paper; stages: [0] is input mixup."""

    alpha: PositiveFloat = 2.0
    """of Beta(alpha, alpha); the paper has 2.0 for Manifold Mixup and 1.0 for input mixup"""
    stages: Stages = (0, 1, 2)
    lam_per: LambdaPer = "batch"
    block_gradients: bool = False
    """no gradient of a mix reaches the stages below it (section 4.1): in such a step these get no gradient at all, and
    neither momentum nor weight decay moves them (in the PyTorch of 2018 both still did)"""


class CutMix(Section):
    """Boxes of one image pasted into another (Yun et al. 2019), for comparison."""

    alpha: PositiveFloat = 1.0
    """Beta(alpha, alpha) is the distribution of the share of the image that stays"""


class SemiSupervised(Section):
    """Consistency loss on mixes of unlabelled images (algorithms 1 and 3); an epoch is one pass over these images."""

    batch_size: Count = 100
    """unlabelled images in a batch; labelled training images count as unlabelled ones too"""
    mixup: Mixup
    """mixup of unlabelled images and their pseudo-labels, independent of the mixup of labelled images"""
    weight: PositiveFloat = 1.0
    """largest weight of the consistency loss"""
    ramp: Annotated[float, Field(gt=0, le=1)] = 0.4
    """share of the training over which the weight rises to its largest value, as exp(-5 (1 - t)^2)"""
    targets: Literal["softmax", "logits"] = "softmax"
    """what the squared error compares: softmax outputs (the paper) or logits (the authors' code)"""
    batch_norm: Literal["batch", "running"] = "batch"
    """statistics for computing pseudo-labels: those of the batch, without updating the running means, or the running
    means"""


class Training(Section):
    """Optimisation with SGD."""

    steps: Count | None = None
    """number of batches"""
    epochs: Count | None = None
    """passes over the training images, instead of steps"""
    batch_size: Count = 128
    """labelled images in a batch"""
    lr: PositiveFloat = 0.1
    """initial learning rate"""
    decay: Literal["constant", "linear", "cosine", "multistep"] = "linear"
    """schedule of the learning rate: linear and cosine fall to 0 at the end, multistep divides by 10 at each drop"""
    drops: tuple[Count, ...] = ()
    """when multistep divides: epochs, or steps if steps are given; all before the end of the training"""
    momentum: Fraction = 0.9
    nesterov: bool = True
    """use Nesterov's momentum"""
    weight_decay: NotNegative = 1e-4
    """L2 penalty on every parameter"""
    l1: NotNegative = 0.0
    """coefficient of an L1 penalty on the weights"""
    l1_of: Literal["all", "first"] = "all"
    """the weights that l1 applies to: all, or only the first convolution's (the authors' code)"""
    ema: EmaDecay | None = None
    """decay of an exponential moving average of the network; if set, the average is evaluated"""

    def _problems(self) -> Iterator[str]:
        if (self.steps is None) == (self.epochs is None):
            yield "either steps or epochs is needed, not both"
        if (self.decay == "multistep") != bool(self.drops):
            yield "drops go with decay: multistep, and it needs them"
        if list(self.drops) != sorted(set(self.drops)):
            yield f"drops must rise, got {list(self.drops)}"
        end, unit = (self.steps, "steps") if self.epochs is None else (self.epochs, "epochs")
        if self.drops and end is not None and max(self.drops) >= end:
            yield f"drops must lie before the end ({unit}: {end}), got {list(self.drops)}"
        if self.nesterov and self.momentum == 0:
            yield "nesterov needs a momentum above 0"
        if self.l1_of == "first" and not self.l1:
            yield "l1_of: first needs l1, which is 0"


class Attacks(Section):
    """White-box attacks on test images (Table 5, appendix D)."""

    epsilon: PositiveFloat = 0.03
    """largest change of a pixel, where pixels range from 0 to 1"""
    space: Literal["pixel", "normalised"] = "pixel"
    """normalised: epsilon and pgd_step are in standard deviations of each channel, and nothing is clamped to the pixel
    range, as in the authors' attacks; about a quarter as strong"""
    pgd_step: PositiveFloat = 0.0075
    """step size of PGD, in the unit of epsilon"""
    pgd_steps: Count = 20
    """steps of PGD"""
    unbounded_step: PositiveFloat = 0.01
    """step size of the unbounded attack, where pixels range from 0 to 1, in either space"""
    unbounded_steps: Count = 200
    """steps of the unbounded attack"""


class Evaluation(Section):
    """Scores on test images."""

    every: Count | Literal["epoch"] | None = "epoch"
    """steps between evaluations on clean images; epoch: after each epoch; null: only at the end"""
    select: Literal["last", "validation", "test"] = "last"
    """the checkpoint to evaluate and report: the last, the best on validation images, or the best on test images (as
    the authors did), which overestimates the accuracy"""
    num_test: Count | None = None
    """use only the first images of the test set for attacks, deformations and interpolations; null: all"""
    attacks: Attacks = Attacks()


class ClassifierConfig(RunConfig):
    """A classifier training, supervised or semi-supervised."""

    kind: ClassVar[str] = "classifier"

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
    """the row of the paper that this config reproduces, for reports"""

    @property
    def images_per_step(self) -> int:
        """Labelled and unlabelled images in a step."""
        return self.training.batch_size + (self.semi_supervised.batch_size if self.semi_supervised else 0)

    @property
    def can_go_on(self) -> bool:
        """Whether a run may get more steps later: no setting depends on the length of the training."""
        return self.training.decay == "constant" and self.semi_supervised is None

    def _problems(self) -> Iterator[str]:
        if self.mixup is not None and self.cutmix is not None:
            yield "mixup and cutmix exclude each other"
        if self.semi_supervised is not None and self.cutmix is not None:
            yield "cutmix and semi_supervised exclude each other: labelled images can only have mixup there"
        if self.evaluation.select == "validation" and not self.data.num_validation:
            yield "evaluation.select: validation needs data.num_validation"
        if self.semi_supervised is not None and self.data.labels_per_class is None:
            yield "semi_supervised needs data.labels_per_class: with all labels nothing is unlabelled"
