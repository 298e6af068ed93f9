"""Which keys of a config are the method, identify a run, may change on a resume, and part it from the paper's row."""

from pathlib import Path

import pytest

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig
from ganmix.config.method import (
    differences,
    identity_keys,
    key_off_the_papers_row,
    method_keys,
    refused_changes,
)
from ganmix.config.reader import read_config

CONFIGS = Path(__file__).parents[2] / "configs"
GAN = CONFIGS / "gan" / "table6" / "sn_gan_fr.yaml"
CLASSIFIER = CONFIGS / "classifier" / "table1" / "preact_resnet18_manifold_mixup.yaml"


def key_of(path: Path, *overrides: str) -> str | None:
    model = GanConfig if path == GAN else ClassifierConfig
    return key_off_the_papers_row(read_config(model, path, overrides), path, overrides)


@pytest.mark.parametrize("path", [GAN, CLASSIFIER])
@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["mixup=null"], "mixup"),
        (["mixup.alpha=1"], "mixup.alpha"),
        (["training.lr=1e-5", "data.num_images=100"], "data.num_images"),  # in the config's order
        (["training.batch_size=7", "run.seed=1"], "training.batch_size"),
    ],
)
def test_change_of_the_method_is_named_by_its_first_key(path: Path, overrides: list[str], key: str):
    assert key_of(path, *overrides) == key


@pytest.mark.parametrize("path", [GAN, CLASSIFIER])
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["run.seed=3", "run.dir=elsewhere"],
        ["device.name=cpu", "device.bf16=true"],
        ["logging.scalars_every=1", "evaluation.every=5", "data.root=elsewhere"],
        ["training.batch_size=7", "paper.row=mine"],
        ["training.batch_size=7", "paper=null"],
    ],
)
def test_same_method_or_a_row_of_ones_own_is_kept(path: Path, overrides: list[str]):
    assert key_of(path, *overrides) is None


def test_value_of_the_file_given_again_is_no_change():
    assert key_of(GAN, "mixup.alpha=0.2", "training.lr=2e-4", "mixup.clamp=true") is None


def test_file_that_only_overrides_complete_repeats_no_row(tmp_path: Path):
    path = tmp_path / "part.yaml"
    path.write_text(GAN.read_text().replace("loss: {name: non_saturating}\n", ""))
    overrides = ["loss.name=hinge"]
    assert key_off_the_papers_row(read_config(GanConfig, path, overrides), path, overrides) == "loss.name"


def test_differences_are_dotted_leaf_keys():
    old = {"name": "conv", "training": {"lr": 0.1, "betas": [0, 1], "steps": 3}}
    new = {"name": "conv", "training": {"lr": 0.2, "betas": [0, 2], "steps": 3}}
    assert differences(old, old) == []
    assert differences(old, new) == [("training.lr", 0.1, 0.2), ("training.betas", [0, 1], [0, 2])]


def test_added_section_is_one_difference():
    old, new = {"mixup": None}, {"mixup": {"alpha": 0.3}}
    assert differences(old, new) == [("mixup", None, {"alpha": 0.3})]
    assert differences(new, old) == [("mixup", {"alpha": 0.3}, None)]


def test_absent_key_differs_from_none_unless_shared_ones_are_asked_for():
    old, new = {"g": {"name": "a", "width": 1}}, {"g": {"name": "b", "depth": 2}}
    assert differences(old, new) == [("g.name", "a", "b"), ("g.width", 1, None), ("g.depth", None, 2)]
    assert differences(old, new, shared=True) == [("g.name", "a", "b")]


SAME_RUN = ["run.dir=there", "data.root=there", "logging.images_every=1", "device.bf16=true", "paper=null"]


@pytest.mark.parametrize("path", [GAN, CLASSIFIER])
def test_surroundings_are_no_part_of_a_runs_identity_and_the_seed_is(path: Path):
    model = GanConfig if path == GAN else ClassifierConfig
    config, elsewhere = read_config(model, path), read_config(model, path, [*SAME_RUN, "evaluation.every=7"])
    assert identity_keys(config) == identity_keys(elsewhere)
    assert method_keys(config) == method_keys(elsewhere)
    assert refused_changes(config, elsewhere) == []
    other = read_config(model, path, ["run.seed=5"])
    assert refused_changes(config, other) == [("run.seed", 0, 5)]
    assert differences(identity_keys(config), identity_keys(other)) == [("run.seed", 0, 5)]
    assert method_keys(config) == method_keys(other)


def test_length_may_change_where_nothing_happens_over_it():
    constant, longer = (read_config(GanConfig, GAN, [f"training.steps={steps}"]) for steps in (10, 20))
    assert refused_changes(constant, longer) == []
    falling, longer = (
        read_config(GanConfig, GAN, [f"training.steps={steps}", "training.decay=linear"]) for steps in (10, 20)
    )
    assert refused_changes(falling, longer) == [("training.steps", 10, 20)]


def test_what_chooses_the_checkpoint_may_not_change_but_is_no_identity():
    last, best = (read_config(ClassifierConfig, CLASSIFIER, [f"evaluation.select={s}"]) for s in ("last", "test"))
    assert refused_changes(last, best) == [("evaluation.select", "last", "test")]
    assert identity_keys(last) == identity_keys(best)
