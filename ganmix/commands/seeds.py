"""One config over several seeds: each a training in a process and a folder of its own, some of them side by side."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ruamel.yaml import YAML

from ganmix.commands.screen import Screen
from ganmix.engine.signals import handling_signals
from ganmix.errors import DivergedError, UserError

POLL_SECONDS = 0.1
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
SOURCE = Path(__file__).parents[2]  # the folder with `ganmix` in it


def run_seeds(
    program: str, config_path: Path, overrides: Sequence[str], run_dir: Path, seeds: Sequence[int], jobs: int
) -> int:
    """Train a config with each of some seeds, into `run_dir`/seed-N; the same call goes on where it was stopped.

    After a SIGINT or SIGTERM the running trainings finish their step and save, and no others start; after a second one
    they do not save. A training that diverges or fails does not stop the others; but after one that cannot use its
    config or data none starts, since the next could not either.

    Args:
        program: the verb, "train-gan" or "train-classifier".
        config_path: the YAML.
        overrides: `key=value` each; none sets the seed.
        run_dir: the folder of all the runs.
        seeds: at least 0, none twice.
        jobs: trainings side by side, at least 1. More than one share the cores, unless OMP_NUM_THREADS is set, and
            each writes into log.txt in its folder; a single one has the terminal.

    Returns:
        The exit status: after a signal 128 + its number; 2 where a config or data cannot be used; otherwise that of
        the first training that neither ended nor diverged, 3 if one diverged, and 0.

    Raises:
        UserError: an argument out of its range, or a folder that cannot be written.
    """
    _check(overrides, seeds, jobs)
    jobs = min(jobs, len(seeds))
    environment = _environment(jobs)
    screen = Screen()
    trainings = [Training(seed, run_dir / f"seed-{seed}", with_log=jobs > 1) for seed in seeds]
    signals = _Signals()
    with handling_signals(signals.receive):
        try:
            while True:
                for training in trainings:
                    if training.ends():
                        screen.say(training.errors())
                        screen.say([training.in_words()])
                unusable = any(training.status == UserError.exit_status for training in trainings)
                waiting = [] if signals.received or unusable else [t for t in trainings if t.process is None]
                for training in waiting[: jobs - sum(t.running for t in trainings)]:
                    training.start(command(program, config_path, overrides, training), environment)
                    screen.say([training.in_words()])
                running = [training for training in trainings if training.running]
                if not running:
                    break
                if signals.pass_on(running) and jobs > 1:
                    screen.say(["finishing these steps and saving; once more to stop at once"])
                screen.show({t.seed: t.last_line() for t in running if t.log is not None})
                time.sleep(POLL_SECONDS)
        finally:  # whatever went wrong here: no training goes on unseen
            for training in trainings:
                training.end()
    screen.clear()
    screen.say([training.in_words() for training in trainings])
    screen.say([f"table        python -m ganmix report {shlex.quote(str(run_dir))}"])
    if signals.received:
        screen.say([f"stopped by {signal.Signals(signals.received[0]).name}; the same command goes on from here"])
        return 128 + signals.received[0]
    return _status([training.status for training in trainings if training.status is not None])


def command(program: str, config_path: Path, overrides: Sequence[str], training: "Training") -> list[str]:
    """Return the command line of one training."""
    folder = json.dumps(str(training.folder), ensure_ascii=False)  # a string in YAML, whatever is in it
    own = [f"run.seed={training.seed}", f"run.dir={folder}"]
    return [sys.executable, "-m", "ganmix", program, str(config_path), *overrides, *own]


class Training:
    """One seed's training: not started, running or ended.

    Args:
        seed: its seed.
        folder: its run's.
        with_log: write what it says into log.txt there; otherwise it has the terminal.
    """

    def __init__(self, seed: int, folder: Path, *, with_log: bool):
        self.seed = seed
        self.folder = folder
        self.log = folder / "log.txt" if with_log else None
        self.process: subprocess.Popen[bytes] | None = None
        self.status: int | None = None  # exit status, 128 + the number of a signal that ended it
        self._log_start = 0  # where in the log this process began

    @property
    def running(self) -> bool:
        """Whether it is."""
        return self.process is not None and self.status is None

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it.

        Raises:
            UserError: the log cannot be written.
        """
        if self.log is None:
            self.process = subprocess.Popen(arguments, env=environment)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self._log_start = log.tell()
                self.process = subprocess.Popen(
                    arguments, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
        except OSError as error:
            raise UserError(f"run.dir: cannot write to {error.filename} ({error.strerror})") from error

    def ends(self) -> bool:
        """Tell whether it ended since this was asked last."""
        code = self.process.poll() if self.running and self.process is not None else None
        if code is None:
            return False
        self.status = code if code >= 0 else 128 - code
        return True

    def end(self) -> None:
        """Let it finish its step and save, if it runs, and wait for it."""
        if self.running and self.process is not None:
            self.process.terminate()
            self.process.wait()

    def last_line(self) -> str:
        """Return what the log says last."""
        return (self._log_lines() or [""])[-1]

    def errors(self) -> list[str]:
        """Return what the log says of a config or data that cannot be used."""
        return [line for line in self._log_lines() if line.startswith("error: ")]

    def in_words(self) -> str:
        """Say how it stands, in a line."""
        if self.process is None:
            state = "not started"
        elif self.status is None:
            state = f"started, {self.log or self.folder}"
        elif self.status == 0:
            state = f"done, {self.folder}"
        elif self.status == DivergedError.exit_status:
            why = self.last_line() or "diverged"
            state = f"{why}, {self.folder}"
        elif self.status in STOPPED:
            state = f"stopped, {self.folder}"
        elif self.status > 128:
            state = f"killed by signal {self.status - 128}, {self.log or self.folder}"
        else:
            state = f"failed with exit status {self.status}, {self.log or self.folder}"
        return f"seed {self.seed:<7} {state}"

    def _log_lines(self) -> list[str]:
        if self.log is None or self.process is None:
            return []
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - 4096))
            text = log.read().decode(errors="replace")
        return [line.strip() for line in text.splitlines() if line.strip()]


