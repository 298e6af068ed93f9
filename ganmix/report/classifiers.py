"""Classifiers' runs, and the protocols that score them on clean, attacked, deformed and mixed images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar

from ganmix.config.classifier import ClassifierConfig, Mixup
from ganmix.report.kinds import ARXIV, Paper, Protocol, Run, data_in_words, mixup_in_words, not_default

DEFORMATIONS = ("rotation ", "shear ", "zoom ")  # what their scores' names begin with

# In the order of the chapters. Clean images go by their split, and chosen networks by what chose them.
TITLES = {
    "clean": "Clean test images",
    "attacks": "Attacks",
    "unbounded": "Attack without bound",
    "deformations": "Deformations",
    "interpolation": "Interpolations",
}
PAPERS_EPSILON = 0.03  # of Table 5
_TRIALS = {"Table 4": "over 5 trials"}


@dataclass(frozen=True, eq=False)
class ClassifierRun(Run):
    """A classifier's run."""

    kind: ClassVar[str] = "classifier"

    config: ClassifierConfig

    @property
    def subject(self) -> str:
        return self.config.data.name

    @property
    def steps(self) -> int:
        told = [line["total_steps"] for line in self.sessions if "total_steps" in line]
        return told[-1] if told else self.config.training.steps or self.steps_done

    @property
    def images_per_step(self) -> int:
        semi = self.config.semi_supervised
        return self.config.training.batch_size + (semi.batch_size if semi is not None else 0)

    @property
    def mixing(self) -> dict[str, str]:
        cutmix, semi = self.config.cutmix, self.config.semi_supervised
        words = {"mixup": "no mixup", "cutmix": "no CutMix", "semi_supervised": "no unlabelled images"}
        if self.config.mixup is not None:
            words["mixup"] = _mixup(self.config.mixup)
        if cutmix is not None:
            words["cutmix"] = f"CutMix, alpha {cutmix.alpha:g}"
        if semi is not None:
            others = not_default(semi, but=["batch_size", "mixup"])
            words["semi_supervised"] = ", ".join([f"unlabelled {_mixup(semi.mixup)}", *others])
        return words

    @property
    def method(self) -> str:
        words = self.mixing
        labelled = words["mixup"] if self.config.cutmix is None else words["cutmix"]
        if self.config.semi_supervised is None:
            return labelled
        return f"semi-supervised: labelled {labelled.replace('no mixup', 'not mixed')}; {words['semi_supervised']}"

    @property
    def mixes(self) -> str:
        mixup = self.config.mixup if self.config.semi_supervised is None else self.config.semi_supervised.mixup
        if mixup is None:
            return "nothing" if self.config.cutmix is None else "boxes"
        if mixup.block_gradients:
            return "blocked"
        return "input" if set(mixup.stages) <= {0, "input"} else "hidden"

    @property
    def trained_on(self) -> str:
        data, network = self.config.data, self.config.network
        keys = network.model_dump(exclude={"name"})
        details = [", ".join([network.name, *(f"{key} {value}" for key, value in keys.items())])]
        if data.labels_per_class is not None:
            details.insert(0, f"{data.labels_per_class:,} labels a class")
        return f"{data_in_words(data.name, data.resolution, data.num_images)} ({'; '.join(details)})"

    @property
    def paper(self) -> Paper | None:
        row = self.config.paper
        if row is None:
            return None
        spread_of = _TRIALS.get(row.table, "the paper's own")
        means = {name: round(value, 2) for name, value in with_mean(row.values).items() if name not in row.values}
        return Paper(row.table, row.table, row.row, {**row.values, **means}, row.spreads, spread_of)


