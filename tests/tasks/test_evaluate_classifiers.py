import shutil
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from read_scores import read_scores
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ganmix.commands import evaluate as evaluate_command
from ganmix.commands import train_classifier
from ganmix.config.classifier import ClassifierConfig
from ganmix.config.reader import read_config
from ganmix.data import load_images
from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint
from ganmix.engine.run_folder import RunFolder
from ganmix.engine.scores import Score
from ganmix.engine.world import World
from ganmix.errors import UserError
from ganmix.evaluation.classifier.accuracy import clean_scores
from ganmix.evaluation.classifier.attacks import attack_scores, unbounded_scores
from ganmix.evaluation.classifier.deformations import deformation_scores
from ganmix.evaluation.classifier.interpolation import interpolation_nll
from ganmix.tasks import evaluate as evaluate_module
from ganmix.tasks.classifier import ClassifierTask
from ganmix.tasks.classifier_scores import EVALUATIONS, NUM_LAMBDAS, SEED, USUAL

CONFIG = """\
data: {name: digits, prepare: channels, num_validation: 100}
network: {name: conv, width: 4}
training: {steps: 30, batch_size: 64, lr: 0.2, ema: 0.5}
logging: {keep_every: 10}
evaluation:
  {select: validation, every: 10, num_test: 300, attacks: {pgd_steps: 2, unbounded_steps: 3}}
device: {name: cpu}
"""
EVERYTHING = ",".join(EVALUATIONS)


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate_classifiers")
    (folder / "config.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def finished(workplace):
    assert train_classifier(["config.yaml"]) == 0
    return workplace / "runs" / "config"


@pytest.fixture(scope="module")
def evaluated(finished, tmp_path_factory):
    run = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(finished, run)
    assert evaluate(run, "--what", EVERYTHING) == 0
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def evaluate(*arguments):
    return evaluate_command([str(argument) for argument in arguments])


def refused(capsys, *arguments):
    capsys.readouterr()
    assert evaluate(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    return [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]


def lines_of(run, what):
    return [line for line in read_scores(run) if line["protocol"]["what"] == what]


def test_scores_are_those_of_the_selected_network_on_test_images(evaluated):
    config = read_config(ClassifierConfig, evaluated / "config.yaml")
    trained = ClassifierTask(config, torch.device("cpu")).load(evaluated / "checkpoints" / "best.pt")
    data, device, predict = load_images("digits", "test"), torch.device("cpu"), trained.network.predict
    first = replace(data, images=data.images[:300], labels=data.labels[:300])
    curves = interpolation_nll(trained.network, first, device, num_lambdas=NUM_LAMBDAS, seed=SEED)
    numbers = {"epsilon": 0.03, "pgd_step": 0.0075, "pgd_steps": 2}
    expected = {
        "clean": clean_scores(predict, data, device),
        "attacks": attack_scores(predict, first, device, **numbers, seed=SEED),
        "unbounded": unbounded_scores(predict, first, device, step=0.01, steps=3),
        "deformations": deformation_scores(predict, first, device, seed=SEED),
        "interpolation": [Score("mixed nll", sum(curve) / 51, at=name) for name, curve in curves.items()],
    }
    assert {*expected} == {*EVALUATIONS}
    for what, scores in expected.items():
        line = lines_of(evaluated, what)[-1]
        assert line["scores"] == pytest.approx({score.label: score.value for score in scores}, rel=1e-6)
        assert line["protocol"]["selected_by"] == "validation"
        assert (line["step"], line["checkpoint"]) == (30, trained.step)
    assert RunFolder(evaluated).measurements[-1].curves == curves
    assert len(lines_of(evaluated, "deformations")[-1]["scores"]) == 17


def test_each_protocol_says_what_its_scores_depend_on(evaluated):
    protocols = {what: lines_of(evaluated, what)[-1]["protocol"] for what in EVALUATIONS}
    digest = protocols["clean"]["digest"]
    assert all(len(protocol["digest"]) == 64 and protocol["ema"] for protocol in protocols.values())
    assert [what for what, protocol in protocols.items() if protocol["digest"] == digest] == ["clean"]
    assert len({protocol["digest"] for protocol in protocols.values()}) == 2
    attacks = {"epsilon": 0.03, "space": "pixel", "pgd_step": 0.0075, "pgd_steps": 2, "seed": SEED, "num": 300}
    assert protocols["attacks"].items() >= attacks.items()
    assert protocols["unbounded"].items() >= {"step_size": 0.01, "steps": 3, "num": 300}.items()
    assert protocols["interpolation"].items() >= {"num_lambdas": 51, "seed": SEED}.items()


def test_what_is_known_is_not_scored_again_and_another_epsilon_is(evaluated, monkeypatch, capsys):
    before = (evaluated / "scores.jsonl").read_bytes()
    assert evaluate(evaluated, "--what", EVERYTHING) == 0
    assert (evaluated / "scores.jsonl").read_bytes() == before
    assert capsys.readouterr().err.count(", known)") == len(EVALUATIONS)
    assert evaluate(evaluated, "--what", "attacks", "evaluation.attacks.epsilon=0.3") == 0
    weak, strong = lines_of(evaluated, "attacks")
    assert strong["scores"]["FGSM"] < weak["scores"]["FGSM"]
    assert strong["protocol"]["epsilon"] == 0.3


def test_default_is_all_but_the_check_without_bound(run):
    assert evaluate(run) == 0
    assert {line["protocol"]["what"] for line in read_scores(run)} == {*USUAL}
    assert {*EVALUATIONS} - {*USUAL} == {"unbounded"}


def test_all_scores_each_kept_checkpoint_as_of_its_own_step(run):
    assert evaluate(run, "--all", "--what", "attacks") == 0
    lines = lines_of(run, "attacks")
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert not any("selected_by" in line["protocol"] for line in lines)


def test_scores_join_the_runs_curves(evaluated):
    events = EventAccumulator(str(evaluated)).Reload()
    tags = events.Tags()["scalars"]
    assert {"attacks/FGSM", "deformations/rotation 20", "interpolation/mixed nll input", "score/accuracy"} <= {*tags}


def test_attacks_in_normalised_space_are_those_of_the_channels_deviations(run):
    assert evaluate(run, "--what", "attacks", "evaluation.attacks.space=normalised") == 0
    config = read_config(ClassifierConfig, run / "config.yaml")
    trained = ClassifierTask(config, torch.device("cpu")).load(run / "checkpoints" / "best.pt")
    data = load_images("digits", "test").subset(torch.arange(300))
    std = trained.network.prepare.std.flatten() / 2  # of a pixel range of 1
    expected = attack_scores(
        trained.network.predict,
        data,
        torch.device("cpu"),
        epsilon=0.03,
        pgd_step=0.0075,
        pgd_steps=2,
        seed=SEED,
        std=std,
    )
    (line,) = lines_of(run, "attacks")
    assert line["scores"] == {score.label: score.value for score in expected}
    assert line["protocol"]["space"] == "normalised"


def test_normalised_space_needs_a_normalisation(workplace, capsys):
    raw = ["data.prepare=null", "training.steps=1", "evaluation.select=last", "run.dir=runs/raw"]
    assert train_classifier(["config.yaml", *raw]) == 0
    (line,) = refused(capsys, "runs/raw", "--what", "attacks", "evaluation.attacks.space=normalised")
    assert line == "evaluation.attacks.space: normalised needs a run with data.prepare: channels"


def test_protocol_of_attacks_says_whether_they_stay_in_the_range_of_images(evaluated, run):
    assert lines_of(evaluated, "attacks")[0]["protocol"]["clamp"] is True
    assert lines_of(evaluated, "unbounded")[0]["protocol"]["clamp"] is True
    assert evaluate(run, "--what", "attacks", "evaluation.attacks.space=normalised") == 0
    assert lines_of(run, "attacks")[0]["protocol"]["clamp"] is False


def test_checkpoint_of_another_preparation_is_refused(run, capsys):
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("prepare: channels", "prepare: null"))
    (line,) = refused(capsys, run, "--what", "attacks", "evaluation.attacks.space=normalised")
    assert "is not a checkpoint of this run: its data.prepare is 'channels', not None" in line


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("name: digits", "name: cifar10", "data.name is 'digits', not 'cifar10'"),
        ("width: 4", "width: 5", "network.width is 4, not 5"),
        ("prepare: channels", "prepare: zca", "data.prepare is 'channels', not 'zca'"),
    ],
)
def test_a_checkpoint_of_another_network_or_data_set_is_refused(
    run, old, new, difference, monkeypatch, made_data, capsys
):
    monkeypatch.setattr("ganmix.tasks.classifier.read_data", made_data)
    config = run / "config.yaml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))
    before = (run / "scores.jsonl").read_bytes()
    (line,) = refused(capsys, run)
    assert line == f"{run}/checkpoints/best.pt is not a checkpoint of this run: its {difference}"
    assert (run / "scores.jsonl").read_bytes() == before


