"""A config's protocol made ready: generators in, scores out, during a training or after it."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ganmix.config.gan import Evaluation, GanConfig
from ganmix.data import ImageData, to_uint8
from ganmix.engine.versions import library_versions
from ganmix.engine.world import World
from ganmix.errors import UserError
from ganmix.evaluation.gan import (
    Extractor,
    Features,
    Reference,
    extract,
    fidelity_scores,
    get_extractor,
    image_reference,
)
from ganmix.evaluation.gan.features import PASS, join
from ganmix.evaluation.gan.protocol import (
    IS_SPLITS,
    KID_SUBSET,
    NEIGHBOURS,
    SEED,
    Parts,
    choose_parts,
    describe_protocol,
    same_protocol,
)
from ganmix.evaluation.gan.reference import draw_images, file_reference
from ganmix.evaluation.gan.sampling import draw_noise, generate, with_batch_norm
from ganmix.tasks.common import read_data

CACHE = Path(".cache") / "ganmix"  # of what extractors see in real images


class Scorer:
    """Scores generators of one config by one protocol; everything that needs is there before training starts.

    Args:
        device: where images are made and seen.
        world: the processes that share the work.
        train_data: all training images, where they were read already.

    Raises:
        UserError: the extractor or the reference cannot be had, or there are too few images.
    """

    def __init__(
        self,
        config: GanConfig,
        settings: Evaluation,
        device: torch.device,
        *,
        world: World | None = None,
        train_data: ImageData | None = None,
    ):
        if settings.ema and config.training.ema is None:
            raise UserError("evaluation.ema: the run has no moving average; training.ema was not set")
        self.settings = settings
        self.ema = config.training.ema is not None if settings.ema is None else settings.ema
        self._noise_size = config.generator.z
        self._world = world or World()
        self.device = self._world.place(device)
        parts = settings.model_dump(include=set(Parts.__dataclass_fields__))
        name, self._parts = choose_parts(settings.protocol, config.data.name, parts)
        assert self._parts.extractor is not None
        self.extractor: Extractor = get_extractor(self._parts.extractor, settings.weights)
        self.reference = self._read_reference(config, train_data)
        self.protocol = describe_protocol(name, self._parts, self.extractor, self.reference, ema=self.ema)
        self.fid = f"{self.extractor.prefix}FID"

    def __call__(self, generator: nn.Module) -> dict[str, float]:
        """Return the scores by their labels, which name the extractor where it is not Inception.

        Of several processes rank 0 returns them; the others help, and return nothing.
        """
        num = -(-self._parts.num_fake // PASS) * PASS  # whole passes
        noise = draw_noise(num, self._noise_size, SEED)
        sampled = with_batch_norm(generator, self._parts.batch_norm, self._noise_size, SEED + 1)
        seen = self._world.map(partial(self._see, sampled), noise.split(PASS), partial(progress, "sampling"))
        return self._scores(seen)

    def score_images(self, images: Tensor) -> dict[str, float]:
        """Return the scores of given images, uint8 [N, C, R, R], as if they were generated."""
        see = partial(extract, extractor=self.extractor, device=self.device)
        return self._scores(self._world.map(see, images.split(PASS), partial(progress, "images")))

    def _scores(self, seen: list[Features]) -> dict[str, float]:
        if not self._world.speaks:
            return {}
        scores = fidelity_scores(
            Features(*(values[: self._parts.num_fake] for values in join(seen))),
            self.reference,
            is_splits=IS_SPLITS,
            kid_subset_size=KID_SUBSET,
            neighbours=NEIGHBOURS,
            precision_recall=self.settings.precision_recall,
            seed=SEED,
        )
        return {self.extractor.prefix + name: value for name, value in scores.items()}

    def line(self, step: int, scores: Mapping[str, float]) -> dict[str, Any]:
        """Return what scores.jsonl says of scores at a step."""
        return {"step": step, "scores": scores, "protocol": self.protocol, "versions": library_versions()}

    def earlier(self, lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return those of a run's score lines that this protocol made, and that lack no score it would make now."""
        precision_recall = self.settings.precision_recall and self.reference.features is not None
        wanted = {self.extractor.prefix + "precision"} if precision_recall else set()
        return [x for x in lines if same_protocol(x["protocol"], self.protocol) and wanted <= x["scores"].keys()]

    def _see(self, generator: nn.Module, noise: Tensor) -> Features:
        images = to_uint8(generate(generator, noise), self._parts.quantisation)
        return extract(images, self.extractor, self.device)

    def _read_reference(self, config: GanConfig, train_data: ImageData | None) -> Reference:
        where = self._parts.reference
        if where.endswith(".npz"):
            return file_reference(Path(where), self.extractor)
        if where not in ("train", "test"):
            raise UserError(f"evaluation.reference: expected train, test or a .npz file, got {where!r}")
        if config.data.name == "folder" and where == "test":
            raise UserError("evaluation.reference: a folder of images has no test split")
        data = train_data if train_data is not None and where == "train" else read_data(config.data, where)
        num = self._parts.num_real
        if num is not None and num > data.num_images:
            raise UserError(f"evaluation.num_real: {data.name} {where} has {data.num_images} images, fewer than {num}")
        see = partial(
            image_reference,
            extractor=self.extractor,
            device=self.device,
            cache=CACHE,
            world=self._world,
            watch=partial(progress, "real images"),
        )
        if num is None or num == data.num_images:
            return see(data)
        reference = see(draw_images(data, num, SEED))
        return replace(reference, identity=reference.identity | {"drawn_by_seed": SEED})


def progress(what: str, items: Sequence[Any]) -> Sequence[Any]:
    """Show a bar of passes over images, beneath a training's, on a terminal."""
    if not sys.stderr.isatty():
        return items
    bar: Sequence[Any] = tqdm(items, what, leave=False, position=1, unit=" images", unit_scale=PASS)
    return bar


def score_lines(lines: list[dict[str, Any]]) -> list[str]:
    """Say scores in words, one line for each evaluation."""
    return [f"step {line['step']}: {scores_in_words(line['scores'])} ({_sides(line['protocol'])})" for line in lines]


def scores_in_words(scores: Mapping[str, float]) -> str:
    """Say scores in words, with the spread over splits of IS."""

    def spread(name: str) -> str:
        return f" +- {scores[name + '_std']:.2g} over splits" if name.endswith("IS") else ""

    return ", ".join(f"{name} {value:.4g}{spread(name)}" for name, value in scores.items() if "_std" not in name)


def _sides(protocol: Mapping[str, Any]) -> str:
    num_real = protocol["reference"]["num"]
    few = "; few, so FID is too high" if protocol["few_images"] else ""
    return f"{protocol['name']}: {protocol['num_fake']} generated, {num_real or 'unknown number of'} real{few}"
