import os
import signal

import pytest
import torch

from ganmix.engine import loop
from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint
from ganmix.engine.identity import Identity
from ganmix.engine.loop import Action, resume, train
from ganmix.engine.recorder import Recorder
from ganmix.engine.run_folder import RunFolder
from ganmix.engine.scores import Measurement
from ganmix.errors import DivergedError, Stopped, UserError


class Counter:
    """Adds the number of the step to its state; `at` does something in the middle of a step."""

    def __init__(self, at=None):
        self.steps_done = 0
        self.total = torch.zeros(())
        self.at = at or {}

    def step(self):
        number = self.steps_done + 1
        loss = self.at[number]() if number in self.at else None
        self.total = self.total + number
        self.steps_done = number
        return {"loss": self.total if loss is None else loss}

    def state_dict(self):
        return {"steps_done": self.steps_done, "total": self.total}

    def load_state_dict(self, state):
        self.steps_done, self.total = state["steps_done"], state["total"]


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.held():
        yield folder


IDENTITY = Identity({"lr": 0.1, "network": {"width": 4}}, "ab12", "data")


def run(folder, algorithm, *, total_steps=10, scalars_every=100, checkpoint_every=100, keep_every=None, actions=()):
    """Resume and train."""
    recorder = Recorder(folder, 0, total_steps, 1, load(folder, algorithm, checkpoint_every))
    try:
        train(
            algorithm,
            recorder,
            folder,
            IDENTITY,
            total_steps=total_steps,
            scalars_every=scalars_every,
            checkpoint_every=checkpoint_every,
            keep_every=keep_every,
            actions=actions,
        )
    finally:
        recorder.close()


def load(folder, algorithm, checkpoint_every=100, identity=IDENTITY):
    return resume(folder, algorithm, identity, checkpoint_every=checkpoint_every)


def saved(folder, name="latest.pt"):
    path = folder.checkpoints / name
    return load_checkpoint(path)["algorithm"]["steps_done"] if path.exists() else None


def kept(folder):
    """The step in each file that is kept for good, by the file's name."""
    return {path.name: saved(folder, path.name) for path in sorted(folder.checkpoints.glob("step_*"))}


def scored(step):
    return Measurement(step, step, [], {}, {})


def power_cut():
    raise RuntimeError("power cut")


def kill(signum):
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"every": 3}, [3, 6, 9, 10]),
        ({"every": 5}, [5, 10]),
        ({"every": 3, "at_start": True}, [0, 3, 6, 9, 10]),
        ({"every": None}, [10]),
        ({"every": None, "at_start": True}, [0, 10]),
        ({"every": 20}, [10]),
    ],
)
def test_action_is_due_at_its_interval_and_at_the_end(folder, options, steps):
    done = []
    action = Action(done.append, **options)
    run(folder, Counter(), actions=[action])
    assert done == steps
    assert [step for step in range(11) if action.due(step, 10)] == steps


def test_checkpoints_come_at_their_interval_and_at_the_end(folder):
    seen = []
    run(
        folder,
        Counter(),
        checkpoint_every=4,
        actions=[Action(lambda step: seen.append((step, saved(folder), saved(folder, "previous.pt"))), every=1)],
    )
    assert seen == [
        *[(step, None, None) for step in (1, 2, 3)],
        *[(step, 4, None) for step in (4, 5, 6, 7)],
        *[(step, 8, 4) for step in (8, 9)],
        (10, 10, 8),
    ]


@pytest.mark.parametrize("hard_links", [True, False])
def test_checkpoints_are_kept_at_their_interval_whatever_the_others(folder, hard_links, monkeypatch):
    if not hard_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError("no hard links here")))
    run(folder, Counter(), checkpoint_every=4, keep_every=3)
    assert kept(folder) == {f"step_00000{step}.pt": step for step in (3, 6, 9)}
    assert (saved(folder), saved(folder, "previous.pt")) == (10, 9)
    assert {path.name for path in folder.checkpoints.iterdir()} == {*kept(folder), "latest.pt", "previous.pt"}


def test_without_an_interval_none_is_kept(folder):
    run(folder, Counter(), checkpoint_every=2)
    assert kept(folder) == {}


def test_the_last_step_is_kept_where_it_is_at_the_interval_and_the_first_never(folder):
    seen = []
    run(folder, Counter(), keep_every=5, actions=[Action(lambda step: seen.append([*kept(folder)]), 1, at_start=True)])
    five = ["step_000005.pt"]
    assert seen == [[]] * 5 + [five] * 5 + [[*five, "step_000010.pt"]]


