import hashlib
import os
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from ganmix.engine.digests import sha256_of
from ganmix.errors import UserError
from ganmix.evaluation.gan import extractors
from ganmix.evaluation.gan.extractors import (
    INCEPTION_FILE,
    SHIPPED,
    classifier_extractor,
    get_extractor,
    inception_extractor,
)


class Pooled(nn.Module):
    """Mean of each channel as features, a linear map of them as logits."""

    def __init__(self, channels, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.head = nn.Parameter(torch.randn(channels, 5, generator=generator))
        self.seen = None

    def forward(self, images):
        self.seen = images.shape
        features = images.mean((2, 3))
        return features, features @ self.head


def random_images(*shape, seed=0):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_classifier_sees_images_from_minus_one_to_one():
    extractor = classifier_extractor(Pooled(1), "range")
    black_and_white = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    features, _ = extractor.network(black_and_white)
    torch.testing.assert_close(features, torch.tensor([[-1.0], [1.0]]))


def test_features_come_first_and_logits_second():
    features, logits = classifier_extractor(Pooled(3), "order").network(random_images(4, 3, 6, 6))
    assert features.shape == (4, 3)
    assert logits.shape == (4, 5)


def test_same_weights_have_one_digest_and_others_do_not():
    first = classifier_extractor(Pooled(3), "shared")
    assert classifier_extractor(Pooled(3), "shared") == first
    assert first.name == "shared"
    others = [
        classifier_extractor(Pooled(3, seed=1), "shared"),
        classifier_extractor(Pooled(3), "shared", resolution=4),
        classifier_extractor(Pooled(3), "shared", channels=3),
    ]
    assert len({first.digest, *(other.digest for other in others)}) == 4


def test_the_digest_knows_names_dtypes_shapes_and_values():
    tensors = {"a": torch.arange(4.0), "b": torch.tensor(3)}
    others = [
        {"c": torch.arange(4.0), "b": torch.tensor(3)},
        {"a": torch.arange(4.0).view(torch.int32), "b": torch.tensor(3)},  # the same bytes
        {"a": torch.arange(4.0).view(2, 2), "b": torch.tensor(3)},
        {"a": torch.arange(4.0), "b": torch.tensor(4)},
        {"a": torch.arange(4.0).flip(0), "b": torch.tensor(3)},
        {"a": torch.arange(4.0)},
    ]
    assert len({sha256_of(found) for found in (tensors, *others)}) == 7
    transposed = torch.arange(6.0).view(2, 3).T
    assert sha256_of({"a": transposed}) == sha256_of({"a": transposed.contiguous()})


def test_training_the_classifier_on_does_not_move_the_extractor():
    network = Pooled(3).train()
    extractor = classifier_extractor(network, "frozen")
    images = random_images(4, 3, 6, 6)
    _, before = extractor.network(images)
    with torch.no_grad():
        network.head.add_(1)
    _, after = extractor.network(images)
    assert torch.equal(before, after)
    assert network.training
    assert network.head.requires_grad
    assert not extractor.network.training
    assert not after.requires_grad


def test_grey_images_are_repeated_for_a_colour_classifier():
    network = classifier_extractor(Pooled(3), "colour", channels=3).network
    grey = random_images(4, 1, 6, 6)
    assert torch.equal(network(grey)[1], network(grey.repeat(1, 3, 1, 1))[1])


def test_colour_images_become_luma_for_a_grey_classifier():
    network = classifier_extractor(Pooled(1), "luma", channels=1).network
    primaries = torch.eye(3).mul(255).to(torch.uint8).view(3, 3, 1, 1)
    luma = torch.tensor([[0.299], [0.587], [0.114]])
    torch.testing.assert_close(network(primaries)[0], 2 * luma - 1)
    grey = random_images(4, 1, 6, 6)
    torch.testing.assert_close(network(grey.repeat(1, 3, 1, 1)), network(grey))


def test_images_are_resized_to_what_the_classifier_was_trained_on(monkeypatch):
    monkeypatch.setattr(extractors.copy, "deepcopy", lambda network: network)  # to see what reaches it
    network = Pooled(3)
    extractor = classifier_extractor(network, "resized", resolution=4)
    stripes = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    stripes[:, :, ::4] = 255  # plain bilinear would look between them and see black
    features, _ = extractor.network(stripes)
    assert network.seen == (1, 3, 4, 4)
    torch.testing.assert_close(features, torch.full((1, 3), -0.5), atol=0.1, rtol=0)


class FakeClassifier(nn.Module):
    resolution, channels = 8, 1

    def __init__(self, path):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(Path(path).read_bytes()[0], dtype=torch.float32))

    def features_and_logits(self, images):
        features = images.flatten(1)
        return features, features[:, :10] * self.weight


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """Stands in for the classifiers that come with ganmix."""
    monkeypatch.setattr(extractors, "load_classifier", FakeClassifier)
    monkeypatch.setattr(extractors, "SHIPPED", tmp_path)
    for name in ("digits", "fashion_mnist"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    return tmp_path


def test_shipped_classifiers_are_known_by_name(shipped):
    for name in ("digits", "fashion_mnist"):
        extractor = get_extractor(name)
        features, logits = extractor.network(random_images(2, 3, 16, 16))
        assert extractor.name == name
        assert features.shape == (2, 64)
        assert logits.shape == (2, 10)


def test_what_is_shipped_can_be_read_and_leaves_the_random_state():
    random_state = torch.get_rng_state()
    names = sorted(file.stem for file in SHIPPED.glob("*.safetensors"))
    assert names == ["digits", "fashion_mnist"]
    for name in names:
        features, logits = get_extractor(name).network(random_images(2, 1, 8, 8))
        assert features.isfinite().all()
        assert logits.shape == (2, 10)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_classifier_file_is_known_by_its_path(shipped, tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "mine.safetensors"
    path.write_bytes(b"mine")
    assert get_extractor(str(path)).name == "mine"
    with pytest.raises(UserError, match=r"no file .*absent\.safetensors"):
        get_extractor("absent.safetensors")


def test_a_classifier_file_named_inception_does_not_pass_for_it(shipped, tmp_path_factory):
    path = tmp_path_factory.mktemp("mine") / "inception.safetensors"
    path.write_bytes(b"mine")
    assert get_extractor(str(path)).name == "inception.safetensors"


def test_a_damaged_classifier_file_is_named_in_one_line(tmp_path):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes((SHIPPED / "digits.safetensors").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"damaged\.safetensors is not a classifier's file \(") as raised:
        get_extractor(str(path))
    assert "\n" not in str(raised.value)


def test_an_unknown_name_is_answered_with_the_known_ones(shipped):
    with pytest.raises(ValueError, match=r"'digit'; did you mean 'digits'\? .*digits, fashion_mnist, inception"):
        get_extractor("digit")


def test_weights_for_a_shipped_classifier_are_refused(shipped):
    with pytest.raises(ValueError, match="weights are only for 'inception'"):
        get_extractor("digits", weights="w.pth")


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory):
    """A file of the right shape with random weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])
    path = tmp_path_factory.mktemp("inception") / INCEPTION_FILE
    torch.save(network.state_dict(), path)
    return network, path


def test_inception_is_torch_fidelitys_built_once_with_grey_repeated(random_inception, monkeypatch):
    network, path = random_inception
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(extractors, "INCEPTION_SHA256_PREFIX", digest[:8])
    monkeypatch.setattr(extractors, "_BUILT", {})
    random_state = torch.get_rng_state()

    extractor = get_extractor("inception", weights=str(path))

    assert torch.equal(torch.get_rng_state(), random_state)
    assert (extractor.name, extractor.digest) == ("inception", digest)
    grey = random_images(1, 1, 8, 8)
    expected = network(grey.repeat(1, 3, 1, 1))
    found = extractor.network(grey)
    assert [part.shape for part in found] == [(1, 2048), (1, 1008)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert not ours.requires_grad
    monkeypatch.setattr(FeatureExtractorInceptionV3, "__init__", None)  # a second building would fail
    assert inception_extractor(path) is extractor


def test_another_inception_file_is_refused_before_it_is_unpickled(tmp_path, monkeypatch):
    path = tmp_path / INCEPTION_FILE
    path.write_bytes(b"not these weights")
    monkeypatch.setattr(torch, "load", None)  # unpickling would fail
    with pytest.raises(UserError, match=r"SHA-256 starts with \w{8}, expected 6726825d"):
        inception_extractor(path)


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("hacked",)


def test_a_forged_digest_does_not_let_an_inception_file_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / INCEPTION_FILE
    torch.save({"fc.bias": RunsCode()}, path)
    forged = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(extractors, "INCEPTION_SHA256_PREFIX", forged)
    with pytest.raises(UserError, match="more than weights"):
        inception_extractor(path)
    assert not (tmp_path / "hacked").exists()


def test_without_network_the_message_says_which_file_goes_where(tmp_path, monkeypatch):
    def no_network(url, path, hash_prefix):
        assert url.endswith(INCEPTION_FILE)
        assert hash_prefix == "6726825d"
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError) as raised:
        get_extractor("inception")
    message = str(raised.value)
    folder = str(tmp_path / "hub" / "checkpoints")
    for part in (INCEPTION_FILE, "95.7 MB", "6726825d", folder):
        assert part in message


def test_a_missing_weights_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*absent\.pth.*95\.7 MB"):
        inception_extractor(tmp_path / "absent.pth")


def test_inception_is_looked_for_in_the_hub_folder_before_downloading(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)  # a download would fail
    path = tmp_path / "hub" / "checkpoints" / INCEPTION_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged or not the Inception weights"):
        get_extractor("inception")
