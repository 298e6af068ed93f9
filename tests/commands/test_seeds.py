import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ganmix.commands import seeds as seeds_module
from ganmix.commands import train_gan
from ganmix.commands.seeds import run_seeds
from ganmix.config.gan import GanConfig
from ganmix.config.reader import read_config
from ganmix.engine.checkpoint import load_checkpoint
from ganmix.engine.files import read_lines
from ganmix.errors import UserError

ROOT = Path(__file__).parents[2]
CONFIG = """\
data: {name: digits}
generator: {name: conv, z: 8, width: 4}
discriminator: {name: conv, width: 4}
loss: {name: hinge}
training: {steps: 6, batch_size: 16, lr: 2.0e-3}
logging: {scalars_every: 2, images_every: 1000000, checkpoint_every: 1000000}
device: {name: cpu}
"""

# In place of a training: notes its start, its signals and its end in a file that all share. A seed from 100 on ends
# once as many have started as AFTER says, and its last digit is its status. One below 100 ends after as many signals.
STAND_IN = """
import json, os, pathlib, signal, sys, time
folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
record = folder.parent / "record.jsonl"
folder.mkdir(parents=True, exist_ok=True)
def note(what, value):
    with record.open("a") as file:
        file.write(json.dumps([seed, what, value]) + "\\n")
def started():
    return record.read_text().count("start")
received = []
def receive(signum, frame):
    received.append(signum)
    note("signal", signum)
for signum in (signal.SIGINT, signal.SIGTERM):
    signal.signal(signum, receive)
print(f"step {seed}/1000", file=sys.stderr, flush=True)
note("start", os.environ.get("OMP_NUM_THREADS"))
after = int(os.environ.get("AFTER", "1"))
while (started() if seed >= 100 else len(received)) < after:
    time.sleep(0.01)
status = seed % 10 if seed >= 100 else 128 + received[0]
print({2: "error: no such data", 3: "diverged: loss_G is nan"}.get(status, "the end"), file=sys.stderr)
note("end", status)
sys.exit(status)
"""


def stand_in(program, config_path, overrides, training):
    return [sys.executable, "-c", STAND_IN, str(training.folder), str(training.seed)]


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """Runs seeds of the stand-in."""
    monkeypatch.setattr(seeds_module, "command", stand_in)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return lambda seeds, jobs: run_seeds("train-gan", Path("config.yaml"), [], tmp_path, seeds, jobs)


def record(folder, what=None):
    """What the stand-ins noted, in the order in which it happened: seed and value of each note of a kind."""
    path = folder / "record.jsonl"
    text = path.read_text() if path.exists() else ""
    notes = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return [(seed, value) for seed, kind, value in notes if what in (None, kind)]


def seeds_of(notes):
    return [seed for seed, _ in notes]


def wait_until(happened):
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def sending(*steps):
    """Meanwhile send signals to this process, each when its condition holds."""

    def work():
        for happened, signum in steps:
            wait_until(happened)
            os.kill(os.getpid(), signum)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def test_one_job_trains_one_after_the_other_on_the_terminal(pretend, tmp_path, capfd):
    assert pretend([100, 110], 1) == 0
    assert record(tmp_path) == [(100, None), (100, 0), (110, None), (110, 0)]
    assert not (tmp_path / "seed-100" / "log.txt").exists()
    assert capfd.readouterr().err.splitlines() == [
        f"seed 100     starts, {tmp_path}/seed-100",
        "step 100/1000",
        "the end",
        f"seed 100     done, {tmp_path}/seed-100",
        f"seed 110     starts, {tmp_path}/seed-110",
        "step 110/1000",
        "the end",
        f"seed 110     done, {tmp_path}/seed-110",
        f"seed 100     done, {tmp_path}/seed-100",
        f"seed 110     done, {tmp_path}/seed-110",
        f"table        python -m ganmix report {tmp_path}",
    ]


