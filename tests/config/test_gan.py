"""What a GAN's config refuses because it would train something else than it says."""

from pathlib import Path

import pytest

from ganmix.config.gan import GanConfig
from ganmix.config.reader import read_config
from ganmix.errors import UserError

QUICKSTART = Path(__file__).parents[2] / "configs" / "gan" / "quickstart.yaml"


def read(*overrides: str) -> GanConfig:
    return read_config(GanConfig, QUICKSTART, overrides)


@pytest.mark.parametrize(
    "mixup",
    [
        "{weights: paper}",
        "{pairs: [FR], weights: paper}",
        "{labels: soft, clamp: false, weights: paper}",  # FF counts as fake
        "{labels: soft, pairs: [FR]}",
    ],
)
def test_wasserstein_refuses_mixes_that_leave_its_loss_without_a_minimum(mixup: str):
    with pytest.raises(UserError, match="loss wasserstein has no minimum"):
        read("loss.name=wasserstein", f"mixup={mixup}")


@pytest.mark.parametrize(
    "mixup", ["null", "{}", "{pairs: [FF]}", "{labels: soft, clamp: false, pairs: [FR], weights: paper}"]
)
def test_wasserstein_takes_mixes_that_balance(mixup: str):
    read("loss.name=wasserstein", f"mixup={mixup}")
