import json
import math

import pytest
import torch

import ganmix.benchmark.classifier
from ganmix.commands import main
from ganmix.config.classifier import ClassifierConfig
from ganmix.config.either import read_either_config
from ganmix.config.gan import GanConfig
from ganmix.errors import UserError
from ganmix.mixup import MixPlan
from ganmix.networks import Staged

GAN = """\
data: {name: digits}
generator: {name: conv, width: 4}
discriminator: {name: conv, width: 4}
loss: {name: hinge}
mixup: {alpha: 0.2}
training: {steps: 1, batch_size: 4, n_dis: 2, ema: 0.9}
"""
CLASSIFIER = """\
data: {name: digits, flip: true, prepare: channels, noise: 0.1, labels_per_class: 5}
network: {name: conv, width: 4}
mixup: {alpha: 2.0}
semi_supervised: {batch_size: 4, mixup: {alpha: 2.0}}
training: {steps: 1, batch_size: 4, l1: 1.0e-3, ema: 0.9}
"""
BOUNDARIES = ["input", "conv1", "conv2", "conv3", "pool"]
SETTINGS = ["none", *(f"mixup at {name}" for name in BOUNDARIES)]
GAN_SETTINGS = ["none", *(f"{pairs} at {name}" for pairs in ("FR", "FR+FF") for name in ("input", "down1", "flat"))]


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def benchmark(write, tmp_path):
    """Runs the verb with --json; returns the exit status and the file's content, None where there is none."""

    def run(text: str, *arguments: str):
        output = tmp_path / "out.json"
        status = main(["benchmark", str(write(text)), "--rounds", "2", "--json", str(output), *arguments])
        return status, json.loads(output.read_text()) if output.exists() else None

    return run


def test_config_is_read_as_what_it_is(write):
    assert isinstance(read_either_config(write(GAN)), GanConfig)
    config = read_either_config(write(CLASSIFIER), ["training.batch_size=7"])
    assert isinstance(config, ClassifierConfig)
    assert config.training.batch_size == 7


@pytest.mark.parametrize(
    ("text", "right", "wrong", "problem"),
    [
        (GAN, "n_dis", "n_dsi", "config.yaml:6: training.n_dsi: unknown key; did you mean 'n_dis'?"),
        (GAN, "name: hinge", "name: hing", "loss.name: .*did you mean 'hinge'?"),
        (CLASSIFIER, "flip", "flpi", "config.yaml:1: data.flpi: unknown key; did you mean 'flip'?"),
        (CLASSIFIER, "name: conv", "name: cnv", "network.name: .*did you mean 'conv'?"),
    ],
)
def test_typo_is_told_as_the_kinds_that_was_meant(write, text: str, right: str, wrong: str, problem: str):
    with pytest.raises(UserError, match=problem.replace("?", r"\?")) as error:
        read_either_config(write(text.replace(right, wrong)))
    assert len(error.value.problems) == 1


def test_misspelt_section_is_told_as_unknown_and_as_missing(write):
    with pytest.raises(UserError) as error:
        read_either_config(write(GAN.replace("\ndiscriminator:", "\ndiscriminators:")))
    assert [problem.partition(": ")[2] for problem in error.value.problems] == [
        "missing key 'discriminator'",
        "discriminators: unknown key; did you mean 'discriminator'?",
    ]


@pytest.mark.parametrize(("text", "key"), [(GAN, "generator"), (CLASSIFIER, "network")])
def test_file_without_the_key_of_either_kind_is_told_what_it_needs_and_has(write, text: str, key: str):
    path = write(text.replace(f"\n{key}:", f"\n{key}s:"))
    with pytest.raises(UserError) as error:
        read_either_config(path)
    (problem,) = error.value.problems
    assert problem.startswith(f"{path}: a GAN needs the key generator, a classifier needs network; got data, ")
    assert f" {key}s, " in problem


def test_missing_file_is_told_once(tmp_path):
    with pytest.raises(UserError) as error:
        read_either_config(tmp_path / "none.yaml")
    assert error.value.problems == [f"{tmp_path / 'none.yaml'}: No such file or directory"]