def test_jobs_train_side_by_side_each_into_its_log(pretend, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("AFTER", "2")  # neither of the first two ends before both have started
    assert pretend([100, 110, 120], 2) == 0
    assert set(seeds_of(record(tmp_path))[:2]) == {100, 110}
    assert seeds_of(record(tmp_path, "start"))[2] == 120
    assert record(tmp_path)[2][1] == 0  # one ends before the third starts
    for seed in (100, 110, 120):
        assert (tmp_path / f"seed-{seed}" / "log.txt").read_text() == f"step {seed}/1000\nthe end\n"
    assert "step" not in capfd.readouterr().err


def test_log_of_an_earlier_call_is_kept(pretend, tmp_path, capfd):
    assert pretend([103, 100], 2) == 3
    (tmp_path / "record.jsonl").unlink()
    assert pretend([103, 100], 2) == 3
    assert (tmp_path / "seed-100" / "log.txt").read_text() == "step 100/1000\nthe end\n" * 2


@pytest.mark.parametrize(("cores", "jobs", "num", "threads"), [(8, 2, 2, "4"), (8, 3, 3, "2"), (2, 4, 2, "1")])
def test_jobs_share_the_cores(pretend, tmp_path, monkeypatch, cores, jobs, num, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert pretend([100 + 10 * i for i in range(num)], jobs) == 0
    assert [value for _, value in record(tmp_path, "start")] == [threads] * num


def test_a_number_of_threads_that_is_set_is_kept(pretend, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert pretend([100, 110], 2) == 0
    assert sorted(record(tmp_path, "start")) == [(100, "7"), (110, "7")]


def test_a_seed_that_diverges_or_fails_does_not_stop_the_others(pretend, tmp_path, capfd):
    assert pretend([103, 100], 1) == 3
    assert pretend([113, 101, 110], 2) == 1
    assert sorted(record(tmp_path, "end")) == [(100, 0), (101, 1), (103, 3), (110, 0), (113, 3)]
    assert capfd.readouterr().err.splitlines()[-4:-1] == [
        f"seed 113     exit status 3: diverged: loss_G is nan, {tmp_path}/seed-113/log.txt",
        f"seed 101     exit status 1: the end, {tmp_path}/seed-101/log.txt",
        f"seed 110     done, {tmp_path}/seed-110/log.txt",
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_after_a_seed_with_unusable_data_none_starts(pretend, tmp_path, capfd, jobs):
    assert pretend([102, 112, 122, 100], jobs) == 2
    assert not (tmp_path / "seed-100").exists()
    assert not (tmp_path / "seed-122").exists()
    said = capfd.readouterr().err
    assert "error: no such data" in said
    assert "seed 102     exit status 2" in said
    assert "seed 100     not started" in said


def test_after_a_folder_that_cannot_be_written_none_starts(pretend, tmp_path, capfd):
    (tmp_path / "seed-110").write_text("not a folder")
    assert pretend([100, 110, 120], 2) == 2
    assert record(tmp_path, "end") == [(100, 0)]
    said = capfd.readouterr().err.splitlines()
    assert f"error: run.dir: cannot write to {tmp_path}/seed-110 (File exists)" in said
    assert f"seed 120     not started, {tmp_path}/seed-120/log.txt" in said


@pytest.fixture
def passed_on(monkeypatch):
    """The signals that are sent to processes."""
    sent = []
    send_signal = subprocess.Popen.send_signal
    monkeypatch.setattr(seeds_module, "_in_foreground", lambda: False)
    monkeypatch.setattr(
        subprocess.Popen, "send_signal", lambda process, signum: (sent.append(signum), send_signal(process, signum))
    )
    return sent


@pytest.mark.parametrize(("jobs", "seeds"), [(1, [1, 2]), (2, [1, 2, 3])])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_passed_on_once_waited_for_and_starts_no_further_seed(
    pretend, tmp_path, passed_on, capfd, jobs, seeds, signum
):
    before = signal.getsignal(signum)
    with sending((lambda: len(record(tmp_path, "start")) == jobs, signum)):
        assert pretend(seeds, jobs) == 128 + signum
    assert passed_on == [signum] * jobs
    assert sorted(record(tmp_path, "signal")) == [(seed, signum) for seed in seeds[:jobs]]
    assert sorted(record(tmp_path, "end")) == [(seed, 128 + signum) for seed in seeds[:jobs]]
    assert not (tmp_path / f"seed-{seeds[-1]}").exists()
    assert signal.getsignal(signum) is before
    said = capfd.readouterr().err
    assert said.splitlines()[-1] == f"stopped by {signal.Signals(signum).name}; the same command goes on from here"
    assert f"seed {seeds[0]}       stopped, " in said
    assert f"seed {seeds[-1]}       not started" in said


def test_second_signal_is_passed_on_too(pretend, tmp_path, monkeypatch, passed_on):
    monkeypatch.setenv("AFTER", "2")
    first = lambda: len(record(tmp_path, "start")) == 2  # noqa: E731
    second = lambda: len(record(tmp_path, "signal")) == 2  # noqa: E731
    with sending((first, signal.SIGTERM), (second, signal.SIGTERM)):
        assert pretend([1, 2], 2) == 143
    assert passed_on == [signal.SIGTERM] * 4
    assert sorted(record(tmp_path, "signal")) == [(seed, signal.SIGTERM) for seed in (1, 1, 2, 2)]


ON_A_TERMINAL = """
import fcntl, subprocess, sys, termios
from pathlib import Path
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from ganmix.commands import seeds
stand_in = {stand_in!r}
seeds.command = lambda program, path, overrides, t: [sys.executable, "-c", stand_in, str(t.folder), str(t.seed)]
subprocess.Popen.send_signal = lambda process, signum: print("passed on")
sys.exit(seeds.run_seeds("train-gan", Path("config.yaml"), [], Path({folder!r}), {seeds}, {jobs}))
"""


@pytest.mark.parametrize(("jobs", "seeds"), [(1, [1, 2]), (2, [1, 2, 3])])
def test_ctrl_c_at_a_terminal_reaches_each_training_once(tmp_path, jobs, seeds):
    keyboard, terminal = pty.openpty()
    program = ON_A_TERMINAL.format(stand_in=STAND_IN, folder=str(tmp_path), seeds=seeds, jobs=jobs)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    ) as process:
        os.close(terminal)
        try:
            wait_until(lambda: len(record(tmp_path, "start")) == jobs)
            os.write(keyboard, b"\x03")
            said = b""
            with suppress(OSError):  # how a terminal ends
                while piece := os.read(keyboard, 4096):
                    said += piece
            assert process.wait(30) == 130
        finally:
            process.kill()
    os.close(keyboard)
    assert sorted(record(tmp_path, "signal")) == [(seed, signal.SIGINT) for seed in seeds[:jobs]]
    assert not (tmp_path / f"seed-{seeds[-1]}").exists()
    assert b"passed on" not in said
    assert said.decode().splitlines()[-1] == "stopped by SIGINT; the same command goes on from here"


def test_last_line_of_each_log_is_said_now_and_then(pretend, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(seeds_module, "PROGRESS_SECONDS", 0.1)
    monkeypatch.setattr(seeds_module, "say", said.append)
    lines = {f"seed {seed}       step {seed}/1000" for seed in (1, 2)}
    with sending((lambda: lines <= set(said), signal.SIGTERM)):
        assert pretend([1, 2], 2) == 143


def test_trainings_are_ended_where_the_runner_fails(pretend, tmp_path, monkeypatch):
    def say(line):
        if line.startswith("finishing"):
            raise BrokenPipeError

    monkeypatch.setattr(seeds_module, "say", say)
    monkeypatch.setattr(seeds_module, "_in_foreground", lambda: True)  # nothing else sends them a signal
    with (
        sending((lambda: len(record(tmp_path, "start")) == 2, signal.SIGINT)),
        pytest.raises(BrokenPipeError),
    ):
        pretend([1, 2], 2)
    assert sorted(record(tmp_path, "end")) == [(1, 143), (2, 143)]


@pytest.mark.parametrize(
    ("overrides", "seeds", "jobs", "problem"),
    [
        ([], [0, 1, 0], 1, "--seeds: 0 is given twice"),
        ([], [0, -1], 1, "--seeds: a seed must be at least 0, got -1"),
        ([], [0, 1], 0, "--jobs must be at least 1, got 0"),
        (["run.seed=3"], [0, 1], 1, "command line 'run.seed=3': --seeds already sets the seed"),
        (["run={seed: 3}"], [0, 1], 1, "command line 'run={seed: 3}': --seeds already sets the seed"),
    ],
)
def test_arguments_that_do_not_fit_are_named_before_anything_starts(tmp_path, overrides, seeds, jobs, problem):
    with pytest.raises(UserError) as error:
        run_seeds("train-gan", Path("config.yaml"), overrides, tmp_path, seeds, jobs)
    assert error.value.problems == [problem]
    assert not list(tmp_path.iterdir())


def test_command_is_the_single_runs_with_its_seed_and_folder():
    training = seeds_module.Training(3, Path("runs/a: b #c/seed-3"), with_log=False)
    found = seeds_module.command("train-gan", Path("c.yaml"), ["training.steps=2", "run={dir: x}"], training)
    assert found[1:5] == ["-m", "ganmix", "train-gan", "c.yaml"]
    path = ROOT / "configs" / "gan" / "quickstart.yaml"
    config = read_config(GanConfig, path, found[5:])
    assert (config.run.seed, config.run.dir) == (3, "runs/a: b #c/seed-3")
    assert config.training.steps == 2


def test_seeds_that_were_stopped_go_on_and_equal_single_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    Path("config.yaml").write_text(CONFIG)
    folders = [tmp_path / "runs" / f"seed-{seed}" for seed in (0, 1)]

    def metrics(folder):
        return [line | {"images_per_second": None} for line in read_lines(folder / "metrics.jsonl")]

    def train(steps):
        return run_seeds("train-gan", Path("config.yaml"), [f"training.steps={steps}"], tmp_path / "runs", [0, 1], 2)

    with sending((lambda: all(map(metrics, folders)), signal.SIGTERM)):
        assert train(10**6) == 143
    latest = [folder / "checkpoints" / "latest.pt" for folder in folders]
    steps = 2 + max(load_checkpoint(path)["algorithm"]["steps_done"] for path in latest)
    single = ["config.yaml", f"training.steps={steps}"]
    assert train_gan([*single, "run.seed=0", f"run.dir={folders[0]}"]) == 0  # now this one is done
    before = latest[0].stat().st_mtime_ns
    assert train(steps) == 0
    assert latest[0].stat().st_mtime_ns == before
    assert f"is finished ({steps} steps)" in (folders[0] / "log.txt").read_text()
    for seed, folder in enumerate(folders):
        assert train_gan([*single, f"run.seed={seed}", f"run.dir=single-{seed}"]) == 0
        assert metrics(folder) == metrics(Path(f"single-{seed}")) != []
