from pathlib import Path

import pytest

from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint
from ganmix.engine.identity import Identity
from ganmix.errors import UserError

PATH = Path("run") / "latest.pt"
SETTINGS = {"seed": 0, "network": {"name": "conv", "width": 4}, "mixup": None, "betas": (0.5, 0.9)}


def identity(images="ab12", **settings):
    return Identity({**SETTINGS, **settings}, images, "pictures")


def test_a_run_knows_its_checkpoint_again(tmp_path):
    save_checkpoint(tmp_path / "c.pt", {"identity": identity().state_dict()})
    state = load_checkpoint(tmp_path / "c.pt")
    identity().check(tmp_path / "c.pt", state)
    identity(images=None).check(tmp_path / "c.pt", state)  # which are not always there to compare


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"seed": 1}, "its seed is 0, not 1"),
        ({"network": {"name": "conv", "width": 8}}, "its network.width is 4, not 8"),
        ({"mixup": {"alpha": 0.2}}, "its mixup is None, not {'alpha': 0.2}"),
        ({"betas": (0.0, 0.9)}, "its betas is (0.5, 0.9), not (0.0, 0.9)"),
    ],
)
def test_another_setting_is_named_with_both_values(changed, difference):
    with pytest.raises(UserError) as error:
        identity(**changed).check(PATH, {"identity": identity().state_dict()})
    assert error.value.problems == [f"{PATH} is not a checkpoint of this run: {difference}"]


def test_a_key_that_another_version_does_not_have_makes_no_difference():
    old = {"identity": identity().state_dict()}
    identity(network={"name": "conv", "width": 4, "bias": True}, noise=0.0).check(PATH, old)


def test_other_images_are_told_by_where_they_are():
    with pytest.raises(UserError) as error:
        identity(images="cd34").check(PATH, {"identity": identity().state_dict()})
    (problem,) = error.value.problems
    assert problem.startswith("the images at pictures are not those this run was trained on")


@pytest.mark.parametrize(
    "state", [None, [], {}, {"identity": None}, {"identity": {}}, {"identity": {"images": "ab12"}}]
)
def test_a_checkpoint_that_does_not_say_whose_it_is_is_nobodys(state):
    with pytest.raises(UserError, match="it does not say of which it is"):
        identity().check(PATH, state)
