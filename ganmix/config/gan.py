"""What `train_gan.py` reads: every key of a GAN's YAML, with its type, default and meaning."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ganmix.config.base import Count, CountOrZero, PositiveFloat, Section
from ganmix.config.common import Data, Device, FolderData, Logging, PaperRow, RunConfig, with_input_as_0

Beta = Annotated[float, Field(ge=0, lt=1)]


class SnganGenerator(Section):
    """Miyato et al. 2018: residual blocks, 1x1 convolutions on the shortcuts."""

    name: Literal["sngan"]
    z: Count = 128
    """dimensions of the noise"""
    width: Count = 256
    """channels of every block"""
    spectral_norm: bool = False
    """normalise every weight by its largest singular value"""


class AuthorsGenerator(Section):
    """The Manifold Mixup authors': bare shortcuts, gain 1."""

    name: Literal["authors"]
    z: Count = 62
    """dimensions of the noise"""
    width: Count = 128
    """channels of every block"""
    spectral_norm: bool = False
    """normalise every weight by its largest singular value"""


class ConvGenerator(Section):
    """A small convolutional network, which a CPU can train."""

    name: Literal["conv"]
    z: Count = 64
    """dimensions of the noise"""
    width: Count = 32
    """channels at full resolution; they double as the pixels halve"""
    spectral_norm: bool = False
    """normalise every weight by its largest singular value"""


class SnganDiscriminator(Section):
    """Miyato et al. 2018: residual blocks, sum over the pixels."""

    name: Literal["sngan"]
    width: Count = 128
    """channels of every block"""
    spectral_norm: bool = True
    """normalise every weight by its largest singular value"""


class AuthorsDiscriminator(Section):
    """The Manifold Mixup authors': residual blocks, mean over the pixels."""

    name: Literal["authors"]
    width: Count = 128
    """channels of every block"""
    stem: CountOrZero = 0
    """channels of a bare convolution before the first block (16 in the authors' code); 0: none"""
    flat_bypass: bool = False
    """a 1x1 convolution, without spectral norm, on the shortcuts of the blocks that keep the size, as in the authors'
    model_resnet.py; their GAN-GP baseline's model_resnet_old.py has none"""
    spectral_norm: bool = False
    """normalise every weight by its largest singular value"""


class ConvDiscriminator(Section):
    """A small convolutional network, which a CPU can train."""

    name: Literal["conv"]
    width: Count = 32
    """channels at full resolution; they double as the pixels halve"""
    spectral_norm: bool = True
    """normalise every weight by its largest singular value"""


class Loss(Section):
    """The adversarial loss."""

    name: Literal["non_saturating", "hinge", "wasserstein"]
    """of the logits; GAN-GP and SN-GAN of the paper are non_saturating"""


class ZeroCentredReal(Section):
    """weight * E ||grad D||^2 over real images."""

    name: Literal["zero_centred_real"]
    weight: PositiveFloat
    """gamma"""
    of: Literal["logit", "sigmoid"] = "logit"
    """the gradient of which output (authors' code: sigmoid)"""
    own_step: bool = False
    """true: an optimizer step of its own after D's (authors' code); false: a term of D's loss"""


class Interpolate(Section):
    """weight * E (||grad D|| - 1)^2 between real and fake images (Gulrajani et al. 2017)."""

    name: Literal["interpolate"]
    weight: PositiveFloat
    """gamma"""
    own_step: bool = False
    """true: an optimizer step of its own after D's; false: a term of D's loss"""


class Mixup(Section):
    """Discriminator mixup, equations 1 to 3 of the paper."""

    alpha: PositiveFloat = 0.2
    """of Beta(alpha, alpha)"""
    stages: Annotated[tuple[CountOrZero | str, ...], Field(min_length=1)] = (0,)
    """where to mix, one drawn each step: numbers or names; 0 is the input, k the output of the k-th stage"""
    pairs: Annotated[tuple[Literal["FR", "FF"], ...], Field(min_length=1)] = ("FR", "FF")
    """fake with real (eq. 2), fake with fake (eq. 3)"""
    clamp: bool = True
    """replace lambda by min(lambda, 1 - lambda) (footnote 3), so that fakes weigh at least half in each mix"""
    lam_per: Literal["sample", "batch"] = "sample"
    """one lambda for each image, or for the whole batch"""
    labels: Literal["fake", "soft"] = "fake"
    """what D learns to call a mix: fake, whatever is in it (the paper); soft, real to the degree lambda, the share of
    the real image in an FR mix, while an FF mix stays fake"""
    weights: Literal["paper", "balanced"] = "balanced"
    """of the terms of D's loss: paper, each weighs 1; balanced, fakes and the mixes labelled fake weigh 1 together, as
    real images do"""
    block_gradients: bool = False
    """no gradient of a mix reaches the stages below it"""
    generator_sees_mixes: bool = False
    """train by eq. 1 (Zhang et al. 2017), not eq. 2 and 3: D sees FR mixes only, no real images and no fakes, and G
    raises D's loss on them; needs labels: soft and pairs: [FR]"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        places = with_input_as_0(self.stages)
        if len(set(self.pairs)) != len(self.pairs):
            problems.append(f"pairs must not repeat, got {list(self.pairs)}")
        if len(set(places)) != len(places):
            problems.append(f"stages must not repeat, as each is as likely as the others, got {list(self.stages)}")
        if self.generator_sees_mixes and (self.labels != "soft" or self.pairs != ("FR",) or self.block_gradients):
            problems.append("generator_sees_mixes (eq. 1) needs labels: soft, pairs: [FR] and block_gradients: false")
        elif self.labels == "soft" and "FR" not in self.pairs:
            problems.append("labels: soft changes nothing with pairs: [FF], as a mix of two fakes is fake; add FR")
        if self.block_gradients and set(places) == {0}:
            problems.append("block_gradients changes nothing at the input, as no layer lies below it; add other stages")
        if problems:
            raise ValueError("\n".join(problems))
        return self


class Training(Section):
    """Optimisation."""

    steps: Count
    """generator steps"""
    batch_size: Count = 64
    """real images in a D step, and fakes in a D and a G step"""
    n_dis: Count = 1
    """D steps for each G step, each on a fresh batch"""
    lr: PositiveFloat = 2e-4
    """Adam's learning rate, of G and D"""
    betas: tuple[Beta, Beta] = (0.0, 0.9)
    """Adam's"""
    decay: Literal["constant", "linear"] = "constant"
    """linear: the learning rate falls to 0 over the steps"""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """decay of an exponential moving average of G, which is then what is shown and scored"""