def test_one_save_serves_all_that_is_due(folder, monkeypatch):
    steps = []
    save = loop.save_checkpoint
    monkeypatch.setattr(
        loop,
        "save_checkpoint",
        lambda path, state, previous: steps.append(algorithm.steps_done) or save(path, state, previous),
    )
    algorithm = Counter()
    run(folder, algorithm, checkpoint_every=3, keep_every=3, actions=[Action(lambda step: None, every=3, slow=True)])
    assert steps == [3, 6, 9, 10]


def test_kept_checkpoints_are_never_replaced_and_survive_a_resume(folder):
    options = {"checkpoint_every": 2, "keep_every": 3}
    with pytest.raises(RuntimeError, match="power cut"):
        run(folder, Counter({8: power_cut}), **options)
    assert kept(folder) == {"step_000003.pt": 3, "step_000006.pt": 6}
    files = {
        path: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in folder.checkpoints.glob("s*")
    }
    run(folder, Counter(), **options)
    run(folder, resumed := Counter(), total_steps=13, **options)
    assert resumed.total == sum(range(14))
    assert kept(folder) == {f"step_{step:06}.pt": step for step in (3, 6, 9, 12)}
    assert files == {path: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_nothing_diverged_is_kept(folder):
    diverging = Counter({4: lambda: torch.tensor(torch.nan)})
    with pytest.raises(DivergedError):
        run(folder, diverging, scalars_every=100, keep_every=2)
    assert kept(folder) == {"step_000002.pt": 2}


def test_a_kill_between_saving_and_keeping_loses_no_kept_checkpoint(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "copy_file", lambda *_: power_cut())
        with pytest.raises(RuntimeError, match="power cut"):
            run(folder, Counter(), keep_every=4)
    assert (saved(folder), kept(folder)) == (4, {})
    run(folder, Counter(), keep_every=4)
    assert kept(folder) == {"step_000004.pt": 4, "step_000008.pt": 8}


def test_slow_action_finds_its_step_saved_and_a_quick_one_does_not(folder):
    slow, quick = [], []
    run(
        folder,
        Counter(),
        actions=[
            Action(lambda step: quick.append((step, saved(folder))), every=5),
            Action(lambda step: slow.append((step, saved(folder))), every=4, at_start=True, slow=True),
        ],
    )
    assert slow == [(0, None), (4, 4), (8, 8), (10, 10)]
    assert quick == [(5, 4), (10, 10)]


def test_lines_come_at_their_interval_and_at_the_end_with_extra_scalars(folder):
    algorithm = Counter()
    recorder = Recorder(folder, 0, 10, 1)
    train(
        algorithm,
        recorder,
        folder,
        IDENTITY,
        total_steps=10,
        scalars_every=4,
        checkpoint_every=100,
        actions=[],
        extra_scalars=lambda: {"twice": 2.0 * algorithm.steps_done},
    )
    recorder.close()
    assert [(line["step"], line["twice"]) for line in folder.metrics] == [(4, 8), (8, 16), (10, 20)]


def test_resumed_training_ends_as_an_uninterrupted_one(folder, tmp_path):
    other = RunFolder(tmp_path / "other")
    with other.held():
        run(other, whole := Counter(), scalars_every=5, checkpoint_every=3)
        lines = [(line["step"], line["loss"]) for line in other.metrics]
    with pytest.raises(RuntimeError, match="power cut"):
        run(folder, Counter({9: power_cut}), scalars_every=5, checkpoint_every=3)
    assert saved(folder) == 6
    run(folder, resumed := Counter(), scalars_every=5, checkpoint_every=3)
    assert (resumed.steps_done, resumed.total) == (whole.steps_done, whole.total) == (10, 55)
    assert [(line["step"], line["loss"]) for line in folder.metrics] == lines


def test_resuming_keeps_the_previous_checkpoint(folder):
    run(folder, Counter(), total_steps=6, checkpoint_every=3)
    assert (saved(folder), saved(folder, "previous.pt")) == (6, 3)
    run(folder, Counter(), total_steps=6, checkpoint_every=3)  # nothing left to do
    assert (saved(folder), saved(folder, "previous.pt")) == (6, 3)
    run(folder, Counter(), total_steps=7, checkpoint_every=3)
    assert (saved(folder), saved(folder, "previous.pt")) == (7, 6)


def test_resuming_forgets_what_came_after_the_checkpoint(folder):
    run(folder, Counter(), total_steps=4)
    for step in (4, 5):
        folder.add_metrics(step, {})
        folder.add_measurement(scored(step))
    load(folder, Counter())
    assert [line["step"] for line in folder.metrics] == [4, 4]
    assert folder.measurements == [scored(4)]


def test_nothing_to_resume_leaves_the_algorithm_as_it_is_and_the_logs_empty(folder):
    folder.add_metrics(1, {})
    algorithm = Counter()
    assert load(folder, algorithm) is None
    assert algorithm.steps_done == 0
    assert folder.metrics == []


def test_damaged_checkpoint_is_named(folder):
    (folder.checkpoints / "latest.pt").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"latest\.pt: not a readable checkpoint"):
        load(folder, Counter())


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_after_the_step_it_came_in(folder, capsys, signum, status):
    before = signal.getsignal(signum)
    acted = []
    with pytest.raises(Stopped, match=signal.Signals(signum).name) as stopped:
        run(folder, Counter({4: lambda: kill(signum)}), actions=[Action(acted.append, every=2)])
    assert stopped.value.exit_status == status
    assert saved(folder) == 4
    assert acted == [2]  # what is due at step 4 is left to the resumed run, which does it first
    assert "finishing this step and saving" in capsys.readouterr().err
    assert signal.getsignal(signum) == before
    run(folder, resumed := Counter(), actions=[Action(acted.append, every=2)])
    assert resumed.total == 55
    assert acted == [2, 4, 6, 8, 10]