@dataclass(frozen=True)
class ClassifierProtocol(Protocol):
    """On which images, and what was done to them, a classifier was scored."""

    @property
    def subject(self) -> str:
        return str(self.parts.get("dataset", "?"))

    @property
    def title(self) -> str:
        what = self.parts["what"]
        title = TITLES.get(what, what)
        if self.of_validation:
            title = "Validation images" if what == "clean" else f"{title}, validation images"
        return f"{title} at {self.chosen_by}" if self.chosen_by else title

    @property
    def rank(self) -> int:
        what, order = self.parts["what"], list(TITLES)
        place = order.index(what) if what in order else len(order)
        return 2 * place + (self.warning is not None or self.of_validation)

    @property
    def num_images(self) -> int | None:
        num: int | None = self.parts.get("num")
        return num

    @property
    def chosen_by(self) -> str | None:
        selection: str | None = self.parts.get("selection")
        return selection

    @property
    def warning(self) -> str | None:
        if self.chosen_by is None or "test" not in self.chosen_by:
            return None
        return "The step was chosen by test images, as the authors did: no honest estimate."

    @property
    def of_validation(self) -> bool:
        return self.parts.get("split") == "validation"

    @property
    def repeats_paper(self) -> bool:
        other_attack = self.parts["what"] == "attacks" and self.parts.get("epsilon") != PAPERS_EPSILON
        return not self.of_validation and not other_attack

    @property
    def spread_note(self) -> str:
        return "± is the standard deviation over seeds (n - 1)."

    def paper_note(self, tables: Mapping[str, list[str]]) -> str:
        if len(tables) == 1:
            rows = f"The paper's values are those of its {next(iter(tables))} ({ARXIV})"
        else:
            named = [f"its {table} ({'; '.join(titles)})" for table, titles in tables.items()]
            rows = f"The paper's values are those of {', '.join(named)} ({ARXIV})"
        return (
            f"{rows}. It does not say of which epoch; the authors' code took the best by test images, for Table 4 by "
            f"validation images.{self._attacked_by_the_authors()} Values compare with it only for the same data, "
            "network and epochs; elsewhere the order of rows and the sign of a difference do."
        )

    def _attacked_by_the_authors(self) -> str:
        if self.parts["what"] != "attacks":
            return ""
        if self.parts.get("space") == "normalised":
            return " Images were attacked as the authors' code attacked them: normalised, and clamped to no range."
        return (
            f" The authors' code attacked normalised images, where an epsilon of {PAPERS_EPSILON} moves a pixel of "
            "CIFAR-10 by only 2/255, about a quarter of what it does here."
        )

    def in_brief(self) -> str:
        under = "" if self.parts["what"] == "clean" else f" ({self.title.lower()})"
        chosen = f", at the step of {self.chosen_by}" if self.chosen_by else ""
        return f"on {self._images()}{under}{chosen}"

    def in_words(self) -> list[str]:
        parts = self.parts
        shown = {"dataset", "split", "num", "digest", "what", "ema", "selection", *_SHOWN.get(parts["what"], ())}
        which = "drawn by each run's seed" if self.of_validation else f"[{str(parts.get('digest', '?'))[:8]}]"
        words = [f"{self._images()} {which}", *self._measured()]
        words += [f"{key.replace('_', ' ')}: {value}" for key, value in parts.items() if key not in shown]
        if "ema" in parts:
            words.append("moving average of the weights" if parts["ema"] else "the weights themselves, no average")
        if self.chosen_by:
            words.append(f"at the step of {self.chosen_by}")
        return words

    def _images(self) -> str:
        num = f"{self.num_images:,} " if self.num_images is not None else ""
        return f"{num}{self.parts.get('split', 'unknown')} images of {self.subject}"

    def _measured(self) -> list[str]:
        """Say what was done to the images."""
        value = {key: self.parts.get(key, "?") for key in _SHOWN.get(self.parts["what"], ())}
        match self.parts["what"]:
            case "attacks":
                reach = f"{value['epsilon']} {_UNITS.get(value['space'], value['space'])}"
                reach += " and keep it within" if value["clamp"] is True else ""
                return [
                    f"FGSM and PGD that change a pixel by at most {reach}",
                    f"PGD: {value['pgd_steps']} steps of {value['pgd_step']}, seed {value['seed']}",
                ]
            case "unbounded":
                steps = f"a pixel's range: {value['steps']} steps of {value['step_size']} of it"
                return [f"PGD with no bound on the change but {steps}", "a check: near 0 unless gradients are masked"]
            case "deformations":
                return ["turned and sheared by random angles within ±, zoomed by the per cent given"]
            case "interpolation":
                return [
                    f"{value['pairs']}, mixed at the input of each stage",
                    f"NLL of equally mixed labels: mean over {value['num_lambdas']} lambdas from 0 to 1",
                ]
        return []


_SHOWN = {  # what `_measured` has words for
    "attacks": ("epsilon", "space", "clamp", "pgd_step", "pgd_steps", "seed"),
    "unbounded": ("step_size", "steps", "clamp"),
    "interpolation": ("num_lambdas", "pairs"),
}
_UNITS = {"pixel": "of its range", "normalised": "standard deviations of its channel, clamped to no range"}


def told_scores(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines of scores.jsonl that say what they are of, which those of old versions do not."""
    told = [line for line in lines if "what" in line["protocol"]]
    return [
        line | {"scores": with_mean(line["scores"])} if line["protocol"]["what"] == "deformations" else line
        for line in told
    ]


def with_mean(scores: Mapping[str, float]) -> dict[str, float]:
    """Add the mean of the accuracies on deformed images, where there are any."""
    values = [value for name, value in scores.items() if name.startswith(DEFORMATIONS)]
    return {**scores, **({f"mean of {len(values)} deformations": fmean(values)} if values else {})}


def _mixup(mixup: Mixup) -> str:
    others = not_default(mixup, but=["alpha", "stages"])
    return mixup_in_words("mixup", mixup.stages, mixup.alpha, others)
