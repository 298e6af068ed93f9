"""The scores of a GAN by its config's protocol: generators in, IS, FID and the like out."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ganmix.config.common import Data, FolderData
from ganmix.config.gan import Evaluation
from ganmix.config.settings import settings_from
from ganmix.data import ImageData, to_uint8
from ganmix.engine.progress import bar, say
from ganmix.engine.scores import Measurement, digest_of, in_words
from ganmix.engine.task import Found
from ganmix.engine.world import World
from ganmix.errors import UserError, naming
from ganmix.evaluation.gan.extractors import Extractor, get_extractor
from ganmix.evaluation.gan.features import PASS, Features, extract, join
from ganmix.evaluation.gan.fidelity import fidelity_scores
from ganmix.evaluation.gan.protocol import SEED, Parts, choose_parts, describe_protocol
from ganmix.evaluation.gan.reference import Reference, draw_images, file_reference, image_reference, save_reference
from ganmix.evaluation.gan.sampling import draw_noise, generate, with_batch_norm
from ganmix.tasks.data import read_data

CACHE = Path(".cache") / "ganmix"  # of what extractors see in real images


WITHOUT_INCEPTION = (
    "; evaluation.weights names a file elsewhere. Without it, evaluation.protocol=small needs no download for digits"
    " and fashion_mnist, and evaluation=null trains without scores"
)


def parts_of(settings: Evaluation, dataset: str) -> tuple[str, Parts]:
    """Return the name and the parts of the protocol that a config's section means for a data set."""
    others = ("protocol", "weights", "ema", "precision_recall", "every", "at_start")
    return choose_parts(settings.protocol, dataset, vars(settings_from(settings, Parts, but=others)))


def build_extractor(name: str, weights: str | None, key: str = "evaluation.extractor") -> Extractor:
    """Return the extractor that the value of `key` or the protocol names; see `get_extractor`.

    Raises:
        UserError: it cannot be had; with the key, and what to do without the Inception weights.
    """
    with naming("evaluation.weights" if name == "inception" or weights is not None else key):
        try:
            return get_extractor(name, weights)
        except UserError as error:
            raise UserError(f"{error}{WITHOUT_INCEPTION if name == 'inception' else ''}") from error


