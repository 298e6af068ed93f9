"""One config over several seeds: each a training in a process and a folder of its own, some of them side by side."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from ruamel.yaml import YAML

from ganmix.engine.progress import say
from ganmix.engine.signals import handling_signals
from ganmix.errors import DivergedError, UserError

PROGRESS_SECONDS = 30  # between lines about trainings that run side by side
SOURCE = Path(__file__).parents[2]  # the folder that `ganmix` is in


def run_seeds(
    program: str, config_path: Path, overrides: Sequence[str], run_dir: Path, seeds: Sequence[int], jobs: int
) -> int:
    """Train a config with each seed, into `run_dir`/seed-N; the same call goes on where it was stopped.

    After a SIGINT or SIGTERM the running trainings finish their step and save, and no others start. After a second one
    they stop at once. A training that diverges or fails does not stop the others. But after one that cannot use its
    config, data or folder none starts, since the next could not either.

    Args:
        program: the verb, "train-gan" or "train-classifier".
        config_path: the YAML file.
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
    trainings = [Training(seed, run_dir / f"seed-{seed}", with_log=min(jobs, len(seeds)) > 1) for seed in seeds]
    signals = _train(trainings, lambda training: command(program, config_path, overrides, training), jobs)
    for training in trainings:
        say(training.state())
    say(f"table        python -m ganmix report {shlex.quote(str(run_dir))}")
    if signals:
        say(f"stopped by {signal.Signals(signals[0]).name}; the same command goes on from here")
        return 128 + signals[0]
    failed = [training.status for training in trainings if training.status]
    if UserError.exit_status in failed:
        return UserError.exit_status
    return next((status for status in failed if status != DivergedError.exit_status), max(failed, default=0))


class Training:
    """The training of one seed.

    Args:
        seed: its seed.
        folder: its run's.
        with_log: append its output to log.txt in `folder`; otherwise it has the terminal.
    """

    def __init__(self, seed: int, folder: Path, *, with_log: bool):
        self.seed = seed
        self.folder = folder
        self.log = folder / "log.txt" if with_log else None
        self.status: int | None = None  # once it has ended: exit status, or 128 + the number of a signal
        self._start_of_log = 0

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start its process; raise OSError where the log cannot be written."""
        if self.log is None:
            return subprocess.Popen(arguments, env=environment)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._start_of_log = log.tell()
            return subprocess.Popen(arguments, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def last_line(self) -> str:
        """Return the last line that its process wrote into the log."""
        written = self.log.read_bytes()[self._start_of_log :] if self.log and self.log.exists() else b""
        return written.decode(errors="replace").rstrip().rpartition("\n")[2]

    def state(self) -> str:
        """Return a line that says how it ended."""
        if self.status is None:
            state = "not started"
        elif self.status == 0:
            state = "done"
        elif self.status in (128 + signal.SIGINT, 128 + signal.SIGTERM):
            state = "stopped"
        elif self.status > 128:
            state = f"killed by signal {self.status - 128}"
        else:
            state = ": ".join(filter(None, [f"exit status {self.status}", self.last_line()]))
        return f"seed {self.seed:<7} {state}, {self.log or self.folder}"


def command(program: str, config_path: Path, overrides: Sequence[str], training: Training) -> list[str]:
    """Return the command line of a training."""
    folder = json.dumps(str(training.folder), ensure_ascii=False)  # a string in YAML, whatever is in it
    own = [f"run.seed={training.seed}", f"run.dir={folder}"]
    return [sys.executable, "-m", "ganmix", program, str(config_path), *overrides, *own]


def _train(trainings: Sequence[Training], command_of: Callable[[Training], list[str]], jobs: int) -> list[int]:
    """Run trainings, `jobs` side by side; return the signals that came meanwhile."""
    environment = _environment(min(jobs, len(trainings)))
    waiting, running, signals = list(trainings), dict[Training, subprocess.Popen[bytes]](), list[int]()
    events: SimpleQueue[int | tuple[Training, int]] = SimpleQueue()  # a signal, or a training with its exit code

    def start(training: Training) -> None:
        say(f"seed {training.seed:<7} starts, {training.log or training.folder}")
        try:
            process = running[training] = training.start(command_of(training), environment)
        except OSError as error:
            say(f"error: run.dir: cannot write to {error.filename} ({error.strerror})")
            training.status = UserError.exit_status
            waiting.clear()
        else:
            Thread(target=lambda: events.put((training, process.wait())), daemon=True).start()

    def end(training: Training, code: int) -> None:
        del running[training]
        training.status = code if code >= 0 else 128 - code
        say(training.state())
        if training.status == UserError.exit_status:
            waiting.clear()

    def receive(signum: int) -> None:
        signals.append(signum)
        waiting.clear()
        # Ctrl-C at a terminal reaches all the processes in its foreground. Twice would be once too often.
        if signum == signal.SIGTERM or not _in_foreground():
            for process in running.values():
                process.send_signal(signum)
        if len(signals) == 1 and any(training.log for training in running):
            say("finishing these steps and saving; once more to stop at once")

    with handling_signals(events.put):
        try:
            while True:
                while waiting and len(running) < jobs:
                    start(waiting.pop(0))
                if not running:
                    return signals
                try:
                    event = events.get(timeout=PROGRESS_SECONDS)
                except Empty:
                    for training in running:
                        if training.log:
                            say(f"seed {training.seed:<7} {training.last_line() or 'is starting'}")
                else:
                    receive(event) if isinstance(event, int) else end(*event)
        finally:  # whatever went wrong here: no training goes on unseen
            for process in running.values():
                process.terminate()
                process.wait()


def _check(overrides: Sequence[str], seeds: Sequence[int], jobs: int) -> None:
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
    """Return the trainings' environment, with a share of the cores for each.

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


def _in_foreground() -> bool:
    try:
        with Path("/dev/tty").open() as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # there is no terminal
        return False
