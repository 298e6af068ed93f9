"""Every key of a GAN's YAML, with its type, default and meaning."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from ganmix.config.base import Count, CountOrZero, EmaDecay, Fraction, PositiveFloat, Section
from ganmix.config.common import Data, Device, FolderData, LambdaPer, Logging, PaperRow, RunConfig, StageMixup, Stages

NoiseSize = Annotated[Count, Field(description="dimensions of the noise")]
Width = Annotated[Count, Field(description="channels of every block")]
DoublingWidth = Annotated[Count, Field(description="channels at full resolution; they double as it halves")]
SpectralNorm = Annotated[bool, Field(description="divide every weight by its largest singular value")]


class SnganGenerator(Section):
    """Miyato et al. 2018: residual blocks with 1x1 convolutions on the shortcuts."""

    name: Literal["sngan"]
    z: NoiseSize = 128
    width: Width = 256
    spectral_norm: SpectralNorm = False


class AuthorsGenerator(Section):
    """The network of the Manifold Mixup authors: residual blocks with plain shortcuts, initialised with gain 1."""

    name: Literal["authors"]
    z: NoiseSize = 62
    width: Width = 128
    spectral_norm: SpectralNorm = False


class ConvGenerator(Section):
    """A small convolutional network that trains on a CPU."""

    name: Literal["conv"]
    z: NoiseSize = 64
    width: DoublingWidth = 32
    spectral_norm: SpectralNorm = False


class SnganDiscriminator(Section):
    """Miyato et al. 2018: residual blocks, then a sum over the pixels."""

    name: Literal["sngan"]
    width: Width = 128
    spectral_norm: SpectralNorm = True


class AuthorsDiscriminator(Section):
    """The network of the Manifold Mixup authors: residual blocks, then a mean over the pixels."""

    name: Literal["authors"]
    width: Width = 128
    stem: CountOrZero = 0
    """channels of an extra convolution before the first block (16 in the authors' code); 0: none"""
    flat_bypass: bool = False
    """put a 1x1 convolution without spectral norm on the shortcuts of blocks that keep the resolution, as in the
    authors' model_resnet.py; the model_resnet_old.py of their GAN-GP baseline has none"""
    spectral_norm: SpectralNorm = False


class ConvDiscriminator(Section):
    """A small convolutional network that trains on a CPU."""

    name: Literal["conv"]
    width: DoublingWidth = 32
    spectral_norm: SpectralNorm = True


class Loss(Section):
    """The adversarial loss."""

    name: Literal["non_saturating", "hinge", "wasserstein"]
    """GAN-GP and SN-GAN in the paper use non_saturating"""


class Penalty(Section):
    """The keys of every gradient penalty on D."""

    name: str
    weight: PositiveFloat
    """gamma"""
    every: Count = 1
    """compute the penalty only in one of so many D steps, with so many times its weight"""
    own_step: bool = False
    """true: an optimizer step of its own after D's (authors' code); false: a term of D's loss"""


class ZeroCentredReal(Penalty):
    """weight * E ||grad D||^2 over real images."""

    name: Literal["zero_centred_real"]
    of: Literal["logit", "sigmoid"] = "logit"
    """the gradient of which output (authors' code: sigmoid)"""


class Interpolate(Penalty):
    """weight * E (||grad D|| - 1)^2 between real and fake images (Gulrajani et al. 2017)."""

    name: Literal["interpolate"]


class Mixup(StageMixup):
    """Discriminator mixup, equations 1 to 3 of the paper."""

    alpha: PositiveFloat = 0.2
    """of Beta(alpha, alpha)"""
    stages: Stages = (0,)
    lam_per: LambdaPer = "sample"
    pairs: Annotated[tuple[Literal["FR", "FF"], ...], Field(min_length=1)] = ("FR", "FF")
    """fake with real (eq. 2), fake with fake (eq. 3)"""
    clamp: bool = True
    """replace lambda by min(lambda, 1 - lambda) (footnote 3), so that fakes weigh at least half in each mix"""
    labels: Literal["fake", "soft"] = "fake"
    """what D learns to call a mix: fake, whatever is in it (the paper); soft, real to the degree lambda, the share of
    the real image in an FR mix, while an FF mix stays fake"""
    weights: Literal["paper", "balanced"] = "balanced"
    """of the terms of D's loss: paper, each weighs 1; balanced, fakes and the mixes labelled fake weigh 1 together, as
    real images do"""
    generator_sees_mixes: bool = False
    """train by eq. 1 (Zhang et al. 2017), not eq. 2 and 3: D sees FR mixes only, no real images and no fakes, and G
    raises D's loss on them; needs labels: soft and pairs: [FR]"""

    def _problems(self) -> Iterator[str]:
        if len(set(self.pairs)) < len(self.pairs):
            yield f"pairs must not repeat, got {list(self.pairs)}"
        yield from super()._problems()
        if self.generator_sees_mixes and (self.labels != "soft" or self.pairs != ("FR",) or self.block_gradients):
            yield "generator_sees_mixes (eq. 1) needs labels: soft, pairs: [FR] and block_gradients: false"
        elif self.labels == "soft" and "FR" not in self.pairs:
            yield "labels: soft changes nothing with pairs: [FF], as a mix of two fakes is fake; add FR"


class Training(Section):
    """Optimisation with Adam."""

    steps: Count
    """generator steps"""
    batch_size: Count = 64
    """real images in each D step, and fake images in each D and G step"""
    n_dis: Count = 1
    """D steps per G step, each on a new batch"""
    lr: PositiveFloat = 2e-4
    """learning rate of G and D"""
    betas: tuple[Fraction, Fraction] = (0.0, 0.9)
    """beta 1 and beta 2 of Adam"""
    decay: Literal["constant", "linear"] = "constant"
    """schedule of the learning rate; linear falls to 0 at the end of the training"""
    ema: EmaDecay | None = None
    """decay of an exponential moving average of G; if set, the average is shown and scored"""


class Evaluation(Section):
    """When and how to score generated images. Only scores of the same protocol are comparable."""

    protocol: Literal["modern", "paper", "paper_test", "miyato", "small"] = "modern"
    """modern: 50k fakes against the training images; paper: like modern, but truncated to bytes, which is most likely
    what the authors did (they did not publish their real statistics); paper_test: like paper, but against the test
    images (in the authors' code, never called); miyato: 5k fakes against the test images; small: 10k fakes against the
    training images, seen by a shipped classifier. The keys below override parts of the protocol"""
    extractor: str | None = None
    """network that computes the features: inception, a shipped classifier (digits, fashion_mnist), or the .safetensors
    file of a classifier; null: the protocol's"""
    weights: str | None = None
    """file of the Inception weights, if they cannot be downloaded"""
    num_fake: Count | None = None
    """number of generated images; null: the protocol's"""
    reference: str | None = None
    """real images to compare with: train, test, or a .npz file of their statistics mu and sigma (FID and IS only);
    null: the protocol's"""
    num_real: Count | None = None
    """compare with this many of the real images, drawn with a fixed seed that all runs share; null: all"""
    quantisation: Literal["round", "truncate"] | None = None
    """how generated images become bytes; null: the protocol's"""
    batch_norm: Literal["running", "batch", "standing"] | None = None
    """statistics of G's batch norm: running means of the training, those of each batch, or means over extra batches;
    null: the protocol's"""
    ema: bool | None = None
    """sample from the moving average of G; null: if there is one"""
    precision_recall: bool = False
    """also compute precision and recall; their time grows with the square of the number of images"""
    every: Count | None = None
    """steps between evaluations; null: only at the end"""
    at_start: bool = False
    """also score the untrained generator"""


class GanConfig(RunConfig):
    """A GAN training."""

    kind: ClassVar[str] = "GAN"

    data: Annotated[Data | FolderData, Field(discriminator="name")]
    generator: Annotated[SnganGenerator | AuthorsGenerator | ConvGenerator, Field(discriminator="name")]
    discriminator: Annotated[SnganDiscriminator | AuthorsDiscriminator | ConvDiscriminator, Field(discriminator="name")]
    loss: Loss
    penalties: tuple[Annotated[ZeroCentredReal | Interpolate, Field(discriminator="name")], ...] = ()
    """gradient penalties on D"""
    mixup: Mixup | None = None
    training: Training
    logging: Logging = Logging()
    evaluation: Evaluation | None = None
    """null: no evaluation"""
    device: Device = Device()
    paper: PaperRow | None = None
    """the row of the paper that this config reproduces, for reports"""

    @property
    def images_per_step(self) -> int:
        """Real images in a generator step."""
        return self.training.n_dis * self.training.batch_size

    @property
    def can_go_on(self) -> bool:
        """Whether a run may get more steps later: no setting depends on the length of the training."""
        return self.training.decay == "constant"

    @field_validator("paper")
    @classmethod
    def _check_scores(cls, paper: PaperRow | None) -> PaperRow | None:
        if paper and (others := paper.values.keys() - {"IS", "FID"}):
            raise ValueError(f"values: the paper has IS and FID of GANs, got {', '.join(sorted(others))}")
        return paper

    def _problems(self) -> Iterator[str]:
        # Settings that have no effect with this loss, or another effect than their names promise.
        loss, mixup = self.loss.name, self.mixup
        for place, penalty in enumerate(self.penalties):
            if isinstance(penalty, ZeroCentredReal) and penalty.of == "sigmoid" and loss != "non_saturating":
                key = f"penalties.{place}.of=sigmoid"
                yield f"{key} needs loss non_saturating, whose logits are log-odds, got {loss}; logit fits all"
        if mixup is None:
            return
        soft = mixup.labels == "soft"
        if mixup.generator_sees_mixes and loss != "non_saturating":
            why = "where D's loss is its cross-entropy"
            yield f"mixup.generator_sees_mixes (eq. 1) needs loss non_saturating, {why}, got {loss}"
        elif soft and loss == "hinge":
            why = "its minimum is at -1 for every lambda below 1/2, as for a fake"
            yield f"mixup.labels=soft has no soft target with loss hinge: {why}; loss.name=non_saturating has one"
        elif loss == "wasserstein":
            # Without a minimum, a common shift of all logits lowers the sum of the terms for ever. Soft labels weigh
            # the shift of FR's logits by E (1 - 2 lambda), which is 0 only without the clamp.
            no_minimum = "loss wasserstein has no minimum with"
            if soft and mixup.clamp:
                yield f"{no_minimum} soft labels that are mostly fake; mixup.clamp=false gives it one"
            if mixup.weights == "paper" and (not soft or "FF" in mixup.pairs):
                why = "fakes and mixes outweigh the real images, so D lowers all its outputs for ever"
                yield f"{no_minimum} mixup.weights=paper: {why}; mixup.weights=balanced gives it one"
