"""What a classifier's config refuses because it would train something else than it says."""

from pathlib import Path

import pytest

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.reader import read_config
from ganmix.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs" / "classifier"
MULTISTEP = "training={epochs: 400, decay: multistep, drops: "


def read(*overrides: str, name: str = "small/manifold_mixup") -> ClassifierConfig:
    return read_config(ClassifierConfig, CONFIGS / f"{name}.yaml", overrides)


def test_cutmix_is_refused_beside_semi_supervised_training_which_does_not_do_it():
    with pytest.raises(UserError, match="cutmix and semi_supervised exclude each other"):
        read("mixup=null", "cutmix={}", name="small_semi/manifold_mixup")


@pytest.mark.parametrize("drops", ["[400]", "[200, 400]", "[401, 500]"])
def test_drops_that_training_never_reaches_are_refused_with_its_end(drops: str):
    with pytest.raises(UserError, match=r"drops .* before the end \(epochs: 400\), got \[.*\]"):
        read(f"{MULTISTEP}{drops}}}")


def test_table_1_cut_to_400_epochs_needs_drops_of_its_own():
    with pytest.raises(UserError, match=r"before the end \(epochs: 400\), got \[400, 800\]"):
        read("training.epochs=400", name="table1/preact_resnet18_no_mixup")
    read("training.epochs=400", "training.drops=[133, 399]", name="table1/preact_resnet18_no_mixup")


def test_drops_are_steps_where_steps_are_given():
    with pytest.raises(UserError, match=r"before the end \(steps: 50\), got \[50\]"):
        read("training={steps: 50, decay: multistep, drops: [50]}")
    read("training={steps: 50, decay: multistep, drops: [49]}")


def test_choice_of_l1_weights_is_refused_without_l1():
    with pytest.raises(UserError, match="l1_of: first needs l1"):
        read("training.l1_of=first")
    read("training.l1_of=first", "training.l1=0.001")


@pytest.mark.parametrize("key", ["mixup", "semi_supervised.mixup"])
@pytest.mark.parametrize("stages", ["[input]", "[0]"])
def test_blocked_gradients_are_refused_where_the_input_alone_is_mixed(key: str, stages: str):
    with pytest.raises(UserError, match="block_gradients changes nothing at the input"):
        read(f"{key}.stages={stages}", f"{key}.block_gradients=true", name="small_semi/manifold_mixup")
    read(f"{key}.stages=[input, conv1]", f"{key}.block_gradients=true", name="small_semi/manifold_mixup")


@pytest.mark.parametrize("key", ["mixup", "semi_supervised.mixup"])
@pytest.mark.parametrize("stages", ["[conv1, conv1]", "[input, conv1, 0]", "[2, 1, 2]"])
def test_stages_that_repeat_are_refused(key: str, stages: str):
    with pytest.raises(UserError, match="stages must not repeat"):
        read(f"{key}.stages={stages}", name="small_semi/manifold_mixup")


def test_config_tells_its_kind_its_images_a_step_and_whether_it_can_go_on():
    config = read("training.batch_size=3", "training.decay=constant")
    assert (config.kind, config.images_per_step, config.can_go_on) == ("classifier", 3, True)
    assert not read().can_go_on
    semi = ["training.batch_size=3", "training.decay=constant", "semi_supervised.batch_size=4"]
    config = read(*semi, name="small_semi/manifold_mixup")
    assert (config.images_per_step, config.can_go_on) == (7, False)


def test_data_tells_how_it_is_augmented_and_where_it_is():
    data = read("data.name=digits", "data.root=there", "data.flip=true", "data.crop_padding=2").data
    assert data.augmentation == {"flip": True, "dequantise": False, "crop_padding": 2, "padding": "black"}
    assert data.source == "there (digits)"
