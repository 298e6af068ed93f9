import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from ganmix.config.base import Count, CountOrZero, PositiveFloat, Section
from ganmix.config.reader import dump_config, read_config
from ganmix.errors import UserError


class ResNet(Section):
    name: Literal["resnet"]
    width: Count = 128


class DCGAN(Section):
    name: Literal["dcgan"]
    depth: Count
    leak: PositiveFloat = 0.2

    @model_validator(mode="after")
    def _depth_and_leak(self) -> "DCGAN":
        if self.depth == 13:
            raise ValueError("a depth of 13 brings bad luck")
        return self


Network = Annotated[ResNet | DCGAN, Field(discriminator="name")]


class Mixup(Section):
    alpha: PositiveFloat = 1.0
    stages: tuple[CountOrZero | Literal["input"], ...] | Literal["all"] = (0,)
    labels: Literal["fake", "soft"] = "fake"

    @model_validator(mode="after")
    def _stages_exist(self) -> "Mixup":
        if self.stages != "all" and 7 in self.stages:
            raise ValueError("stages must lie in 0..4, got 7")
        return self


class Training(Section):
    steps: Count
    lr: PositiveFloat = 2e-4
    betas: tuple[float, float] = (0.0, 0.9)
    ema: float | None = Field(0.999, ge=0, lt=1)
    warmup: CountOrZero = 0
    amp: bool = False
    note: str | None = None


class Config(Section):
    generator: Network
    critic: ResNet | DCGAN | None = Field(None, discriminator="name")
    mixup: Mixup | None = None
    training: Training


GOOD = """\
# A comment.
generator:
  name: resnet

training:  # And another.
  steps: 100
"""


def read(tmp_path: Path, text: str, *overrides: str) -> Config:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return read_config(Config, path, overrides)


def problems(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    """The lines of the error, with the folder taken off."""
    with pytest.raises(UserError) as caught:
        read(tmp_path, text, *overrides)
    return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def test_good_file_fills_in_the_defaults(tmp_path: Path):
    config = read(tmp_path, GOOD)
    assert config == Config(generator=ResNet(name="resnet", width=128), training=Training(steps=100))


def test_every_problem_is_told_at_once_in_the_order_of_the_file(tmp_path: Path):
    text = """\
# The network.
generator:
  name: resnt

mixup:
  # Misspelt.
  alpah: 0.2
  alpha: -1
  labels: soft
training:
  steps: many
  lr: .nan
"""
    assert problems(tmp_path, text, "training.stpes=3", "training.amp=off") == [
        "some.yaml:3: generator.name: expected 'resnet' or 'dcgan', got 'resnt'; did you mean 'resnet'?",
        "some.yaml:7: mixup.alpah: unknown key; did you mean 'alpha'?",
        "some.yaml:8: mixup.alpha: expected a number greater than 0, got -1",
        "some.yaml:11: training.steps: expected a whole number, got 'many'",
        "some.yaml:12: training.lr: expected a finite number, got nan",
        "command line 'training.stpes=3': training.stpes: unknown key; did you mean 'steps'?",
        "command line 'training.amp=off': training.amp: expected true or false, got 'off'",
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("seed=1", "seed: unknown key; known here: generator, critic, mixup, training"),
        ("generator.name=[1]", "generator.name: expected 'resnet' or 'dcgan', got [1]"),
        ("generator.depth=3", "generator.depth: unknown key; known here: name, width"),
        ("generator={width: 3}", "generator: missing key 'name'"),
        ("generator={name: dcgan}", "generator: missing key 'depth'"),
        ("generator={name: dcgan, depth: 13}", "generator: a depth of 13 brings bad luck"),
        ("generator=resnet", "generator: expected a section, got 'resnet'"),
        ("critic={name: dcgan, depth: 0}", "critic.depth: expected a number greater than 0, got 0"),
        (
            "critic.name=densenet",
            "critic.name: expected 'resnet' or 'dcgan', got 'densenet'; did you mean 'resnet'?",
        ),
        ("mixup=on", "mixup: expected a section, got 'on'"),
        ("mixup.stages=[0, 7]", "mixup: stages must lie in 0..4, got 7"),
        (
            "mixup.stages=2",
            "mixup.stages: expected list of (whole number >= 0 or 'input') or 'all', got 2",
        ),
        (
            "mixup.stages=[true, -1]",
            "mixup.stages: expected list of (whole number >= 0 or 'input') or 'all', got [true, -1]",
        ),
        (
            "mixup.labels=hard",
            "mixup.labels: expected 'fake' or 'soft', got 'hard'",
        ),
        ("training=null", "training: expected a section, got null"),
        ("training.steps=true", "training.steps: expected a whole number, got true"),
        ("training.steps=1.5", "training.steps: expected a whole number, got 1.5"),
        ("training.steps=0", "training.steps: expected a number greater than 0, got 0"),
        ("training.warmup=-1", "training.warmup: expected a number of at least 0, got -1"),
        ("training.lr='1'", "training.lr: expected a number, got '1'"),
        ("training.lr=true", "training.lr: expected a number, got true"),
        ("training.lr=.inf", "training.lr: expected a finite number, got inf"),
        ("training.ema=1", "training.ema: expected a number less than 1, got 1"),
        ("training.betas=[0, a]", "training.betas.1: expected a number, got 'a'"),
        ("training.betas=[0, 1, 2]", "training.betas: expected [number, number], got [0, 1, 2]"),
        ("training.betas.0=1", "training.betas: expected [number, number], got {0: 1}"),
        ("training.note=3", "training.note: expected text, got 3"),
    ],
)
def test_problem_is_one_line_saying_what_was_expected(tmp_path: Path, override: str, problem: str):
    assert problems(tmp_path, GOOD, override) == [f"command line {override!r}: {problem}"]


