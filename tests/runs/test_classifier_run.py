import json

import pytest
import torch
from safetensors import safe_open

from ganmix.cli import train_classifier
from ganmix.data import load_images
from ganmix.evaluation import get_extractor
from ganmix.training.checkpoint import load_checkpoint
from ganmix.training.run_folder import read_lines
from ganmix.training.supervised import SupervisedTrainer

CONFIG = """\
data: {name: digits, dequantise: true}
network: {name: conv, width: 4}
training: {steps: 40, batch_size: 64, lr: 0.2}
logging: {scalars_every: 15, checkpoint_every: 10}
evaluation: {every: 20}
device: {name: cpu}
"""


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory):
    """A folder with config.yaml to be in."""
    folder = tmp_path_factory.mktemp("classifier_run")
    (folder / "config.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def train(*overrides):
    return train_classifier(["config.yaml", *overrides])


@pytest.fixture(scope="module")
def finished(workplace):
    assert train() == 0
    return workplace / "runs" / "config"


def without_speed(lines):
    assert all(line.pop("images_per_second") > 0 for line in lines)
    return lines


def test_it_learns(finished):
    first, last = read_lines(finished / "scores.jsonl")
    assert (first["step"], last["step"]) == (20, 40)
    assert 0.5 < last["scores"]["accuracy"] <= 1
    assert 0 < last["scores"]["nll"] < 2.3  # log 10 is not to know
    assert last["protocol"] == {"dataset": "digits", "split": "test", "num": 359}


def test_metrics_are_means_at_their_interval(finished):
    lines = read_lines(finished / "metrics.jsonl")
    assert [line["step"] for line in lines] == [15, 30, 40]
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.2 * 25 / 40, 0.2 * 10 / 40, 0])
    assert lines[0]["loss"] > lines[2]["loss"]
    assert lines[0]["accuracy"] < lines[2]["accuracy"]


def test_written_network_is_an_extractor_as_accurate_as_the_log_says(finished):
    extractor = get_extractor(str(finished / "classifier.safetensors"))
    test = load_images("digits", "test")
    features, logits = extractor.network(test.images)
    assert extractor.prefix == "classifier-"
    assert features.shape == (359, 4 * 4)
    accuracy = (logits.argmax(1) == test.labels).double().mean().item()
    assert accuracy == pytest.approx(read_lines(finished / "scores.jsonl")[-1]["scores"]["accuracy"], rel=1e-9)


def test_written_file_tells_how_it_was_made(finished):
    with safe_open(finished / "classifier.safetensors", framework="pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
    assert recipe["config"]["training"]["steps"] == 40
    assert recipe["scores"] == read_lines(finished / "scores.jsonl")[-1]["scores"]


def test_finished_run_says_so_and_does_nothing(finished, capsys):
    def snapshot():
        return {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}

    latest = finished / "checkpoints" / "latest.pt"
    before, time_before = snapshot(), latest.stat().st_mtime_ns
    assert train() == 0
    assert capsys.readouterr().err == "runs/config is finished (40 steps)\n"
    assert snapshot() == before
    assert latest.stat().st_mtime_ns == time_before


def test_steps_are_fixed_since_the_learning_rate_falls_over_them(finished, capsys):
    assert train("training.steps=80") == 2
    problem = capsys.readouterr().err.splitlines()[0]
    assert problem == "error: runs/config was started with training.steps = 40, and now it is 80"


def test_interrupted_and_resumed_run_equals_an_uninterrupted_one(finished, tmp_path, monkeypatch):
    step = SupervisedTrainer.step

    def fail_in_step_28(trainer):
        record = step(trainer)
        if trainer.steps_done == 28:
            raise RuntimeError("power cut")
        return record

    with monkeypatch.context() as patch:
        patch.setattr(SupervisedTrainer, "step", fail_in_step_28)
        with pytest.raises(RuntimeError, match="power cut"):
            train(f"run.dir={tmp_path}")
    assert load_checkpoint(tmp_path / "checkpoints" / "latest.pt")["algorithm"]["steps_done"] == 20
    assert train(f"run.dir={tmp_path}") == 0
    folders = finished, tmp_path
    states = [load_checkpoint(folder / "checkpoints" / "latest.pt") for folder in folders]
    torch.testing.assert_close(*[state["algorithm"] for state in states], rtol=0, atol=0)
    logs = [{name: read_lines(folder / f"{name}.jsonl") for name in ("scores", "metrics")} for folder in folders]
    assert [without_speed(log["metrics"]) for log in logs] == [logs[0]["metrics"]] * 2
    assert logs[0]["scores"] == logs[1]["scores"]