def test_second_signal_does_not_wait_for_the_step(folder):
    def twice():
        kill(signal.SIGTERM)
        kill(signal.SIGINT)
        pytest.fail("the step went on")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run(folder, Counter({4: twice}), checkpoint_every=3)
    assert saved(folder) == 3
    assert signal.getsignal(signal.SIGTERM) == before


def test_same_signal_at_once_is_an_echo_and_later_a_second_one(folder, monkeypatch):
    def twice():
        kill(signal.SIGTERM)
        kill(signal.SIGTERM)  # the scheduler's to every process, and the parent's

    with pytest.raises(Stopped):
        run(folder, Counter({4: twice}), checkpoint_every=3)
    assert saved(folder) == 4
    monkeypatch.setattr("ganmix.engine.loop.ECHO_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        run(folder, Counter({6: twice}), checkpoint_every=3)
    assert saved(folder) == 4


@pytest.mark.parametrize("checkpoint_every", [2, 3, 100])
def test_divergence_names_the_last_good_checkpoint_and_leaves_it(folder, checkpoint_every):
    diverging = Counter({3: lambda: torch.tensor(torch.nan)})
    with pytest.raises(DivergedError) as error:
        run(folder, diverging, scalars_every=5, checkpoint_every=checkpoint_every)
    good = f"the last good checkpoint is {folder.checkpoints / 'latest.pt'}"
    expected = good if checkpoint_every == 2 else "no checkpoint was saved before"
    assert str(error.value) == f"loss is nan at step 3; {expected}"
    assert saved(folder) == (2 if checkpoint_every == 2 else None)


def test_events_are_on_disk_with_the_checkpoint(folder, monkeypatch):
    order = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda path, state, previous: order.append("checkpoint"))
    recorder = Recorder(folder, 0, 1, 1)
    monkeypatch.setattr(recorder.writer, "flush", lambda: order.append("events"))
    train(Counter(), recorder, folder, IDENTITY, total_steps=1, scalars_every=1, checkpoint_every=1, actions=[])
    assert order == ["events", "checkpoint"]
    recorder.close()


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["missing", "dangling", "damaged"])
def test_without_a_good_latest_checkpoint_the_run_goes_on_from_the_previous_one(folder, capsys, how):
    run(folder, Counter(), total_steps=8, scalars_every=1, checkpoint_every=3)
    assert (saved(folder), saved(folder, "previous.pt")) == (8, 6)
    latest, previous = (folder.checkpoints / name for name in ("latest.pt", "previous.pt"))
    good = previous.read_bytes()
    if how == "damaged":
        damage(latest)
    else:
        latest.unlink()
    if how == "dangling":
        latest.symlink_to("elsewhere.pt")
    capsys.readouterr()
    seen = []
    watch = Action(lambda step: seen.append((step, saved(folder), previous.read_bytes() == good)), every=1)
    run(folder, resumed := Counter(), total_steps=10, scalars_every=1, checkpoint_every=3, actions=[watch])
    warning = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: "))
    assert warning.startswith(f"warning: {latest}: not a" if how == "damaged" else f"warning: {latest} is missing")
    assert warning.endswith(f"; the run goes on from {previous}")
    assert resumed.total == 55
    assert seen == [(6, None, True), *((step, None, True) for step in (7, 8)), (9, 9, True), (10, 10, False)]
    assert [line["step"] for line in folder.metrics] == [*range(1, 11)]