def test_line_is_that_of_the_key_or_the_list_item(tmp_path: Path):
    text = GOOD + "  betas:\n    - 0\n\n    - high\n"
    assert problems(tmp_path, text) == ["some.yaml:10: training.betas.1: expected a number, got 'high'"]


def test_missing_key_is_at_the_line_of_its_section(tmp_path: Path):
    text = "# A comment.\ngenerator:\n  name: dcgan\ntraining: {}\n"
    assert problems(tmp_path, text) == [
        "some.yaml:2: generator: missing key 'depth'",
        "some.yaml:4: training: missing key 'steps'",
    ]
    assert problems(tmp_path, "\ngenerator: {name: resnet}\n") == ["some.yaml:2: missing key 'training'"]


def test_problem_in_a_merged_anchor_is_at_the_line_it_is_written(tmp_path: Path):
    text = """\
generator: &net
  name: dcgan
  depth: -1
critic:
  <<: *net
  leak: 0
training:
  steps: 1
"""
    assert problems(tmp_path, text) == [
        "some.yaml:3: generator.depth: expected a number greater than 0, got -1",
        "some.yaml:3: critic.depth: expected a number greater than 0, got -1",
        "some.yaml:6: critic.leak: expected a number greater than 0, got 0",
    ]


def test_long_value_is_cut(tmp_path: Path):
    (problem,) = problems(tmp_path, GOOD, f"training.lr={'x' * 500}")
    assert problem.endswith(f"expected a number, got '{'x' * 56}...")


def test_override_wins_over_the_file_and_the_later_over_the_earlier(tmp_path: Path):
    config = read(tmp_path, GOOD, "training.steps=3", "training.steps=4", "training={steps: 5}", "training.lr=1")
    assert config.training == Training(steps=5, lr=1.0)


@pytest.mark.parametrize("text", [GOOD, GOOD + "mixup: null\n", GOOD + "mixup: 3\n"])
def test_override_into_a_missing_section_creates_it(tmp_path: Path, text: str):
    assert read(tmp_path, text, "mixup.alpha=0.3").mixup == Mixup(alpha=0.3)


@pytest.mark.parametrize(
    ("overrides", "betas"),
    [(["training.betas.1=0.5"], (0.25, 0.5)), (["training.betas=[0.5, 1]", "training.betas.0=0.125"], (0.125, 1.0))],
)
def test_override_of_an_item_leaves_the_rest_of_its_list_alone(tmp_path: Path, overrides: list[str], betas):
    text = GOOD + "  betas: [0.25, 0.75]\n"
    assert read(tmp_path, text, *overrides).training.betas == betas


def test_problem_of_a_section_made_by_an_override_is_at_the_override(tmp_path: Path):
    assert problems(tmp_path, GOOD + "critic: null\n", "critic.name=dcgan") == [
        "command line 'critic.name=dcgan': critic: missing key 'depth'"
    ]


def test_override_of_an_aliased_section_leaves_the_other_alone(tmp_path: Path):
    text = GOOD.replace("generator:", "generator: &net") + "critic: *net\n"
    config = read(tmp_path, text, "critic.width=3")
    assert (config.generator.width, config.critic.width) == (128, 3)


@pytest.mark.parametrize("override", ["training.steps", "=3", "training.=3", ".steps=3", "a..b=3", ""])
def test_malformed_override_is_one_line(tmp_path: Path, override: str):
    assert problems(tmp_path, GOOD, override) == [f"command line '{override}': expected section.key=value"]


