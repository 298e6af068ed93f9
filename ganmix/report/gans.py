"""GANs' runs, and the protocols that score what they generate."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ganmix.config.common import FolderData
from ganmix.config.gan import GanConfig
from ganmix.report.kinds import ARXIV, Paper, Protocol, Run, data_in_words, mixup_in_words, not_default

SUBJECT = "GANs"

_QUANTISATIONS = {"round": "rounded", "truncate": "truncated"}
_BATCH_NORMS = {"running": "running means", "batch": "each batch's own", "standing": "standing statistics"}


@dataclass(frozen=True, eq=False)
class GanRun(Run):
    """A GAN's run."""

    kind: ClassVar[str] = "GAN"

    config: GanConfig

    @property
    def subject(self) -> str:
        return SUBJECT

    @property
    def steps(self) -> int:
        return self.config.training.steps

    @property
    def images_per_step(self) -> int:
        return self.config.training.n_dis * self.config.training.batch_size

    @property
    def mixing(self) -> dict[str, str]:
        return {"mixup": self.method}

    @property
    def method(self) -> str:
        mixup = self.config.mixup
        if mixup is None:
            return "no mixup"
        others = not_default(mixup, but=["alpha", "stages", "pairs"])
        return mixup_in_words("+".join(mixup.pairs), mixup.stages, mixup.alpha, others)

    @property
    def mixes(self) -> str:
        return "nothing" if self.config.mixup is None else "+".join(sorted(self.config.mixup.pairs, reverse=True))

    @property
    def trained_on(self) -> str:
        data = self.config.data
        return data_in_words(data.path if isinstance(data, FolderData) else data.name, data.resolution, data.num_images)

    @property
    def paper(self) -> Paper | None:
        row = self.config.paper
        if row is None:
            return None
        return Paper(row.table, "CIFAR-10, Inception", row.row, row.values, row.spreads, "over splits")

    def sample_grid(self) -> tuple[int, Path] | None:
        """Return the last grid of generated images and its step."""
        grids = {int(path.stem.rpartition("_")[2]): path for path in (self.path / "samples").glob("fakes_*.png")}
        return max(grids.items(), default=None)

    def real_grid(self) -> Path | None:
        """Return the grid of real images."""
        path = self.path / "samples" / "reals.png"
        return path if path.is_file() else None


@dataclass(frozen=True)
class GanProtocol(Protocol):
    """How generated images were scored."""

    @property
    def subject(self) -> str:
        return SUBJECT

    @property
    def title(self) -> str:
        return "Scores"

    @property
    def rank(self) -> int:
        return 0

    @property
    def num_images(self) -> int | None:
        num: int | None = self.parts.get("reference", {}).get("num")
        return num

    @property
    def warning(self) -> str | None:
        few = "Few images: FID grows as images become fewer, by more than most methods differ."
        return few if self.parts.get("few_images") else None

    @property
    def spread_note(self) -> str:
        return "± is the standard deviation over seeds (n - 1), not the one over splits of the generated images."

    def paper_note(self, tables: Mapping[str, list[str]]) -> str:
        return (
            f"The paper's values are those of its {', '.join(tables)} ({ARXIV}): CIFAR-10, Inception, averages of 3 "
            "runs, ± over splits. It does not say which real images its FIDs are against: the authors' code reads "
            "unpublished statistics, most likely those of the training images (protocol paper); its branch for test "
            "images is never called (paper_test). Rows carry its names where their configs do. Values compare with it "
            "only on CIFAR-10 by Inception; elsewhere the order of rows and the sign of a difference do."
        )

    def in_brief(self) -> str:
        reference = self.parts.get("reference", {})
        seen = f"{self._generated()} against {_real_images(reference)}, seen by {self._extractor()}"
        return f"by protocol '{self.name}': {seen}"

    def in_words(self) -> list[str]:
        parts, reference = self.parts, self.parts.get("reference", {})
        words = [f"{self._generated()} against {_real_images(reference)} [{str(reference.get('digest', '?'))[:8]}]"]
        words.append(f"seen by {self._extractor()} [{str(parts.get('extractor_digest', '?'))[:8]}]")
        if "quantisation" in parts:
            words.append(f"{_QUANTISATIONS.get(parts['quantisation'], parts['quantisation'])} to bytes")
        if "batch_norm" in parts:
            words.append(f"batch norm by {_BATCH_NORMS.get(parts['batch_norm'], parts['batch_norm'])}")
        if "ema" in parts:
            words.append("moving average of G's weights" if parts["ema"] else "G's weights themselves, no average")
        return words

    def _generated(self) -> str:
        return f"{self.parts['num_fake']:,} generated" if "num_fake" in self.parts else "generated"

    def _extractor(self) -> str:
        name = self.parts.get("extractor", "?")
        return "Inception" if name == "inception" else f"the classifier {name}"


def _real_images(reference: Mapping[str, Any]) -> str:
    num = reference.get("num")
    count = f"{num:,} real images" if num else "an unknown number of real images"
    if "file" in reference:
        return f"{count} (statistics in {reference['file']})"
    drawn = ", drawn at random" if "drawn_by_seed" in reference else ""
    return f"{count} ({reference.get('dataset', '?')} {reference.get('split', '?')}{drawn})"
