import threading
from dataclasses import replace

import pytest

from ganmix.engine.checkpoint import save_checkpoint
from ganmix.engine.files import write_atomically
from ganmix.engine.run_folder import RunFolder, find_runs
from ganmix.engine.scores import Measurement, Score
from ganmix.errors import UserError

MEASUREMENT = Measurement(
    step=30,
    checkpoint=20,
    scores=[Score("IS", 7.1, 0.2, "digits"), Score("rotation", 91.5, at="20"), Score("accuracy", 97.0)],
    protocol={"name": "small", "num_fake": 64, "reference": {"split": "train"}},
    versions={"torch": "2.14"},
    curves={"input": [0.1, 0.2]},
)


def make_run(folder):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("data: {name: digits}\n")
    return folder


def test_runs_are_found_at_and_below_the_paths_each_once_in_order(tmp_path):
    names = ("b", "a/two", "a/one", "a/deep/er/three")
    runs = {name: make_run(tmp_path / name) for name in names}
    inside = make_run(tmp_path / "b" / "seed-0")  # below a run, as --seeds trains it after a single training
    below_a = [runs["a/deep/er/three"], runs["a/one"], runs["a/two"]]
    assert [run.path for run in find_runs([tmp_path / "a"])] == below_a
    assert [run.path for run in find_runs([tmp_path / "b", tmp_path / "a"])] == [runs["b"], inside, *below_a]
    some = find_runs([runs["a/two"], tmp_path / "a", runs["b"]])
    assert [run.path for run in some] == [runs["a/two"], *below_a[:2], runs["b"], inside]


def test_every_path_without_a_run_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError) as raised:
        find_runs([tmp_path / "none", run, tmp_path / "empty", run / "config.yaml"])
    assert raised.value.problems == [
        f"{tmp_path / name}: there is no run here, no folder with a config.yaml"
        for name in ("none", "empty", "run/config.yaml")
    ]


def test_a_run_of_another_format_is_refused_by_its_number(tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match=r"run: there is no run here, no config\.yaml"):
        run.check_format()
    with run.held():
        run.config.write_text("data: {name: digits}\n")
    run.check_format()
    for other in ("2", None):
        (run.path / "format").write_text("2\n") if other else (run.path / "format").unlink()
        for refuse in (run.check_format, lambda: run.held().__enter__()):
            with pytest.raises(UserError, match=rf"another version .* \(format {other or 'none'}, expected 1\)"):
                refuse()


def test_a_line_that_is_no_measurement_is_named(tmp_path):
    run = RunFolder(tmp_path)
    run.add_measurement(MEASUREMENT)
    log = tmp_path / "scores.jsonl"
    for line in ('{"step": 2}', '{"step": 2, "scores": 3}', '{"step": 2, "scores": [], "more": 1}'):
        log.write_text(log.read_text().splitlines()[0] + f"\n{line}\n")
        with pytest.raises(UserError, match=r"scores\.jsonl:2: expected scores by a protocol"):
            _ = run.measurements


def test_a_measurement_is_read_as_it_was_written(tmp_path):
    run = RunFolder(tmp_path)
    run.add_measurement(MEASUREMENT)
    assert run.measurements == [MEASUREMENT]


def make_checkpoints(run, *names):
    for name in names:
        save_checkpoint(run / "checkpoints" / name, {})


def test_checkpoints_have_names_and_paths(tmp_path):
    make_checkpoints(tmp_path, "latest.pt", "best.pt", "step_000004.pt")
    folder = tmp_path / "checkpoints"
    assert RunFolder(tmp_path).checkpoint("latest") == folder / "latest.pt"
    assert RunFolder(tmp_path).checkpoint("best") == folder / "best.pt"
    assert RunFolder(tmp_path).checkpoint(str(folder / "step_000004.pt")) == folder / "step_000004.pt"