class Scorer:
    """Scores generators by one protocol; all that it needs is there before training starts.

    Args:
        settings: name the protocol, and replace parts of it.
        data: the real images to compare with are of these.
        noise_size: z.
        has_average: whether there is a moving average of the weights to score.
        device: where images are made and seen.
        world: the processes that share the work.
        train_data: all training images, where they were read already.

    Raises:
        UserError: the extractor or the reference cannot be had, or there are too few images.
    """

    def __init__(
        self,
        settings: Evaluation,
        data: Data | FolderData,
        device: torch.device,
        *,
        noise_size: int,
        has_average: bool,
        world: World | None = None,
        train_data: ImageData | None = None,
    ):
        if settings.ema and not has_average:
            raise UserError("evaluation.ema: the run has no moving average; training.ema was not set")
        self.settings = settings
        self.ema = has_average if settings.ema is None else settings.ema
        self._noise_size = noise_size
        self._world = world or World()
        self.device = self._world.place(device)
        self.name, self._parts = parts_of(settings, data.name)
        assert self._parts.extractor is not None
        self.extractor = build_extractor(self._parts.extractor, settings.weights)
        self.reference = self._read_reference(data, train_data)
        with naming("evaluation"):
            self.protocol = describe_protocol(self.name, self._parts, self.extractor, self.reference, ema=self.ema)
        self._digest = digest_of(self.protocol)

    def __call__(self, network: nn.Module) -> Found:
        """Score a generator, noise [N, z] -> images [N, C, R, R]; see `Evaluator`."""
        num = -(-self._parts.num_fake // PASS) * PASS  # whole passes
        noise = draw_noise(num, self._noise_size, SEED)
        sampled = with_batch_norm(network, self._parts.batch_norm, self._noise_size, SEED + 1)
        return self._found(self._world.map(partial(self._see, sampled), noise.split(PASS), _bar("sampling")))

    def score_images(self, images: Tensor) -> Found:
        """Score given images, uint8 [N, C, R, R], as if they were generated."""
        see = partial(extract, extractor=self.extractor, device=self.device)
        return self._found(self._world.map(see, images.split(PASS), _bar("images")))

    def has(self, measurement: Measurement) -> bool:
        """Tell whether a measurement is by this protocol and lacks no score; see `Evaluator`."""
        precision = self.settings.precision_recall and self.reference.features is not None
        found = {score.metric for score in measurement.scores}
        return measurement.protocol_digest == self._digest and (not precision or "precision" in found)

    def tag(self, earlier: Sequence[Measurement]) -> str:
        """Return 'score', or a tag of its own where the run was scored by another protocol first."""
        own = not earlier or earlier[0].protocol_digest == self._digest
        return "score" if own else f"score ({self.name})"

    @property
    def title(self) -> str:
        """The protocol and its numbers of images, in brief."""
        num = self.reference.num
        few = "; few, so FID is too high" if self.protocol["few_images"] else ""
        return f"{self.name}: {self._parts.num_fake} generated, {num or 'unknown number of'} real{few}"

    def save_reference(self, path: Path) -> None:
        """Write the mean and covariance of the real images as .npz."""
        save_reference(path, self.reference, self.extractor)
        say(f"reference    {path}")

    def _found(self, seen: list[Features]) -> Found:
        if not self._world.speaks:
            return Found([])
        fake = Features(*(values[: self._parts.num_fake] for values in join(seen)))
        with naming("evaluation"):
            scores = fidelity_scores(
                fake,
                self.reference,
                precision_recall=self.settings.precision_recall,
                extractor=self.extractor.name,
            )
        return Found(scores)

    def _see(self, generator: nn.Module, noise: Tensor) -> Features:
        images = to_uint8(generate(generator, noise), self._parts.quantisation)
        return extract(images, self.extractor, self.device)

    def _read_reference(self, settings: Data | FolderData, train_data: ImageData | None) -> Reference:
        where = self._parts.reference
        if where.endswith(".npz"):
            with naming("evaluation.reference"):
                return file_reference(Path(where), self.extractor)
        if where not in ("train", "test"):
            raise UserError(f"evaluation.reference: expected train, test or a .npz file, got {where!r}")
        if settings.name == "folder" and where == "test":
            raise UserError("evaluation.reference: a folder of images has no test split")
        data = train_data if train_data is not None and where == "train" else read_data(settings, where)
        num = self._parts.num_real
        if num is not None and num > data.num_images:
            raise UserError(f"evaluation.num_real: {data.name} {where} has {data.num_images} images, fewer than {num}")
        see = partial(
            image_reference,
            extractor=self.extractor,
            device=self.device,
            cache=CACHE,
            world=self._world,
            watch=_bar("real images"),
        )
        if num is None or num == data.num_images:
            return see(data)
        reference = see(draw_images(data, num, SEED))
        return replace(reference, identity=reference.identity | {"drawn_by_seed": SEED})


def real_scores(scorer: Scorer, settings: Data | FolderData) -> None:
    """Say what real images score: those of the split that is not the reference.

    Raises:
        UserError: there is no other split.
    """
    if settings.name == "folder":
        raise UserError("--real: a folder of images has no other split")
    split = "test" if scorer.reference.identity.get("split") == "train" else "train"
    data = read_data(settings, split)
    if scores := scorer.score_images(data.images).scores:
        num = min(data.num_images, scorer.protocol["num_fake"])
        say(f"real         {num} {split} images of {data.name}: {in_words(scores)}")


def _bar(what: str) -> "partial[Sequence[Tensor]]":
    """Return what wraps passes over images in a progress bar."""
    return partial(bar, what=what, scale=PASS)