def test_unfinished_training_has_selected_nothing_and_says_what_can_be_had(run, capsys):
    scores = run / "scores.jsonl"
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[:-1]))
    (line,) = refused(capsys, run)
    assert line.endswith("no checkpoint is selected; --checkpoint latest takes one")
    assert evaluate(run, "--checkpoint", "latest", "--what", "clean") == 0


def test_a_run_that_got_more_steps_has_selected_nothing_until_their_end(run, capsys):
    best = run / "checkpoints" / "best.pt"
    state = load_checkpoint(best)
    state["algorithm"]["steps_done"] += 1  # as a training that goes on replaces it
    save_checkpoint(best, state)
    before = (run / "scores.jsonl").read_bytes()
    (line,) = refused(capsys, run)
    assert line.endswith("no checkpoint is selected; --checkpoint latest takes one")
    assert (run / "scores.jsonl").read_bytes() == before


def test_each_process_scores_its_runs_on_its_own_gpu(run, monkeypatch):
    places = []

    def stop(task, path):
        places.append((path.parents[1], task.device))
        raise UserError("no such GPU here")

    monkeypatch.setattr("ganmix.engine.device.prepare_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(ClassifierTask, "load", stop)
    runs = [run, shutil.copytree(run, run.with_name("other"))]
    for rank in (0, 1):
        here = World(rank=rank, size=2, local_rank=rank)
        monkeypatch.setattr(evaluate_module, "world", lambda here=here: nullcontext(here))
        with pytest.raises(UserError, match="no such GPU here"):
            evaluate_module.evaluate_runs(runs)
    assert places == [(runs[0], torch.device("cuda", 0)), (runs[1], torch.device("cuda", 1))]


def test_options_of_the_other_kind_are_refused_each_by_name(run, capsys):
    lines = refused(capsys, run, "--protocol", "small", "--real", "data.num_validation=3")
    assert [line.split()[0] for line in lines[:2]] == ["--protocol", "--real"]
    assert "data.num_validation=3" in lines[2]
    (line,) = refused(capsys, run, "--what", "clean,attack")
    assert line == "--what: expected clean, attacks, unbounded, deformations, interpolation, got 'attack'"
