"""What of a config is the method, and when it no longer is that of the paper's row."""

from pathlib import Path

import pytest

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig
from ganmix.config.method import key_off_the_papers_row
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