def test_classifiers_tables_have_every_setting_and_way(benchmark, capsys):
    status, content = benchmark(CLASSIFIER)
    assert status == 0
    ways = ["textbook", "float32", "bfloat16"]
    assert [(row["way"], row["setting"]) for row in content["rows"]] == [(w, s) for w in ways for s in SETTINGS]
    assert [(row["way"], row["setting"]) for row in content["mixes"]] == [(w, s) for w in ways for s in SETTINGS[1:]]
    assert content.keys() == {
        *("hardware", "torch", "batch_size", "rounds", "config", "peak_memory_gib", "rows", "mixes"),
    }
    assert (content["batch_size"], content["rounds"]) == (4, 2)
    both = {"setting", "way", "speedup", "speedup_quartiles"}
    assert content["rows"][0].keys() == both | {"step", "images_per_second", "cost", "cost_quartiles"}
    assert content["mixes"][0].keys() == both | {"milliseconds", "percent_of_step"}
    training = content["config"]["training"]
    assert (training["decay"], training["l1"], training["ema"]) == ("constant", 0.0, None)
    steps = {row["way"]: row["step"] for row in content["rows"] if row["setting"] == "none"}
    for row in content["rows"]:
        assert row["images_per_second"] == pytest.approx(4 / row["step"])
        assert (row["cost"] == 1.0) == (row["setting"] == "none")
    for row in content["mixes"]:
        assert row["percent_of_step"] == pytest.approx(row["milliseconds"] / 10 / steps[row["way"]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + len(content["rows"]) + 1 + len(content["mixes"]) + 1


def test_settings_are_mixed_where_their_names_say(benchmark, monkeypatch):
    mixed_at = []
    forward = Staged.forward

    def watched(self: Staged, x: torch.Tensor, plan: MixPlan | None = None) -> torch.Tensor:
        mixed_at.append(None if plan is None else plan.stage)
        return forward(self, x, plan)

    monkeypatch.setattr(Staged, "forward", watched)
    drawn_at = []
    numpy_draw = ganmix.benchmark.classifier.numpy_draw
    monkeypatch.setattr(ganmix.benchmark.classifier, "numpy_draw", lambda *a: drawn_at.append(a[0]) or numpy_draw(*a))
    status, _ = benchmark(CLASSIFIER, "--ways", "float32", "--settings", "mixup at conv2", "none", "mixup at pool")
    assert status == 0
    assert mixed_at == [None, None, 2, 4] * 3  # a warm round and two timed ones, each begun by a step to warm up
    assert drawn_at == [[2], [2], [4], [4]]  # for the steps and for the mix alone


def test_textbook_descends_as_the_config_says(benchmark, monkeypatch):
    optimisers = []
    sgd = torch.optim.SGD

    def watched(*arguments, **keys):
        optimisers.append(sgd(*arguments, **keys))
        return optimisers[-1]

    monkeypatch.setattr(torch.optim, "SGD", watched)
    keys = ["training.lr=0.3", "training.momentum=0.8", "training.nesterov=false", "training.weight_decay=0.02"]
    status, _ = benchmark(CLASSIFIER, *keys, "--ways", "float32", "--settings", "none")
    assert status == 0
    assert len(optimisers) == 3  # of ours, of the textbook's source, of the textbook
    for optimiser in optimisers:
        group = optimiser.param_groups[0]
        assert [group[key] for key in ("lr", "momentum", "nesterov", "weight_decay")] == [0.3, 0.8, False, 0.02]


def test_mix_alone_is_of_the_hidden_states_that_each_way_has(benchmark, monkeypatch):
    mixed = {}
    grad = torch.autograd.grad

    def watched(outputs: torch.Tensor, inputs: torch.Tensor, gradient: torch.Tensor):
        assert outputs.shape == inputs.shape == gradient.shape
        assert not torch.equal(outputs, inputs)
        channels_last = inputs.is_contiguous(memory_format=torch.channels_last)
        mixed[len(mixed)] = tuple(inputs.shape), inputs.dtype, channels_last, outputs.stride() == inputs.stride()
        return grad(outputs, inputs, gradient)

    monkeypatch.setattr(torch.autograd, "grad", watched)
    benchmark(CLASSIFIER, "--settings", "mixup at input", "mixup at conv2", "--rounds", "1")
    shape = 4, 8, 4, 4
    # One of each in the warm round and in the timed one; the input needs no gradient.
    assert list(mixed.values()) == 2 * [
        (shape, torch.float32, False, True),
        (shape, torch.float32, True, True),
        (shape, torch.bfloat16, True, True),
    ]


@pytest.mark.parametrize("text", [GAN, CLASSIFIER])
def test_compiled_way_needs_a_compiler(benchmark, monkeypatch, capsys, text: str):
    monkeypatch.setattr("shutil.which", lambda name: None)
    status, content = benchmark(text, "device.name=cpu", "--ways", "compiled-bfloat16")
    assert (status, content) == (2, None)
    assert capsys.readouterr().err.startswith("error: device.compile: ")


def test_classifiers_cost_is_unknown_without_the_setting_to_compare_with(benchmark):
    _, content = benchmark(CLASSIFIER, "--ways", "float32", "--settings", "mixup at input")
    assert [row["way"] for row in content["rows"]] == ["textbook", "float32"]
    assert all(math.isnan(row["cost"]) for row in content["rows"])
    assert all(math.isnan(row["percent_of_step"]) for row in content["mixes"])


def test_setting_without_mixup_has_no_mix_alone(benchmark, capsys):
    _, content = benchmark(CLASSIFIER, "--settings", "none")
    assert content["mixes"] == []
    assert "the mix alone" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "known"),
    [(GAN, GAN_SETTINGS), (CLASSIFIER, SETTINGS)],
)
def test_unknown_setting_is_a_users_error(benchmark, capsys, text: str, known: list[str]):
    status, content = benchmark(text, "--settings", "FR at nowhere")
    assert (status, content) == (2, None)
    names = ", ".join(map(repr, known))
    assert capsys.readouterr().err == f"error: --settings: 'FR at nowhere' is not one of {names}\n"


def test_gans_table_has_the_settings_in_every_way(benchmark):
    status, content = benchmark(GAN, "--ways", "float32", "--settings", "FR+FF at flat", "none")
    assert status == 0
    expected = [(way, setting) for way in ("textbook", "float32") for setting in ("none", "FR+FF at flat")]
    assert [(row["way"], row["setting"]) for row in content["rows"]] == expected
    assert content.keys() == {
        *("hardware", "torch", "batch_size", "n_dis", "rounds", "config", "peak_memory_gib", "rows"),
    }
    assert content["rows"][0].keys() == {
        *("setting", "way", "d_step", "g_step", "iteration", "speedup", "speedup_quartiles", "cost"),
        *("cost_quartiles", "gflop", "gflop_cost"),
    }
    assert content["config"]["training"]["ema"] is None  # which the textbook has not
    for row in content["rows"]:
        # The median of two rounds is their mean, which is linear.
        assert row["iteration"] == pytest.approx(2 * row["d_step"] + row["g_step"])
        assert (row["gflop_cost"] == 1.0) == (row["setting"] == "none")