def _check(overrides: Iterable[str], seeds: Sequence[int], jobs: int) -> None:
    problems = [f"--seeds: {seed} is there twice" for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]
    problems += [f"--seeds: a seed must be at least 0, got {seed}" for seed in seeds if seed < 0]
    if jobs < 1:
        problems.append(f"--jobs must be at least 1, got {jobs}")
    for override in overrides:
        key, _, value = override.partition("=")
        section = YAML(typ="safe", pure=True).load(value) if key == "run" else None
        if key == "run.seed" or (isinstance(section, dict) and "seed" in section):
            problems.append(f"command line {override!r}: --seeds sets the seed already")
    if problems:
        raise UserError(problems)


def _environment(jobs: int) -> dict[str, str]:
    """Return the trainings' environment: each with its share of the cores.

    Threads of several processes on the same cores wait for one another: two trainings of two threads each on two
    cores are several times slower than of one thread each.
    """
    environment = dict(os.environ)
    if jobs > 1:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // jobs)))
    if SOURCE.name not in ("site-packages", "dist-packages"):  # not installed: `python -m` may not find it
        environment["PYTHONPATH"] = os.pathsep.join([str(SOURCE), *filter(None, [environment.get("PYTHONPATH")])])
    return environment


def _status(statuses: Iterable[int]) -> int:
    """Return the status of all: that of the worst one, a diverged one being better than a failed one."""
    failed = [status for status in statuses if status]
    if UserError.exit_status in failed:
        return UserError.exit_status
    return next((status for status in failed if status != DivergedError.exit_status), max(failed, default=0))


class _Signals:
    """Notes each SIGINT and SIGTERM, and passes on those that the trainings did not get themselves."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._due: list[int] = []

    def receive(self, signum: int) -> None:
        self.received.append(signum)
        self._due.append(signum)

    def pass_on(self, running: Iterable[Training]) -> bool:
        """Pass on what came since the last call; tell whether it was the first."""
        due, self._due = self._due, []
        for signum in due:
            # Ctrl-C at a terminal reaches all the processes in its foreground. Twice would be once too often.
            if signum == signal.SIGTERM or not _in_foreground():
                for training in running:
                    assert training.process is not None
                    training.process.send_signal(signum)
        return bool(due) and len(due) == len(self.received)


def _in_foreground() -> bool:
    try:
        with Path("/dev/tty").open() as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # there is no terminal
        return False
