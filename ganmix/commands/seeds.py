"""One config over several seeds: each trains in a process and a folder of its own, some of them side by side."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ruamel.yaml import YAML

from ganmix.engine.progress import say
from ganmix.engine.signals import handling_signals
from ganmix.errors import DivergedError, UserError

POLL_SECONDS = 0.05
PROGRESS_SECONDS = 30  # between lines about trainings that run side by side
SOURCE = Path(__file__).parents[2]  # the folder that `ganmix` is in
ENDINGS = {None: "not started", 0: "done", 128 + signal.SIGINT: "stopped", 128 + signal.SIGTERM: "stopped"}


def run_seeds(
    program: str, config_path: Path, overrides: Sequence[str], run_dir: Path, seeds: Sequence[int], jobs: int
) -> int:
    """Train a config with each seed, into `run_dir`/seed-N; the same call resumes.

    After a SIGINT or SIGTERM the running trainings finish their step and save, and no other starts. After a second one
    they stop at once. A training that diverges or fails does not stop the others. But none starts after one that cannot
    use its config, data or folder, since the next could not either.

    Args:
        program: the verb, "train-gan" or "train-classifier".
        overrides: `key=value` each; none sets the seed.
        run_dir: the folder of all the runs.
        seeds: at least 0, all different.
        jobs: trainings side by side, at least 1. Several share the cores, unless OMP_NUM_THREADS is set, and each
            writes into log.txt in its folder; a single one has the terminal.

    Returns:
        The exit status: after a signal 128 + its number; 2 where a config, data or a folder cannot be used; otherwise
        that of the first training that neither ended nor diverged, 3 if one diverged, and 0.

    Raises:
        UserError: an argument is out of its range.
    """
    _check(overrides, seeds, jobs)
    jobs = min(jobs, len(seeds))
    trainings = [Training(seed, run_dir / f"seed-{seed}", with_log=jobs > 1) for seed in seeds]
    signals = _train(trainings, lambda training: command(program, config_path, overrides, training), jobs)
    for training in trainings:
        training.report()
    say(f"table        python -m ganmix report {shlex.quote(str(run_dir))}")
    if signals:
        say(f"stopped by {signal.Signals(signals[0]).name}; the same command goes on from here")
        return 128 + signals[0]
    failed = [training.status for training in trainings if training.status]
    if UserError.exit_status in failed:
        return UserError.exit_status
    return next((status for status in failed if status != DivergedError.exit_status), max(failed, default=0))


class Training:
    """The training of one seed into a folder: its output goes into log.txt there, or to the terminal."""

    process: subprocess.Popen[bytes]

    def __init__(self, seed: int, folder: Path, *, with_log: bool):
        self.seed = seed
        self.folder = folder
        self.log = folder / "log.txt" if with_log else None
        self.status: int | None = None  # once it has ended: exit status, or 128 + the number of a signal
        self._start_of_log = 0

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start its process; raise OSError where the log cannot be written."""
        if self.log is None:
            self.process = subprocess.Popen(arguments, env=environment)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._start_of_log = log.tell()
            self.process = subprocess.Popen(
                arguments, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def has_ended(self) -> bool:
        code = self.process.poll()
        if code is not None:
            self.status = code if code >= 0 else 128 - code
        return code is not None

    def last_line(self) -> str:
        """Return the last line of the log that this process wrote."""
        written = self.log.read_bytes()[self._start_of_log :] if self.log and self.log.exists() else b""
        return written.decode(errors="replace").rstrip().rpartition("\n")[2]

    def report(self, event: str | None = None) -> None:
        """Print an event, or how the training ended."""
        status = self.status or 0
        failure = ": ".join(filter(None, [f"exit status {status}", self.last_line()]))
        other = f"killed by signal {status - 128}" if status > 128 else failure
        say(f"seed {self.seed:<7} {event or ENDINGS.get(self.status, other)}, {self.log or self.folder}")


def command(program: str, config_path: Path, overrides: Sequence[str], training: Training) -> list[str]:
    """Return the command line of a training."""
    folder = json.dumps(str(training.folder), ensure_ascii=False)  # a string in YAML, whatever is in it
    own = [f"run.seed={training.seed}", f"run.dir={folder}"]
    return [sys.executable, "-m", "ganmix", program, str(config_path), *overrides, *own]


def _train(trainings: Sequence[Training], command_of: Callable[[Training], list[str]], jobs: int) -> list[int]:
    """Run trainings, `jobs` side by side; return the signals that came meanwhile."""
    environment = _environment(jobs)
    waiting, running = list(trainings), list[Training]()
    arrived, handled = list[int](), list[int]()  # signals
    progress_at = time.monotonic() + PROGRESS_SECONDS
    with handling_signals(arrived.append):
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    training = waiting.pop(0)
                    training.report("starts")
                    try:
                        training.start(command_of(training), environment)
                        running.append(training)
                    except OSError as error:
                        say(f"error: run.dir: cannot write to {error.filename} ({error.strerror})")
                        training.status = UserError.exit_status
                        waiting.clear()
                time.sleep(POLL_SECONDS)
                for training in [training for training in running if training.has_ended()]:
                    running.remove(training)
                    training.report()
                    if training.status == UserError.exit_status:
                        waiting.clear()
                while arrived:
                    handled.append(arrived.pop(0))
                    waiting.clear()
                    # A Ctrl-C at a terminal reaches every process in its foreground; a second one would be too many.
                    if handled[-1] == signal.SIGTERM or not _in_foreground():
                        for training in running:
                            training.process.send_signal(handled[-1])
                    if len(handled) == 1 and jobs > 1:
                        say("finishing these steps and saving; once more to stop at once")
                if jobs > 1 and time.monotonic() > progress_at:
                    progress_at = time.monotonic() + PROGRESS_SECONDS
                    for training in running:
                        say(f"seed {training.seed:<7} {training.last_line() or 'is starting'}")
        finally:  # after any error here no training may run on unseen
            for training in running:
                training.process.terminate()
                training.process.wait()
    return handled


def _check(overrides: Sequence[str], seeds: Sequence[int], jobs: int) -> None:
    problems = [f"--seeds: {seed} is given twice" for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]
    problems += [f"--seeds: a seed must be at least 0, got {seed}" for seed in seeds if seed < 0]
    if jobs < 1:
        problems.append(f"--jobs must be at least 1, got {jobs}")
    for override in overrides:
        key, _, value = override.partition("=")
        section = YAML(typ="safe", pure=True).load(value) if key == "run" else None
        if key == "run.seed" or (isinstance(section, dict) and "seed" in section):
            problems.append(f"command line {override!r}: --seeds already sets the seed")
    if problems:
        raise UserError(problems)


def _environment(jobs: int) -> dict[str, str]:
    environment = dict(os.environ)
    if jobs > 1:  # threads that share cores wait for each other: two trainings are several times slower then
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // jobs)))
    if SOURCE.name not in ("site-packages", "dist-packages"):  # not installed: `python -m` may not find it
        environment["PYTHONPATH"] = os.pathsep.join([str(SOURCE), *filter(None, [environment.get("PYTHONPATH")])])
    return environment


def _in_foreground() -> bool:
    try:
        with Path("/dev/tty").open() as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # there is no terminal
        return False
