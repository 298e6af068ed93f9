import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from read_scores import read_scores
from safetensors import safe_open
from safetensors.torch import load_file

from ganmix.algorithms.semi_supervised import SemiSupervisedTrainer
from ganmix.algorithms.supervised import SupervisedTrainer
from ganmix.commands import train_classifier
from ganmix.config.classifier import ClassifierConfig
from ganmix.config.reader import read_config
from ganmix.data import ImageData, load_images
from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint
from ganmix.engine.files import read_lines
from ganmix.engine.run_folder import RunFolder
from ganmix.evaluation.gan.extractors import get_extractor
from ganmix.networks.classifier.files import load_classifier
from ganmix.tasks.classifier import read_images

CONFIG = """\
data: {name: digits, dequantise: true}
network: {name: conv, width: 4}
training: {steps: 40, batch_size: 64, lr: 0.2}
logging: {scalars_every: 15, checkpoint_every: 10}
evaluation: {every: 20}
device: {name: cpu}
"""
MIXED = """\
data: {name: digits, labels_per_class: 10, num_validation: 105, crop_padding: 1, padding: reflect, flip: true,
       prepare: channels, noise: 0.1}
network: {name: conv, width: 4}
mixup: {alpha: 2.0, stages: [input, conv1]}
training: {epochs: 8, batch_size: 25, lr: 0.2, decay: multistep, drops: [2, 6], ema: 0.5}
logging: {scalars_every: 4, images_every: 20, checkpoint_every: 5}
evaluation: {select: validation}
device: {name: cpu}
"""
CUTMIX = MIXED.replace("mixup: {alpha: 2.0, stages: [input, conv1]}", "cutmix: {alpha: 1.0}")
SEMI = """\
data: {name: digits, labels_per_class: 5, num_validation: 105, prepare: zca}
network: {name: wide_resnet, depth: 10, width: 1}
mixup: {alpha: 0.1}
semi_supervised: {batch_size: 120, mixup: {alpha: 2.0}}
training: {epochs: 3, batch_size: 20, lr: 0.1, l1: 0.001, l1_of: first}
logging: {scalars_every: 4, checkpoint_every: 5}
evaluation: {select: validation}
device: {name: cpu}
"""
CONFIGS = {"plain": CONFIG, "mixed": MIXED, "cutmix": CUTMIX, "semi": SEMI}
CUT = {"plain": 28, "mixed": 18, "cutmix": 18, "semi": 18}  # steps after which the power fails


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory):
    """A folder with the configs to be in."""
    folder = tmp_path_factory.mktemp("classifier_run")
    for name, text in CONFIGS.items():
        (folder / f"{name}.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def train(name="plain", *overrides):
    return train_classifier([f"{name}.yaml", *overrides])


@pytest.fixture(scope="module")
def runs(workplace):
    """The finished run of each config, trained when first asked for."""
    found = {}

    def get(name):
        if name not in found:
            assert train(name) == 0
            found[name] = workplace / "runs" / name
        return found[name]

    return get


@pytest.fixture(scope="module")
def finished(runs):
    return runs("plain")


def read_metrics(run):
    lines = read_lines(run / "metrics.jsonl")
    assert all(line.pop("images_per_second") > 0 for line in lines)
    return lines


def test_it_learns(finished):
    first, last = read_scores(finished)
    assert (first["step"], last["step"]) == (20, 40)
    assert 50 < last["scores"]["accuracy"] <= 100
    assert 0 < last["scores"]["nll"] < 2.3  # log 10 is not to know
    assert [*last["scores"]] == ["accuracy", "nll", "ece", "brier"]
    protocol = {"what": "clean", "dataset": "digits", "split": "test", "num": 359, "ema": False}
    assert last["protocol"].items() >= protocol.items()


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
    assert extractor.name == "classifier"
    assert features.shape == (359, 4 * 4)
    accuracy = 100 * (logits.argmax(1) == test.labels).double().mean().item()
    assert accuracy == pytest.approx(read_scores(finished)[-1]["scores"]["accuracy"], rel=1e-9)


def test_written_file_tells_how_it_was_made(finished):
    with safe_open(finished / "classifier.safetensors", framework="pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
    assert recipe["config"]["training"]["steps"] == 40
    assert recipe["scores"] == read_scores(finished)[-1]["scores"]


def test_finished_run_says_so_and_does_nothing(finished, capsys):
    def snapshot():
        return {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}

    latest = finished / "checkpoints" / "latest.pt"
    before, time_before = snapshot(), latest.stat().st_mtime_ns
    assert train() == 0
    assert capsys.readouterr().err == "runs/plain is finished (40 steps)\n"
    assert snapshot() == before
    assert latest.stat().st_mtime_ns == time_before


def test_steps_are_fixed_since_the_learning_rate_falls_over_them(finished, capsys):
    assert train("plain", "training.steps=80") == 2
    problem = capsys.readouterr().err.splitlines()[0]
    assert problem == "error: runs/plain was started with training.steps = 40, and now it is 80"


CONSTANT = ["training.decay=constant", "evaluation.every=10"]


def test_steps_may_be_more_where_the_learning_rate_is_constant(tmp_path, capsys):
    whole, extended = tmp_path / "whole", tmp_path / "extended"
    assert train("plain", f"run.dir={whole}", *CONSTANT) == 0
    assert train("plain", f"run.dir={extended}", *CONSTANT, "training.steps=20") == 0
    capsys.readouterr()
    assert train("plain", f"run.dir={extended}", *CONSTANT, "training.steps=20") == 0
    assert capsys.readouterr().err == f"{extended} is finished (20 steps); training.steps=40 would go on\n"
    assert train("plain", f"run.dir={extended}", *CONSTANT) == 0
    states = [load_checkpoint(folder / "checkpoints" / "latest.pt") for folder in (whole, extended)]
    torch.testing.assert_close(*[state["algorithm"] for state in states], rtol=0, atol=0)
    assert read_scores(extended) == read_scores(whole)
    written = [load_file(folder / "classifier.safetensors") for folder in (whole, extended)]
    torch.testing.assert_close(*written, rtol=0, atol=0)
    (problem,) = refused(capsys, "plain", f"run.dir={extended}", *CONSTANT, "training.steps=30")
    assert problem == f"training.steps: {extended} has done 40 already, more than 30"


def test_steps_of_a_semi_supervised_run_are_fixed_since_its_weight_rises_over_them(tmp_path, capsys):
    options = [f"run.dir={tmp_path}", "training.decay=constant", "training.epochs=null"]
    options += ["training.l1=0", "training.l1_of=all"]
    assert train("semi", *options, "training.steps=1") == 0
    problem, _ = refused(capsys, "semi", *options, "training.steps=2")
    assert problem == f"{tmp_path} was started with training.steps = 1, and now it is 2"


def test_a_network_of_fewer_steps_is_no_finished_run(tmp_path, monkeypatch):
    assert train("plain", f"run.dir={tmp_path}", *CONSTANT, "training.steps=10") == 0
    with monkeypatch.context() as patch:
        patch.setattr("ganmix.tasks.classifier.classifier_file", power_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train("plain", f"run.dir={tmp_path}", *CONSTANT, "training.steps=20")
    assert train("plain", f"run.dir={tmp_path}", *CONSTANT, "training.steps=20") == 0
    scores = [line["scores"]["accuracy"] for line in read_scores(tmp_path)]
    assert accuracy_of(tmp_path) == pytest.approx(scores[-1], abs=1e-9)
    assert scores[-1] != scores[0]


def power_cut(*_):
    raise RuntimeError("power cut")


def accuracy_of(run):
    """The accuracy on test images of the network that a run wrote."""
    data = load_images("digits", "test")
    with torch.no_grad():
        logits = load_classifier(run / "classifier.safetensors").predict(data.images.float() / 127.5 - 1)
    return 100 * (logits.argmax(1) == data.labels).double().mean().item()


@pytest.mark.parametrize("size", [0, 100, 1000])
def test_a_network_cut_short_is_written_again(finished, tmp_path, size):
    run = shutil.copytree(finished, tmp_path / "run")
    written = run / "classifier.safetensors"
    written.write_bytes(written.read_bytes()[:size])
    assert train("plain", f"run.dir={run}") == 0
    torch.testing.assert_close(load_file(written), load_file(finished / written.name), rtol=0, atol=0)


def test_a_network_is_written_whole_or_not_at_all(finished, tmp_path, monkeypatch):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "classifier.safetensors").unlink()
    sync = os.fsync
    half_written = lambda _: power_cut() if (run / "classifier.safetensors.tmp").exists() else sync(_)  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", half_written)
        with pytest.raises(RuntimeError, match="power cut"):
            train("plain", f"run.dir={run}")
    assert not (run / "classifier.safetensors").exists()


def test_an_evaluation_finds_its_step_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("ganmix.tasks.classifier_scores.clean_scores", power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
        train("plain", f"run.dir={tmp_path}", "evaluation.every=7", "logging.checkpoint_every=1000")
    assert load_checkpoint(tmp_path / "checkpoints" / "latest.pt")["algorithm"]["steps_done"] == 7


BY_VALIDATION = ["data.num_validation=105", "evaluation.select=validation"]


@pytest.fixture
def orphaned(tmp_path, monkeypatch):
    """A run killed between best.pt and the log, which knows of an earlier step's only; and that step."""
    append = RunFolder.add_measurement
    best = tmp_path / "checkpoints" / "best.pt"

    def append_or_fail(folder, measurement):
        if measurement.step > 10 and load_checkpoint(best)["algorithm"]["steps_done"] == measurement.step:
            power_cut()
        append(folder, measurement)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "add_measurement", append_or_fail)
        with pytest.raises(RuntimeError, match="power cut"):
            train("plain", f"run.dir={tmp_path}", *BY_VALIDATION, "evaluation.every=10")
    killed_at = load_checkpoint(best)["algorithm"]["steps_done"]
    assert max(line["step"] for line in read_scores(tmp_path)) == killed_at - 10
    # What follows is worse than all before.
    step = SupervisedTrainer.step

    def step_into_the_dark(trainer):
        record = step(trainer)
        with torch.no_grad():
            for parameter in trainer.descent.network.parameters():
                parameter.zero_()
        return record

    monkeypatch.setattr(SupervisedTrainer, "step", step_into_the_dark)
    return tmp_path, killed_at


def test_after_a_kill_the_network_that_is_reported_is_the_one_that_is_written(orphaned):
    run, killed_at = orphaned
    assert train("plain", f"run.dir={run}", *BY_VALIDATION, "evaluation.every=35") == 0
    chosen = read_scores(run)[-1]
    assert (chosen["step"], chosen["checkpoint"]) == (40, killed_at)
    assert accuracy_of(run) == pytest.approx(chosen["scores"]["accuracy"], abs=1e-9)


def test_a_lost_network_is_not_replaced_by_another(orphaned, capsys):
    run, _ = orphaned
    best = run / "checkpoints" / "best.pt"
    content = best.read_bytes()
    best.unlink()
    (problem,) = failed(capsys, run)
    assert problem.startswith(f"error: {best}: not a readable checkpoint (No such file or directory); it had the netw")
    best.write_bytes(content[:-1])
    (problem,) = failed(capsys, run)
    assert problem.startswith(f"error: {best}: not a readable checkpoint (it does not end with a digest")
    best.write_bytes(content)
    state = load_checkpoint(best)
    for line in state["measurements"]:
        line["scores"][0]["value"] = 0.0
    save_checkpoint(best, state)
    (problem,) = failed(capsys, run)
    assert problem.startswith(f"error: {best} is less accurate than the best network of the scores in {run}, ")
    assert not (run / "classifier.safetensors").exists()
    assert not [line for line in read_scores(run) if "selected_by" in line["protocol"]]


def failed(capsys, run):
    """The errors that end a training."""
    capsys.readouterr()
    assert train("plain", f"run.dir={run}", *BY_VALIDATION, "evaluation.every=35") == 2
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


def test_other_labels_are_other_images(finished, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(finished, tmp_path / "run")

    def relabelled(data, split):
        images = load_images(data.name, split)
        return replace(images, labels=images.labels.roll(1))

    monkeypatch.setattr("ganmix.tasks.classifier.read_data", relabelled)
    (problem,) = refused(capsys, "plain", f"run.dir={run}")
    assert problem.startswith("the images at data (digits) are not those this run was trained on")


@pytest.mark.parametrize("name", CONFIGS)
def test_interrupted_and_resumed_run_equals_an_uninterrupted_one(runs, name, tmp_path, monkeypatch):
    uninterrupted = runs(name)
    trainer_class = SemiSupervisedTrainer if name == "semi" else SupervisedTrainer
    step = trainer_class.step

    def fail_at_the_cut(trainer):
        record = step(trainer)
        if trainer.steps_done == CUT[name]:
            raise RuntimeError("power cut")
        return record

    with monkeypatch.context() as patch:
        patch.setattr(trainer_class, "step", fail_at_the_cut)
        with pytest.raises(RuntimeError, match="power cut"):
            train(name, f"run.dir={tmp_path}")
    torch.manual_seed(1)  # whatever the process has drawn
    assert 0 < load_checkpoint(tmp_path / "checkpoints" / "latest.pt")["algorithm"]["steps_done"] < CUT[name]
    assert train(name, f"run.dir={tmp_path}") == 0
    folders = uninterrupted, tmp_path
    for kind in {"latest.pt", *(["best.pt"] if name != "plain" else [])}:
        states = [load_checkpoint(folder / "checkpoints" / kind) for folder in folders]
        torch.testing.assert_close(*[state["algorithm"] for state in states], rtol=0, atol=0)
    metrics, scores = ([read(folder) for folder in folders] for read in (read_metrics, read_scores))
    assert metrics[0] == metrics[1]
    assert scores[0] == scores[1]
    written = [load_file(folder / "classifier.safetensors") for folder in folders]
    torch.testing.assert_close(*written, rtol=0, atol=0)


def test_a_run_that_goes_on_measures_no_preparation_again(runs, monkeypatch, capsys):
    assert runs("semi").is_dir()
    monkeypatch.setattr("ganmix.tasks.classifier.prepare_for", lambda *_: pytest.fail("measured again"))
    capsys.readouterr()
    assert train("semi") == 0
    assert capsys.readouterr().err == "runs/semi is finished (33 steps)\n"


def test_epochs_are_passes_over_the_labelled_or_else_the_unlabelled_images(runs):
    sessions = {name: read_lines(runs(name) / "sessions.jsonl")[-1]["total_steps"] for name in ("mixed", "semi")}
    # 100 labelled images in batches of 25; 1438 - 105 unlabelled ones in batches of 120
    assert sessions == {"mixed": 8 * 4, "semi": 3 * 11}
    steps = [line["step"] for line in read_scores(runs("semi")) if "selected_by" not in line["protocol"]]
    assert steps == [11, 11, 22, 22, 33, 33]


def test_rate_drops_at_epochs(runs):
    rates = {line["step"]: line["learning_rate"] for line in read_lines(runs("mixed") / "metrics.jsonl")}
    assert {step: rates[step] for step in (4, 8, 20, 24, 32)} == pytest.approx(
        {4: 0.2, 8: 0.02, 20: 0.02, 24: 0.002, 32: 0.002}
    )


def test_accuracy_on_the_batch_is_told_only_where_images_are_not_mixed(runs):
    recorded = {name: read_lines(runs(name) / "metrics.jsonl")[-1].keys() for name in CONFIGS}
    assert [name for name, keys in recorded.items() if "accuracy" in keys] == ["plain"]
    assert {"loss/supervised", "loss/consistency", "consistency_coefficient"} <= recorded["semi"]


@pytest.mark.parametrize("name", ["mixed", "semi"])
def test_the_network_best_on_validation_images_is_chosen_and_written(runs, name):
    lines = read_scores(runs(name))
    *every, chosen = lines
    validation = [line for line in every if line["protocol"]["split"] == "validation"]
    best = max(validation, key=lambda line: line["scores"]["accuracy"])
    (test,) = [x for x in every if x["protocol"]["split"] == "test" and x["step"] == best["step"]]
    assert chosen["scores"] == test["scores"]
    assert chosen["checkpoint"] == best["step"]
    assert chosen["step"] == every[-1]["step"]
    assert chosen["protocol"] == {**test["protocol"], "selected_by": "validation"}
    network = load_classifier(runs(name) / "classifier.safetensors")
    data = load_images("digits", "test")
    with torch.no_grad():
        logits = network.predict(data.images.float() / 127.5 - 1)
    accuracy = 100 * (logits.argmax(1) == data.labels).double().mean().item()
    assert accuracy == pytest.approx(chosen["scores"]["accuracy"], abs=1e-9)


def test_best_on_test_images_is_chosen_only_where_asked_for(workplace, tmp_path):
    short = ["training.epochs=4", "training.drops=[2]"]
    assert train("mixed", f"run.dir={tmp_path}", "evaluation.select=test", *short) == 0
    *every, chosen = read_scores(tmp_path)
    best = max(line["scores"]["accuracy"] for line in every if line["protocol"]["split"] == "test")
    assert chosen["scores"]["accuracy"] == best
    assert chosen["protocol"]["selected_by"] == "test"


def test_validation_and_labelled_images_are_drawn_by_the_runs_seed_and_never_meet(workplace):
    def images(seed):
        return read_images(read_config(ClassifierConfig, workplace / "semi.yaml", [f"run.seed={seed}"]))

    first, again, other = images(0), images(0), images(1)
    assert (first.labelled.num_images, first.train.num_images) == (50, 1438 - 105)
    assert first.labelled.labels.bincount().tolist() == [5] * 10
    rows = [{bytes(image.numpy()) for image in data.images} for data in (first.train, first.held_out["validation"])]
    labelled = {bytes(image.numpy()) for image in first.labelled.images}
    assert labelled <= rows[0]
    assert not rows[0] & rows[1]
    assert torch.equal(first.labelled.images, again.labelled.images)
    assert not torch.equal(first.labelled.images, other.labelled.images)


def test_pictures_are_of_augmented_batches_and_of_mixes_where_the_input_is_mixed(runs):
    names = {name: {file.name for file in (runs(name) / "samples").iterdir()} for name in ("plain", "mixed")}
    assert names["mixed"] == {f"{kind}_{step:06d}.png" for kind in ("batch", "mixes") for step in (0, 20, 32)}
    assert names["plain"] == {"batch_000000.png", "batch_000040.png"}


def refused(capsys, name, *overrides):
    capsys.readouterr()
    assert train(name, *overrides) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return [line.removeprefix("error: ") for line in lines]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["mixup.stages=[conv9]"], "mixup.stages: stage 'conv9' is not one of this network's: 0 (input), 1 (conv1)"),
        (["data.labels_per_class=200"], "fewer than 11 for num_validation and 200 for labels_per_class"),
        (["data.crop_padding=8"], "data.crop_padding must be less than the images' 8 pixels"),
        (["data.num_validation=0"], "evaluation.select: validation needs data.num_validation"),
        (["cutmix={alpha: 1.0}"], "mixup and cutmix exclude each other"),
        (["training.steps=10"], "either steps or epochs is needed, not both"),
        (["training.drops=[6, 2]"], "drops must rise"),
        (["training.drops=[]"], "drops go with decay: multistep"),
        (["training.batch_size=200"], "training.batch_size: a batch of 200 exceeds the 100 images"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_it(runs, overrides, problem, tmp_path, capsys):
    (line,) = refused(capsys, "mixed", f"run.dir={tmp_path / 'run'}", *overrides)
    assert problem in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 10], "labels outside its 10 classes 0..9: image 9 has 10 (1 such images)"),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 8], "digits train has no image of class 9"),
        (None, "digits has no labels"),
    ],
)
def test_labels_that_do_not_fit_the_classes_are_named(labels, problem, tmp_path, monkeypatch, capsys):
    images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
    labels = None if labels is None else torch.tensor(labels)
    good = ImageData(images, torch.arange(10), "digits", "test")
    bad = ImageData(images, labels, "digits", "train")
    monkeypatch.setattr("ganmix.tasks.classifier.read_data", lambda _, split: bad if split == "train" else good)
    (line,) = refused(capsys, "plain", f"run.dir={tmp_path / 'run'}")
    assert problem in line
    assert not (tmp_path / "run").exists()