def test_divergence_after_that_names_the_previous_checkpoint(folder):
    run(folder, Counter(), total_steps=8, checkpoint_every=3)
    (folder.checkpoints / "latest.pt").unlink()
    with pytest.raises(DivergedError, match=r"nan at step 7; the last good checkpoint is .*previous\.pt"):
        run(folder, Counter({7: lambda: torch.tensor(torch.nan)}), scalars_every=1)


@pytest.mark.parametrize("previous", ["missing", "damaged"])
def test_a_damaged_checkpoint_without_a_good_one_stops_the_run(folder, previous):
    run(folder, Counter(), total_steps=8, scalars_every=1, checkpoint_every=3)
    damage(folder.checkpoints / "latest.pt")
    if previous == "damaged":
        damage(folder.checkpoints / "previous.pt")
    else:
        (folder.checkpoints / "previous.pt").unlink()
    before = contents(folder)
    with pytest.raises(UserError) as error:
        load(folder, Counter())
    (problem,) = error.value.problems
    assert problem.startswith(f"{folder.checkpoints / 'latest.pt'}: not a readable checkpoint (it is damaged")
    assert "there is no good previous.pt; copy a good checkpoint" in problem
    assert "\n" not in problem
    assert contents(folder) == before


def contents(folder):
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


TRACES = {
    "steps beyond the first checkpoint": lambda folder: folder.add_metrics(101, {}),
    "a score": lambda folder: folder.add_measurement(scored(50)),
    "a session that went on": lambda folder: folder.add_session(50, {}),
    "a checkpoint that is kept": lambda folder: (folder.checkpoints / "step_000050.pt").touch(),
}


@pytest.mark.parametrize("trace", TRACES)
def test_a_run_whose_checkpoints_are_gone_does_not_start_again(folder, trace):
    folder.add_metrics(50, {})
    TRACES[trace](folder)
    before = contents(folder)
    with pytest.raises(UserError) as error:
        load(folder, Counter(), checkpoint_every=100)
    (problem,) = error.value.problems
    assert problem.startswith(f"{folder.path} has been trained, but its latest.pt and previous.pt are gone; copy ")
    assert problem.endswith("or take another run.dir to start again")
    assert contents(folder) == before


def test_a_run_stopped_before_its_first_checkpoint_starts_again_and_says_so(folder, capsys):
    folder.add_metrics(100, {})  # a kill between this line and the checkpoint
    folder.add_measurement(scored(0))
    assert load(folder, Counter(), checkpoint_every=100) is None
    assert capsys.readouterr().err == "no checkpoint was saved yet; the run starts again at step 0\n"
    assert (folder.metrics, folder.measurements) == ([], [scored(0)])


MALFORMED = {
    "a list": lambda state: [1, 2],
    "a tensor": lambda state: torch.zeros(3),
    "nothing": lambda state: None,
    "an empty dict": lambda state: {},
    "no identity": lambda state: {name: state[name] for name in ("algorithm", "recorder")},
    "no algorithm": lambda state: {name: state[name] for name in ("identity", "recorder")},
    "no recorder": lambda state: {name: state[name] for name in ("identity", "algorithm")},
    "an empty recorder": lambda state: {**state, "recorder": {}},
    "an empty algorithm": lambda state: {**state, "algorithm": {}},
    "a list for the algorithm": lambda state: {**state, "algorithm": [1]},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_training_of_this_run_is_refused_in_one_line(folder, case):
    run(folder, Counter(), total_steps=4, scalars_every=1)
    path = folder.checkpoints / "latest.pt"
    save_checkpoint(path, MALFORMED[case](load_checkpoint(path)))
    before = contents(folder)
    with pytest.raises(UserError, match=r"latest\.pt is not a checkpoint of this run") as error:
        load(folder, Counter())
    assert "\n" not in str(error.value)
    assert contents(folder) == before


def test_another_runs_checkpoint_is_refused_and_the_key_named(folder):
    run(folder, Counter(), total_steps=4)
    other = Identity({"lr": 0.2, "network": {"width": 4}}, "ab12", "data")
    with pytest.raises(UserError, match=r"latest\.pt is not a checkpoint of this run: its lr is 0\.1, not 0\.2"):
        load(folder, Counter(), identity=other)