def test_override_that_is_no_yaml_is_one_line(tmp_path: Path):
    (problem,) = problems(tmp_path, GOOD, "mixup.stages=[0, 1")
    assert problem.startswith("command line 'mixup.stages=[0, 1': expected ',' or ']'")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: [1\nc: 2\n", "some.yaml:3: expected ',' or ']', but got ':'"),
        ("a: 1\nb:\n\t- 1\n", "some.yaml:3: found character '\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2\n", "some.yaml:2: but found another document"),
        ("a: 1\nb: \x01\n", "some.yaml:2: special characters are not allowed"),
        ("a: 1\nb: *c\n", "some.yaml:2: found undefined alias 'c'"),
        ("a: 1\n? [1, 2]\n: 3\n", "some.yaml:2: a key must be text"),
        ("a: !!int x\n", "some.yaml:1: invalid literal for int() with base 10: 'x'"),
        ("a: 1\nb: 2\na: 3\n", 'some.yaml:3: found duplicate key "a" with value "3" (original value: "1")'),
        ("", "some.yaml: empty, expected a mapping of keys to values"),
        ("# Only a comment.\n", "some.yaml: empty, expected a mapping of keys to values"),
        ("\n- 1\n- true\n", "some.yaml:2: expected a mapping of keys to values, got [1, true]"),
        ("resnet\n", "some.yaml:1: expected a mapping of keys to values, got 'resnet'"),
    ],
)
def test_file_that_is_no_yaml_mapping_is_one_line(tmp_path: Path, text: str, problem: str):
    assert problems(tmp_path, text) == [problem]


def test_file_that_cannot_be_read_is_one_line(tmp_path: Path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: größe".encode("latin-1"))
    for path, reason in [
        (tmp_path / "none.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (latin, "not text in UTF-8"),
    ]:
        with pytest.raises(UserError) as caught:
            read_config(Config, path)
        assert caught.value.problems == [f"{path}: {reason}"]


def test_scalars_are_those_of_yaml_1_2(tmp_path: Path):
    def training(override: str) -> Training:
        return read(tmp_path, GOOD, override).training

    assert training("training.lr=1e-4").lr == 0.0001
    assert training("training.note=off").note == "off"
    assert training("training.note=2026-01-01").note == "2026-01-01"
    assert training("training.warmup=012").warmup == 12


def test_count_takes_an_integral_float_as_a_whole_number(tmp_path: Path):
    steps = read(tmp_path, GOOD, "training.steps=1e4").training.steps
    assert steps == 10_000
    assert type(steps) is int


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["mixup={alpha: 1e-7, stages: [0, input]}", "training.betas=[0.5, 1]"],
        ["mixup.stages=all", "critic={name: dcgan, depth: 2}", "training.ema=null"],
        *[[f"training.note='{text}'"] for text in ("off", "null", "1e4", "", " a: b # c", "2026-01-01", "ß" * 200)],
    ],
)
def test_dumped_config_reads_back_equal(tmp_path: Path, overrides: list[str]):
    config = read(tmp_path, GOOD, *overrides)
    assert read(tmp_path, dump_config(config)) == config


def test_dump_keeps_the_order_of_the_fields(tmp_path: Path):
    assert (
        dump_config(read(tmp_path, GOOD, "mixup.stages=[0, 1]"))
        == """\
generator:
  name: resnet
  width: 128
critic: null
mixup:
  alpha: 1.0
  stages: [0, 1]
  labels: fake
training:
  steps: 100
  lr: 0.0002
  betas: [0.0, 0.9]
  ema: 0.999
  warmup: 0
  amp: false
  note: null
"""
    )


@pytest.mark.parametrize("text", [GOOD, GOOD + "  betas: [0.1, 0.2]\n"])
def test_override_replaces_an_item_of_a_list_or_adds_one(tmp_path: Path, text: str):
    assert read(tmp_path, text, "training.betas=[0.5, 0.9]", "training.betas.0=0").training.betas == (0.0, 0.9)
    assert read(tmp_path, text, "mixup.stages=[1]", "mixup.stages.1=input").mixup == Mixup(stages=(1, "input"))


def test_problem_of_an_item_is_at_its_override_and_of_the_others_at_the_file(tmp_path: Path):
    text = GOOD + "  betas: [high, 1]\n"
    assert problems(tmp_path, text, "training.betas.1=low") == [
        "some.yaml:7: training.betas.0: expected a number, got 'high'",
        "command line 'training.betas.1=low': training.betas.1: expected a number, got 'low'",
    ]


def test_index_past_the_end_is_no_item(tmp_path: Path):
    (problem,) = problems(tmp_path, GOOD + "  betas: [0, 1]\n", "training.betas.3=1")
    assert problem.endswith("training.betas: expected [number, number], got {3: 1}")


def test_reader_does_not_import_torch():
    # `--help` and a misspelt key must answer at once.
    code = "import sys, ganmix.config.reader, ganmix.config.help; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
