"""Protocols in words: of GANs on generated images, of classifiers on images of a data set."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from ganmix.report.runs import Run

PAPERS_EPSILON = 0.03  # of Table 5
COMPARABLE_IN = "elsewhere, compare the order of the rows and the signs of the differences."


# By `what`, in the order of the chapters: the title, and the words for its own parts.
EVALUATIONS: dict[str, tuple[str, list[str]]] = {
    "clean": ("Clean test images", []),
    "attacks": (
        "Attacks",
        [
            "FGSM and PGD change a pixel by at most {epsilon} {space}, clamped to {clamp}",
            "PGD takes {pgd_steps} steps of {pgd_step} from a start {pgd_start} (seed {seed})",
            "the attacked loss is the {attacked_loss}",
        ],
    ),
    "unbounded": (
        "Unbounded attack",
        [
            "PGD may change a pixel by any amount, clamped to {clamp}: {steps} steps of {step_size} of the range from "
            "{pgd_start}",
            "the attacked loss is the {attacked_loss}",
            "a check: the accuracy is near 0 unless gradients are masked",
        ],
    ),
    "deformations": (
        "Deformations",
        [
            "images are rotated and sheared by random angles within ± (seed {seed}), and zoomed to the given size",
            "{interpolation} interpolation, {fill} outside of the image",
        ],
    ),
    "interpolation": (
        "Interpolations",
        [
            "two images are mixed at the input of each stage: {pairs} (seed {seed})",
            "NLL of labels mixed with the same lambda: the mean over {num_lambdas} values of lambda from 0 to 1",
        ],
    ),
}
WORDS: dict[str, dict[Any, str]] = {  # of parts: the words for each value
    "clamp": {True: "its range", False: "no range"},
    "space": {"pixel": "of its range", "normalised": "standard deviations of its channel"},
    "quantisation": {"round": "rounded", "truncate": "truncated"},
    "batch_norm": {"running": "running means", "batch": "each batch's statistics", "standing": "standing statistics"},
}
_IMAGES_AND_NETWORK = {"name", "what", "dataset", "split", "num", "digest", "ema", "selected_by"}


@dataclass(frozen=True, eq=False)
class Protocol:
    """A protocol in words.

    Args:
        digest: equal for protocols whose scores compare.
        parts: as in `Measurement.protocol`.
        names: all its names, maybe none.
        subject: see `Description.subject`.
        title: of its chapter; protocols with one title measure the same thing in different ways.
        place: among the protocols of its subject, the least first.
        num_images: images of a data set that it uses; None: unknown.
        brief: the end of the sentence "The runs were scored ...".
        details: all its parts, each in a few words.
        spread_note: the meaning of ±.
        paper_note: how the paper got its values, and how far they compare.
        num_generated: images that a generator makes for it; None: none.
        warning: shown before the numbers.
        selected_by: the images that selected the checkpoint, "validation" or "test"; None: it is the last step's.
        on_validation: whether it scores validation images, which serve to select a checkpoint.
        repeats_paper: whether the paper has values for it.
    """

    digest: str
    parts: Mapping[str, Any]
    names: Sequence[str]
    subject: str
    title: str
    place: int
    num_images: int | None
    brief: str
    details: list[str]
    spread_note: str
    paper_note: str
    num_generated: int | None = None
    warning: str = ""
    selected_by: str | None = None
    on_validation: bool = False
    repeats_paper: bool = True

    @property
    def name(self) -> str:
        """The name to show; the title where it has none."""
        return ", ".join(self.names) or self.title


def find_protocols(runs: Sequence[Run]) -> list[Protocol]:
    """Return the protocols that scored the runs: first those of classifiers; within a subject, the most used first."""
    users: dict[str, dict[Run, None]] = {}
    parts: dict[str, list[Mapping[str, Any]]] = {}  # they differ by their names only
    for run in runs:
        for each in run.measurements:
            users.setdefault(each.protocol_digest, {})[run] = None
            parts.setdefault(each.protocol_digest, []).append(each.protocol)
    found = []
    for digest, alike in parts.items():
        words = next(iter(users[digest])).words
        names = list(dict.fromkeys(each["name"] for each in alike if each.get("name")))
        describe = _gan_protocol if words.kind == "GAN" else _classifier_protocol
        found.append(describe(digest, alike[-1], names, words.subject))
    subjects = list(dict.fromkeys(run.words.subject for run in sorted(runs, key=lambda run: run.words.kind == "GAN")))

    def order(protocol: Protocol) -> tuple[int, int, int, bool]:
        # A config asks for the checkpoint that validation images select, so this comes before the last one.
        is_last_step = protocol.selected_by is None
        return subjects.index(protocol.subject), protocol.place, -len(users[protocol.digest]), is_last_step

    return sorted(found, key=order)


def differing_parts(protocols: Iterable[Protocol]) -> list[str]:
    """Return the names of the parts in which protocols differ."""
    parts = [{key: value for key, value in protocol.parts.items() if key != "name"} for protocol in protocols]
    keys = sorted({key for part in parts for key in part})
    return [key for key in keys if any(part.get(key) != parts[0].get(key) for part in parts)]


def _gan_protocol(digest: str, parts: Mapping[str, Any], names: Sequence[str], subject: str) -> Protocol:
    reference = parts["reference"]
    extractor = "Inception" if parts["extractor"] == "inception" else f"the {parts['extractor']} classifier"
    images = f"{parts['num_fake']:,} generated images against {_real_images(reference)}"
    return Protocol(
        digest,
        parts,
        names,
        subject,
        title="Scores",
        place=0,
        num_images=reference["num"],
        num_generated=parts["num_fake"],
        brief=f"by protocol '{', '.join(names)}': {images}, with features of {extractor}",
        details=[
            f"{images} [{reference['digest'][:8]}]",
            f"features of {extractor} [{parts['extractor_digest'][:8]}]",
            f"{WORDS['quantisation'][parts['quantisation']]} to bytes",
            f"batch norm with {WORDS['batch_norm'][parts['batch_norm']]}",
            "moving average of G's weights" if parts["ema"] else "G's own weights, no moving average",
        ],
        warning="Few images: FID grows as images become fewer, by more than most methods differ."
        if parts["few_images"]
        else "",
        spread_note="± is the standard deviation over seeds (n - 1). It is not the spread over splits of the images.",
        paper_note="They are for CIFAR-10 with features of Inception: means of 3 runs. The paper does "
        "not say which real images its FIDs use. The authors' code reads unpublished statistics, most likely those of "
        "the training images (protocol paper). Its branch for test images is never called (paper_test). Compare the "
        f"values only on CIFAR-10 with Inception; {COMPARABLE_IN}",
    )


def _real_images(reference: Mapping[str, Any]) -> str:
    count = f"{reference['num']:,} real ones" if reference["num"] else "an unknown number of real ones"
    if "file" in reference:
        return f"{count} (statistics in {reference['file']})"
    drawn = ", drawn at random" if "drawn_by_seed" in reference else ""
    return f"{count} ({reference['dataset']} {reference['split']}{drawn})"


def _classifier_protocol(digest: str, parts: Mapping[str, Any], names: Sequence[str], subject: str) -> Protocol:
    what, selected_by = parts["what"], parts.get("selected_by")
    title, templates = EVALUATIONS.get(what, (what, []))
    place = [*EVALUATIONS, what].index(what)  # one without an entry comes last
    on_validation = parts["split"] == "validation"
    if on_validation:
        title = "Validation images" if what == "clean" else f"{title}, validation images"
    at_best = f"at the best {selected_by} accuracy" if selected_by else ""
    title = f"{title} {at_best}".rstrip()
    images = f"{parts['num']:,} {parts['split']} images of {parts['dataset']}"
    details = [f"{images} [{parts['digest'][:8]}]" if "digest" in parts else f"{images}, drawn by each run's seed"]
    own = {key for template in templates for _, key, _, _ in Formatter().parse(template) if key}
    words = {key: WORDS[key][parts[key]] if key in WORDS else parts[key] for key in own}
    details += [template.format_map(words) for template in templates]
    others = parts.keys() - _IMAGES_AND_NETWORK - own
    details += [f"{key.replace('_', ' ')}: {value}" for key, value in parts.items() if key in others]
    details.append("moving average of the weights" if parts["ema"] else "the weights themselves, no moving average")
    of_test = selected_by == "test"
    return Protocol(
        digest,
        parts,
        names,
        subject,
        title=title,
        place=2 * place + (of_test or on_validation),
        num_images=parts["num"],
        brief=f"on {images}" + (f" ({title.lower()})" if what != "clean" else f" {at_best}").rstrip(),
        details=[*details, *([f"checkpoint {at_best}"] if at_best else [])],
        warning="Test images selected the step, as in the authors' code: this is no honest estimate."
        if of_test
        else "",
        selected_by=selected_by,
        on_validation=on_validation,
        repeats_paper=not on_validation and parts.get("epsilon", PAPERS_EPSILON) == PAPERS_EPSILON,
        spread_note="± is the standard deviation over seeds (n - 1).",
        paper_note="The paper does not name the epoch. The authors' code took the epoch with the best test accuracy, "
        f"for Table 4 with the best validation accuracy. {_attack_note(parts) if what == 'attacks' else ''}Compare the "
        f"values only for the same data, network and epochs; {COMPARABLE_IN}",
    )


def _attack_note(parts: Mapping[str, Any]) -> str:
    if parts["space"] == "normalised":
        return "Images were attacked as in the authors' code: normalised, and clamped to no range. "
    return (
        f"The authors' code attacked normalised images. There an epsilon of {PAPERS_EPSILON} moves a pixel of CIFAR-10 "
        "by only 2/255, about a quarter of what it does here. "
    )
