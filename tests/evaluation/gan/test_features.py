import pickle

import numpy as np
import torch
from torch import nn

from ganmix.evaluation.gan.extractors import classifier_extractor, get_extractor
from ganmix.evaluation.gan.features import PASS, Features, extract, join

CPU = torch.device("cpu")


class Pixels(nn.Module):
    """Pixels as features, in `dtype`, their sum as the only logit; it notes how many images come at once."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.gain = nn.Parameter(torch.ones((), dtype=dtype))
        self.seen = []

    def forward(self, images):
        self.seen.append(len(images))
        features = self.gain * images.flatten(1).to(self.gain.dtype)
        return features, features.sum(1, keepdim=True)


def random_images(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_images_pass_in_order_and_so_many_at_a_time():
    extractor = classifier_extractor(Pixels(), "pixels")
    images = random_images(2 * PASS + 5, 1, 2, 2)
    seen = extract(images, extractor, CPU)
    assert extractor.network.network.seen == [PASS, PASS, 5]
    torch.testing.assert_close(seen.features, images.flatten(1) / 127.5 - 1)
    torch.testing.assert_close(seen.logits, seen.features.sum(1, keepdim=True))


def test_features_are_float32_whatever_the_network_computes_in():
    images = random_images(5, 1, 2, 2)
    for dtype in (torch.float64, torch.bfloat16):
        seen = extract(images, classifier_extractor(Pixels(dtype), "pixels"), CPU)
        assert (seen.features.dtype, seen.logits.dtype) == (torch.float32, torch.float32)


def test_whole_passes_seen_apart_are_what_is_seen_at_once():
    extractor = get_extractor("digits")
    images = random_images(3 * PASS + 10, 1, 8, 8)
    parts = join([extract(part, extractor, CPU) for part in images.split(PASS)])
    at_once = extract(images, extractor, CPU)
    assert torch.equal(parts.features, at_once.features)
    assert torch.equal(parts.logits, at_once.logits)


def test_autocast_around_the_caller_changes_nothing():
    extractor = get_extractor("digits")
    images = random_images(20, 1, 8, 8)
    expected = extract(images, extractor, CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = extract(images, extractor, CPU)
        raw, _ = extractor.network(images)
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.logits, expected.logits)
    assert not torch.equal(raw.float(), expected.features)  # the network alone would have been changed


def test_no_gradient_reaches_the_extractor_and_random_states_are_left():
    torch_state, numpy_state = torch.get_rng_state(), pickle.dumps(np.random.get_state())
    with torch.enable_grad():
        seen = extract(random_images(5, 1, 2, 2), classifier_extractor(Pixels(), "pixels"), CPU)
    assert not seen.features.requires_grad
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert pickle.dumps(np.random.get_state()) == numpy_state


def test_joined_parts_keep_their_order():
    parts = [Features(torch.full((n, 3), float(n)), torch.full((n, 2), -float(n))) for n in (2, 1, 3)]
    joined = join(parts)
    assert joined.features[:, 0].tolist() == [2, 2, 1, 3, 3, 3]
    assert joined.logits[:, 1].tolist() == [-2, -2, -1, -3, -3, -3]
