import re
from pathlib import Path
from typing import Any

import torch

from ganmix.algorithms.gan import discriminate, discriminator_terms, term_weights
from ganmix.losses import GAN_LOSSES

README = Path(__file__).parents[1] / "README.md"


def run_python_blocks() -> dict[str, Any]:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    return names


def test_core_alone_runs_as_printed_and_its_loss_is_the_trainers_balanced_one():
    names = run_python_blocks()
    loss, plan = names["loss"], names["plan"]
    logits = discriminate(names["D"], names["real"], names["fake"], plan, ("FR", "FF"), apart=False)
    terms = discriminator_terms(GAN_LOSSES["non_saturating"], logits, plan, "fake")
    weights = term_weights(terms, "fake", "balanced")
    torch.testing.assert_close(loss, sum(weights[kind] * terms[kind] for kind in terms), rtol=1e-5, atol=1e-6)
    loss.backward()
    assert all(p.grad is not None for p in names["my_discriminator"].parameters())
