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

from ganmix.commands import screen, train_gan
from ganmix.commands import seeds as seeds_module
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

# In place of a training: notes its start, its threads and every signal in record.jsonl. A seed from 100 on ends by
# itself, its last digit being its status; one below 100 half a second after a signal, or after two.
STAND_IN = """
import json, os, pathlib, signal, sys, time
folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
def note(**what):
    with (folder / "record.jsonl").open("a") as file:
        file.write(json.dumps({"time": time.time(), **what}) + "\\n")
received = []
def receive(signum, frame):
    received.append(signum)
    note(signal=signum)
for signum in (signal.SIGINT, signal.SIGTERM):
    signal.signal(signum, receive)
note(threads=os.environ.get("OMP_NUM_THREADS"))
print(f"step {seed}/1000", file=sys.stderr, flush=True)
if seed >= 100:
    time.sleep(0.3)
    print({2: "error: no such data", 3: "diverged: loss_G is nan"}.get(seed % 10, "the end"), file=sys.stderr)
    note(end=seed % 10)
    sys.exit(seed % 10)
patience = 2 if os.environ.get("WAIT_FOR_SECOND") else 1
while len(received) < patience:
    time.sleep(0.01)
time.sleep(0.5)
note(end=0)
sys.exit(128 + received[0])
"""


def stand_in(program, config_path, overrides, training):
    return [sys.executable, "-c", STAND_IN, str(training.folder), str(training.seed)]


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """Runs seeds of the stand-in."""
    monkeypatch.setattr(seeds_module, "command", stand_in)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return lambda seeds, jobs: run_seeds("train-gan", Path("config.yaml"), [], tmp_path, seeds, jobs)


def record(folder, seed):
    path = folder / f"seed-{seed}" / "record.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def times(folder, seed):
    lines = record(folder, seed)
    return lines[0]["time"], lines[-1]["time"]


def signals(folder, seed):
    return [line["signal"] for line in record(folder, seed) if "signal" in line]


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
    assert times(tmp_path, 100)[1] < times(tmp_path, 110)[0]
    assert record(tmp_path, 100)[0]["threads"] is None
    assert not (tmp_path / "seed-100" / "log.txt").exists()
    assert capfd.readouterr().err.splitlines() == [
        f"seed 100     started, {tmp_path}/seed-100",
        "step 100/1000",
        "the end",
        f"seed 100     done, {tmp_path}/seed-100",
        f"seed 110     started, {tmp_path}/seed-110",
        "step 110/1000",
        "the end",
        f"seed 110     done, {tmp_path}/seed-110",
        f"seed 100     done, {tmp_path}/seed-100",
        f"seed 110     done, {tmp_path}/seed-110",
        f"table        python -m ganmix report {tmp_path}",
    ]


def test_jobs_train_side_by_side_each_into_its_log(pretend, tmp_path, capfd):
    assert pretend([100, 110, 120], 2) == 0
    assert max(times(tmp_path, 100)[0], times(tmp_path, 110)[0]) < min(times(tmp_path, 100)[1], times(tmp_path, 110)[1])
    assert times(tmp_path, 120)[0] > min(times(tmp_path, 100)[1], times(tmp_path, 110)[1])
    for seed in (100, 110, 120):
        assert (tmp_path / f"seed-{seed}" / "log.txt").read_text() == f"step {seed}/1000\nthe end\n"
    assert "step" not in capfd.readouterr().err


