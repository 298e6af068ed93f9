"""The protocols that runs were scored by, in words: GANs' on generated images, classifiers' on images of a data set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganmix.report.runs import Run

PAPERS_EPSILON = 0.03  # of Table 5
COMPARABLE_IN = "elsewhere, compare the order of the rows and the signs of the differences."


@dataclass(frozen=True, eq=False)
class Protocol:
    """A protocol in words.

    Args:
        digest: equal for protocols whose scores compare.
        parts: as `Measurement.protocol` holds them.
        names: all that it was called by, maybe none.
        subject: see `Description.subject`.
        title: heading of what it measures; protocols with one title measure the same thing in different ways.
        place: among the protocols of its subject, the least first.
        num_images: images of a data set that it uses; None: unknown.
        num_generated: images that a generator makes for it; None: none.
        brief: the end of the sentence "The runs were scored ...".
        details: all its parts, each in a few words.
        warning: what a reader must know before the numbers.
        selected_by: what selected the checkpoint: "validation" or "test" images; None: it is the last step's.
        on_validation: whether it scores validation images, which serve to select a checkpoint.
        repeats_paper: whether the paper's values stand beside these.
        spread_note: what +- means.
        paper_note: what the paper's values are, and how far they compare.
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
    warning: str | None = None
    selected_by: str | None = None
    on_validation: bool = False
    repeats_paper: bool = True

    @property
    def name(self) -> str:
        """The name to show; the title where it has none."""
        return ", ".join(self.names) or self.title


def find_protocols(runs: Sequence[Run]) -> list[Protocol]:
    """Return the protocols that runs were scored by: classifiers' first; in a subject, that of most runs first."""
    names: dict[str, list[str]] = {}
    users: dict[str, list[Run]] = {}
    parts: dict[str, Mapping[str, Any]] = {}
    for run in runs:
        for digest, protocol in {each.protocol_digest: each.protocol for each in run.measurements}.items():
            parts[digest] = protocol
            users.setdefault(digest, []).append(run)
        for each in run.measurements:
            names.setdefault(each.protocol_digest, []).extend(filter(None, [each.protocol.get("name")]))
    found = []
    for digest, protocol in parts.items():
        words = users[digest][0].words
        describe = _gan_protocol if words.kind == "GAN" else _classifier_protocol
        found.append(describe(digest, protocol, list(dict.fromkeys(names[digest])), words.subject))
    subjects = list(dict.fromkeys(run.words.subject for run in sorted(runs, key=lambda run: run.words.kind == "GAN")))

    def order(protocol: Protocol) -> tuple[int, int, int, bool]:
        # A checkpoint that validation images selected is what its config asks for, so it comes before the last one.
        last = protocol.selected_by is None
        return subjects.index(protocol.subject), protocol.place, -len(users[protocol.digest]), last

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
    quantisation = {"round": "rounded", "truncate": "truncated"}[parts["quantisation"]]
    statistics = {"running": "running means", "batch": "each batch's statistics", "standing": "standing statistics"}
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
            f"{quantisation} to bytes",
            f"batch norm with {statistics[parts['batch_norm']]}",
            "moving average of G's weights" if parts["ema"] else "G's own weights, no moving average",
        ],
        warning="Few images: FID grows as images become fewer, by more than most methods differ."
        if parts["few_images"]
        else None,
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
    title, describe = EVALUATIONS.get(what, (what, lambda rest: []))
    place = [*EVALUATIONS, what].index(what)  # one without an entry comes last
    on_validation = parts["split"] == "validation"
    if on_validation:
        title = "Validation images" if what == "clean" else f"{title}, validation images"
    at_best = f"at the best {selected_by} accuracy" if selected_by else ""
    title = f"{title} {at_best}".rstrip()
    images = f"{parts['num']:,} {parts['split']} images of {parts['dataset']}"
    rest = {key: value for key, value in parts.items() if key not in _IMAGES_AND_NETWORK}
    details = [f"{images} [{parts['digest'][:8]}]" if "digest" in parts else f"{images}, drawn by each run's seed"]
    details += describe(rest)  # which takes out of `rest` all that it has words for
    details += [f"{key.replace('_', ' ')}: {value}" for key, value in rest.items()]
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
        else None,
        selected_by=selected_by,
        on_validation=on_validation,
        repeats_paper=not on_validation and parts.get("epsilon", PAPERS_EPSILON) == PAPERS_EPSILON,
        spread_note="± is the standard deviation over seeds (n - 1).",
        paper_note="The paper does not name the epoch. The authors' code took the epoch with the best test accuracy, "
        f"for Table 4 with the best validation accuracy. {_attack_note(parts) if what == 'attacks' else ''}Compare the "
        f"values only for the same data, network and epochs; {COMPARABLE_IN}",
    )


_IMAGES_AND_NETWORK = ("name", "what", "dataset", "split", "num", "digest", "ema", "selected_by")


def _attack_note(parts: Mapping[str, Any]) -> str:
    if parts["space"] == "normalised":
        return "Images were attacked as in the authors' code: normalised, and clamped to no range. "
    return (
        f"The authors' code attacked normalised images. There an epsilon of {PAPERS_EPSILON} moves a pixel of CIFAR-10 "
        "by only 2/255, about a quarter of what it does here. "
    )


def _attacks(rest: dict[str, Any]) -> list[str]:
    units = {"pixel": "of its range", "normalised": "standard deviations of its channel"}
    clamp = "clamped to its range" if rest.pop("clamp") else "clamped to no range"
    return [
        f"FGSM and PGD change a pixel by at most {rest.pop('epsilon')} {units[rest.pop('space')]}, {clamp}",
        f"PGD takes {rest.pop('pgd_steps')} steps of {rest.pop('pgd_step')} from a start {rest.pop('pgd_start')} "
        f"(seed {rest.pop('seed')})",
        f"the attacked loss is the {rest.pop('attacked_loss')}",
    ]


def _unbounded(rest: dict[str, Any]) -> list[str]:
    clamp = "within its range" if rest.pop("clamp") else "without a range"
    return [
        f"PGD may change a pixel by any amount {clamp}: {rest.pop('steps')} steps of {rest.pop('step_size')} of the "
        f"range from {rest.pop('pgd_start')}",
        f"the attacked loss is the {rest.pop('attacked_loss')}",
        "a check: the accuracy is near 0 unless gradients are masked",
    ]


def _deformations(rest: dict[str, Any]) -> list[str]:
    return [
        f"images are rotated and sheared by random angles within ± (seed {rest.pop('seed')}), and zoomed to the given "
        "size",
        f"{rest.pop('interpolation')} interpolation, {rest.pop('fill')} outside of the image",
    ]


def _interpolation(rest: dict[str, Any]) -> list[str]:
    return [
        f"two images are mixed at the input of each stage: {rest.pop('pairs')} (seed {rest.pop('seed')})",
        f"NLL of labels mixed alike: the mean over {rest.pop('num_lambdas')} values of lambda from 0 to 1",
    ]


# By `what`, in the order of the chapters: the title, and the words for its own parts, which they take out of a dict.
EVALUATIONS: dict[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "clean": ("Clean test images", lambda rest: []),
    "attacks": ("Attacks", _attacks),
    "unbounded": ("Unbounded attack", _unbounded),
    "deformations": ("Deformations", _deformations),
    "interpolation": ("Interpolations", _interpolation),
}
