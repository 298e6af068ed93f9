import re
from pathlib import Path
from typing import Any

import pytest
import torch

from ganmix.algorithms.gan import discriminate, labels_of, term_weights
from ganmix.losses import GAN_LOSSES
from ganmix.mixup import DiscriminatorMixup

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
README = Path(__file__).parents[1] / "README.md"


def run_python_blocks(device: str) -> dict[str, Any]:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, Any] = {}
    with torch.device(device):
        for block in blocks:
            before = dict(names)
            exec(block, names)
    assert names["loss"].isfinite()
    return before  # what the first block left


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_core_alone_runs_as_printed_and_its_loss_is_the_trainers_balanced_one(device):
    names = run_python_blocks(device)
    loss, plan = names["loss"], names["plan"]
    mixup = DiscriminatorMixup(stages=[0, 1, 2], alpha=0.2, pairs=["FR", "FF"])
    logits = discriminate(names["D"], names["real"], names["fake"], plan, apart=False)
    terms = GAN_LOSSES["non_saturating"].discriminator(logits, labels_of(plan, mixup))
    expected = sum(weight * terms[name].mean() for name, weight in term_weights(mixup).items())
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    loss.backward()
    assert all(p.grad is not None for p in names["my_discriminator"].parameters())