@pytest.mark.parametrize(("cores", "jobs", "num", "threads"), [(8, 2, 2, "4"), (8, 3, 3, "2"), (2, 4, 2, "1")])
def test_jobs_share_the_cores(pretend, tmp_path, monkeypatch, cores, jobs, num, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    seeds = [100 + 10 * i for i in range(num)]
    assert pretend(seeds, jobs) == 0
    assert [record(tmp_path, seed)[0]["threads"] for seed in seeds] == [threads] * num


def test_a_number_of_threads_that_is_set_is_kept(pretend, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert pretend([100, 110], 2) == 0
    assert record(tmp_path, 110)[0]["threads"] == "7"


def test_a_seed_that_diverges_or_fails_does_not_stop_the_others(pretend, tmp_path, capfd):
    assert pretend([103, 100], 1) == 3
    assert record(tmp_path, 100)[-1]["end"] == 0
    assert pretend([113, 101, 110], 2) == 1
    assert record(tmp_path, 110)[-1]["end"] == 0
    assert capfd.readouterr().err.splitlines()[-4:-1] == [
        f"seed 113     diverged: loss_G is nan, {tmp_path}/seed-113",
        f"seed 101     failed with exit status 1, {tmp_path}/seed-101/log.txt",
        f"seed 110     done, {tmp_path}/seed-110",
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_after_a_seed_with_unusable_data_none_starts(pretend, tmp_path, capfd, jobs):
    assert pretend([102, 112, 122, 100], jobs) == 2
    assert not (tmp_path / "seed-100").exists()
    assert not (tmp_path / "seed-122").exists()
    said = capfd.readouterr().err.splitlines()
    assert "error: no such data" in said
    assert f"seed 102     failed with exit status 2, {tmp_path}/seed-102{'/log.txt' if jobs > 1 else ''}" in said
    assert "seed 100     not started" in said


@pytest.mark.parametrize(("jobs", "seeds"), [(1, [1, 2]), (2, [1, 2, 3])])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_passed_on_once_waited_for_and_starts_no_further_seed(
    pretend, tmp_path, monkeypatch, capfd, jobs, seeds, signum
):
    monkeypatch.setattr(seeds_module, "_in_foreground", lambda: False)
    before = signal.getsignal(signum)
    with sending((lambda: all(record(tmp_path, seed) for seed in seeds[:jobs]), signum)):
        assert pretend(seeds, jobs) == 128 + signum
    for seed in seeds[:jobs]:
        assert signals(tmp_path, seed) == [signum]
        assert record(tmp_path, seed)[-1] == {"time": times(tmp_path, seed)[1], "end": 0}
    assert not (tmp_path / f"seed-{seeds[-1]}").exists()
    assert signal.getsignal(signum) is before
    said = capfd.readouterr().err.splitlines()
    assert said[-1] == f"stopped by {signal.Signals(signum).name}; the same command goes on from here"
    assert f"seed {seeds[0]}       stopped, {tmp_path}/seed-{seeds[0]}" in said
    assert f"seed {seeds[-1]}       not started" in said


def test_second_signal_is_passed_on_too(pretend, tmp_path, monkeypatch):
    monkeypatch.setenv("WAIT_FOR_SECOND", "1")
    first = lambda: all(record(tmp_path, seed) for seed in (1, 2))  # noqa: E731
    second = lambda: all(signals(tmp_path, seed) for seed in (1, 2))  # noqa: E731
    with sending((first, signal.SIGTERM), (second, signal.SIGTERM)):
        assert pretend([1, 2], 2) == 143
    assert [signals(tmp_path, seed) for seed in (1, 2)] == [[signal.SIGTERM] * 2] * 2


ON_A_TERMINAL = """
import fcntl, sys, termios
from pathlib import Path
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from ganmix.commands import screen, seeds
screen.LIVE_SECONDS = 0.2
stand_in = {stand_in!r}
seeds.command = lambda program, path, overrides, t: [sys.executable, "-c", stand_in, str(t.folder), str(t.seed)]
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
            wait_until(lambda: all(record(tmp_path, seed) for seed in seeds[:jobs]))
            time.sleep(0.5)  # for progress to be shown
            os.write(keyboard, b"\x03")
            said = b""
            with suppress(OSError):  # how a terminal ends
                while piece := os.read(keyboard, 4096):
                    said += piece
            assert process.wait(30) == 130
        finally:
            process.kill()
    os.close(keyboard)
    assert [signals(tmp_path, seed) for seed in seeds[:jobs]] == [[signal.SIGINT]] * jobs
    assert not (tmp_path / f"seed-{seeds[-1]}").exists()
    lines = said.decode().replace("\r\n", "\n").splitlines()
    assert lines[-1] == "stopped by SIGINT; the same command goes on from here"
    if jobs == 2:  # one line each, over and over in the same place
        shown = said.decode().replace("\r\n", "\n")
        assert "\x1b[2A\x1b[Jseed 1       step 1/1000\nseed 2       step 2/1000\n" in shown


def test_elsewhere_progress_is_a_line_now_and_then(pretend, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(screen, "PLAIN_SECONDS", 0.2)
    ready = lambda: all(record(tmp_path, seed) for seed in (1, 2)) and time.sleep(1) is None  # noqa: E731
    with sending((ready, signal.SIGTERM)):
        assert pretend([1, 2], 2) == 143
    said = capfd.readouterr().err.splitlines()
    assert [said.count(f"seed {seed}       step {seed}/1000") for seed in (1, 2)] == [1, 1]  # what is new alone


def test_trainings_that_run_are_ended_when_the_next_cannot_be_started(pretend, tmp_path):
    (tmp_path / "seed-2").write_text("not a folder")
    with pytest.raises(UserError, match=f"cannot write to {tmp_path}/seed-2"):
        pretend([1, 2], 2)


@pytest.mark.parametrize(
    ("overrides", "seeds", "jobs", "problem"),
    [
        ([], [0, 1, 0], 1, "--seeds: 0 is there twice"),
        ([], [0, -1], 1, "--seeds: a seed must be at least 0, got -1"),
        ([], [0, 1], 0, "--jobs must be at least 1, got 0"),
        (["run.seed=3"], [0, 1], 1, "command line 'run.seed=3': --seeds sets the seed already"),
        (["run={seed: 3}"], [0, 1], 1, "command line 'run={seed: 3}': --seeds sets the seed already"),
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