def test_a_missing_checkpoint_is_answered_with_those_there(tmp_path):
    with pytest.raises(UserError, match=r"there is no checkpoint .*latest\.pt \(this run has: none yet\)"):
        RunFolder(tmp_path).checkpoint("latest")
    make_checkpoints(tmp_path, "step_000004.pt", "latest.pt")
    with pytest.raises(UserError, match=r"no checkpoint .*best\.pt \(this run has: latest\.pt, step_000004\.pt\)"):
        RunFolder(tmp_path).checkpoint("best")
    with pytest.raises(UserError, match=r"no checkpoint absent\.pt \(this run has"):
        RunFolder(tmp_path).checkpoint("absent.pt")


def test_kept_checkpoints_come_in_the_order_of_their_steps(tmp_path):
    names = ["step_000002.pt", "step_000010.pt", "step_999999.pt", "step_1000000.pt"]
    make_checkpoints(tmp_path, *reversed(names), "latest.pt", "previous.pt", "best.pt")
    assert [path.name for path in RunFolder(tmp_path).kept_checkpoints] == names
    assert RunFolder(tmp_path / "none").kept_checkpoints == []


def steps(log):
    return [line["step"] for line in log]


def test_forgetting_drops_later_lines_and_one_cut_short(tmp_path):
    run, log = RunFolder(tmp_path), tmp_path / "metrics.jsonl"
    for step in (2, 4, 6):
        run.add_metrics(step, {"loss": 1 / 3})
        run.add_measurement(replace(MEASUREMENT, step=step))
    whole = log.read_text()
    log.write_text(whole + '{"step": 4, "lo')
    run.forget_after(4)
    assert log.read_text() == "".join(whole.splitlines(keepends=True)[:2])
    assert [measurement.step for measurement in run.measurements] == [2, 4]
    run.add_metrics(5, {})
    assert steps(run.metrics) == [2, 4, 5]


def test_forgetting_everything_leaves_an_empty_log_and_no_log_stays_none(tmp_path):
    run = RunFolder(tmp_path)
    run.add_metrics(1, {})
    run.forget_after(0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    assert not (tmp_path / "scores.jsonl").exists()
    assert (run.metrics, run.measurements) == ([], [])


@pytest.mark.parametrize("line", ['{"step": 2, "lo', '{"loss": 1}', "[1, 2]", '{"step": "2"}', "\xff\xfe", "[" * 10**5])
def test_a_damaged_line_is_named_and_the_log_stays(line, tmp_path):
    run, log = RunFolder(tmp_path), tmp_path / "metrics.jsonl"
    log.write_bytes(b'{"step": 1}\n' + line.encode("latin-1") + b'\n{"step": 3}\n')
    before = log.read_bytes()
    for work in (lambda: run.metrics, lambda: run.forget_after(1)):
        with pytest.raises(UserError) as error:
            work()
        (problem,) = error.value.problems
        assert problem.startswith(f"{log}:2: expected a JSON object with a step, got '")
        assert "\n" not in problem
    assert log.read_bytes() == before


def test_a_line_that_is_appended_while_others_are_forgotten_is_not_lost(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    for step in (1, 2):
        run.add_metrics(step, {})
    appending = threading.Thread(target=RunFolder(tmp_path).add_metrics, args=(3, {}))

    def write_meanwhile(path, content):
        appending.start()
        appending.join(0.2)  # it waits for longer
        write_atomically(path, content)

    monkeypatch.setattr("ganmix.engine.run_folder.write_atomically", write_meanwhile)
    run.forget_after(1)
    appending.join()
    assert steps(run.metrics) == [1, 3]


def test_a_second_training_is_kept_out_and_the_folder_named(tmp_path):
    run = RunFolder(tmp_path / "run")
    with run.held(), pytest.raises(UserError, match=r"another process is training in .*run"):
        RunFolder(tmp_path / "run").held().__enter__()
    with RunFolder(tmp_path / "run").held():
        pass


def test_making_a_run_folder_touches_nothing(tmp_path):
    run = RunFolder(tmp_path / "run")
    assert (run.metrics, run.sessions, run.measurements, run.last_checkpoint) == ([], [], [], None)
    assert not run.path.exists()


def test_a_lock_that_is_a_link_leaves_its_target(tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(target)
    with pytest.raises(UserError, match=r"run\.dir: cannot write to"):
        RunFolder(tmp_path / "run").held().__enter__()
    assert target.read_text() == "precious"
