"""The training times, hardware and libraries of runs."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from ganmix.report.groups import Group
from ganmix.report.prose import counted
from ganmix.report.runs import Run


@dataclass(frozen=True)
class Timing:
    """The training time of a group; None: its runs have no metrics.

    Args:
        steps: of each seed.
        seconds: training without evaluations and checkpoints, mean over the seeds.
        speed: images per second, median over seeds and lines of metrics.
    """

    group: Group
    steps: tuple[int, ...]
    seconds: float | None
    speed: float | None


@dataclass(frozen=True)
class Machines:
    """The machines of runs as names and texts, and warnings where they differ."""

    facts: list[tuple[str, str]]
    warnings: list[str]


def timing(group: Group) -> Timing:
    """Gather the times of a group's runs."""
    steps = tuple(run.steps_done for run in group.runs)
    seconds = [value for run in group.runs if (value := run.training_seconds) is not None]
    speeds = [speed for run in group.runs for speed in run.speeds]
    return Timing(group, steps, fmean(seconds) if seconds else None, median(speeds) if speeds else None)


def machines(runs: Sequence[Run]) -> Machines:
    """Gather the hardware, arithmetic and libraries of runs, and warn where they differ."""
    sources: dict[str, Callable[[Run], Iterable[str]]] = {
        "hardware": lambda run: [session["hardware"] for session in run.sessions],
        "arithmetic": lambda run: [_arithmetic(run)],
        "trained with": lambda run: [_versions(session["versions"]) for session in run.sessions],
        "scored with": lambda run: [_versions(each.versions) for each in run.measurements],
    }
    facts, warnings = [], []
    for name, read in sources.items():
        found = Counter(text for run in runs for text in dict.fromkeys(read(run)))  # counts runs
        several = len(found) > 1
        texts = [f"{text} ({counted(num, 'run')})" if several else text for text, num in found.items()]
        facts.append((name, "; ".join(texts) or "not recorded"))
        if several:
            warnings.append(f"The runs differ in '{name}'. This may change their numbers.")
    unknown = sum(not run.sessions for run in runs)
    if 0 < unknown < len(runs):
        warnings.append(f"{counted(unknown, 'run')} did not record hardware and libraries.")
    return Machines(facts, warnings)


def _arithmetic(run: Run) -> str:
    device = run.config.device
    return ("bfloat16 autocast" if device.bf16 else "float32") + (", compiled" if device.compile else "")


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def duration(seconds: float) -> str:
    """Write a time as "45 s", "12 min" or "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