class Evaluation(Section):
    """Scores, and the protocol they are measured by; scores of unlike protocols are never compared."""

    protocol: Literal["modern", "paper", "paper_test", "miyato", "small"] = "modern"
    """modern: 50k generated, all training images; paper: 50k, truncated, training images, most likely what the authors
    did (their file of real statistics is not published); paper_test: the same against test images, which their code
    has but never calls; miyato: 5k, test images; small: 10k, all training images, a shipped classifier for extractor.
    The keys below replace its parts"""
    extractor: str | None = None
    """inception, a shipped classifier (digits, fashion_mnist), or a classifier's .safetensors file; null: the
    protocol's"""
    weights: str | None = None
    """file of the Inception weights, where they cannot be downloaded"""
    num_fake: Count | None = None
    """generated images; null: the protocol's"""
    reference: str | None = None
    """real images to compare with: train, test, or a .npz of their statistics mu and sigma (FID alone, and IS); null:
    the protocol's"""
    num_real: Count | None = None
    """compare with only so many of them, drawn by the protocol's seed, which is the same for all runs; null: all"""
    quantisation: Literal["round", "truncate"] | None = None
    """of generated images to bytes; null: the protocol's"""
    batch_norm: Literal["running", "batch", "standing"] | None = None
    """statistics in G: running means of the training, each batch's own, or means over batches made for the purpose;
    null: the protocol's"""
    ema: bool | None = None
    """sample from the moving average of G's weights; null: where there is one"""
    precision_recall: bool = False
    """measure precision and recall too, whose time grows with the square of the images"""
    every: Count | None = None
    """steps between evaluations; null: at the end only"""
    at_start: bool = False
    """score the untrained generator too"""


class GanConfig(RunConfig):
    """A GAN training."""

    data: Annotated[Data | FolderData, Field(discriminator="name")]
    generator: Annotated[SnganGenerator | AuthorsGenerator | ConvGenerator, Field(discriminator="name")]
    discriminator: Annotated[SnganDiscriminator | AuthorsDiscriminator | ConvDiscriminator, Field(discriminator="name")]
    loss: Loss
    penalty: Annotated[ZeroCentredReal | Interpolate, Field(discriminator="name")] | None = None
    mixup: Mixup | None = None
    training: Training
    logging: Logging = Logging()
    evaluation: Evaluation | None = None
    """null: no scores"""
    device: Device = Device()
    paper: PaperRow | None = None
    """the row of the paper that this config repeats, for reports"""

    @property
    def images_per_step(self) -> int:
        """Training images of a step, which `images_per_second` counts."""
        return self.training.n_dis * self.training.batch_size

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = list(_clashes(self.loss.name, self.penalty, self.mixup))
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _clashes(loss: str, penalty: ZeroCentredReal | Interpolate | None, mixup: Mixup | None) -> Iterator[str]:
    """Say what means nothing, or something else than it says, with this loss."""
    if isinstance(penalty, ZeroCentredReal) and penalty.of == "sigmoid" and loss != "non_saturating":
        yield f"penalty.of=sigmoid needs loss non_saturating, whose logits are log-odds, got {loss}; logit fits all"
    if mixup is None:
        return
    if mixup.generator_sees_mixes and loss != "non_saturating":
        yield (
            "mixup.generator_sees_mixes is equation 1 with loss non_saturating only, whose loss of D is its "
            f"cross-entropy, got {loss}"
        )
    elif mixup.labels == "soft" and loss == "hinge":
        yield (
            "mixup.labels=soft has no soft target with loss hinge: its minimum is at -1 for every lambda below 1/2, as "
            "for a fake; loss.name=non_saturating has one"
        )
    elif loss == "wasserstein":
        yield from _without_minimum(mixup)


def _without_minimum(mixup: Mixup) -> Iterator[str]:
    """Say where a common shift of all logits lowers the sum of wasserstein's terms for ever."""
    soft = mixup.labels == "soft"
    if soft and mixup.clamp:  # E (1 - 2 lambda), by which a shift of FR's logits acts, is 0 without the clamp alone
        yield "loss wasserstein has no minimum with soft labels that are mostly fake; mixup.clamp=false gives it one"
    if mixup.weights == "paper" and (not soft or "FF" in mixup.pairs):
        yield (
            "loss wasserstein has no minimum with mixup.weights=paper: fakes and mixes outweigh the real images, so D "
            "lowers all its outputs for ever; mixup.weights=balanced gives it one"
        )
