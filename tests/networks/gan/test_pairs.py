import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganmix.networks import Staged
from ganmix.networks.gan import DISCRIMINATORS, GENERATORS
from ganmix.networks.gan.resample import ConvDownsample2d, UpsampleConv2d

TINY = {"z": 5, "width": 4, "stem": 3, "flat_bypass": False, "spectral_norm": False}
TABLES = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}
NETWORKS = [(role, name) for role, table in TABLES.items() for name in table]
for_every_network = pytest.mark.parametrize(("role", "name"), NETWORKS)


def build(role: str, name: str, resolution: int = 16, channels: int = 3, **changes) -> Staged:
    function = TABLES[role][name]
    parameters = list(inspect.signature(function).parameters.values())[2:]
    keys = {**TINY, **changes}
    torch.manual_seed(0)
    return function(channels, resolution, **{p.name: keys[p.name] for p in parameters if p.default is p.empty})


def batch(role: str, num: int = 4, resolution: int = 16, channels: int = 3) -> Tensor:
    shape = (5,) if role == "generator" else (channels, resolution, resolution)
    return torch.randn(num, *shape, generator=torch.Generator().manual_seed(1))


def num_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("role", "name", "keys", "expected"),
    [
        ("generator", "sngan", {"z": 128, "width": 256}, 4_276_739),
        ("discriminator", "sngan", {"width": 128}, 1_053_825),
        ("generator", "authors", {"z": 62, "width": 128}, 1_019_779),
        ("discriminator", "authors", {"width": 128, "stem": 0}, 1_053_825),
        ("discriminator", "authors", {"width": 128, "stem": 0, "flat_bypass": True}, 1_086_849),
        ("discriminator", "authors", {"width": 128, "stem": 16, "flat_bypass": True}, 1_103_937),
    ],
)
def test_parameters_are_as_many_as_the_originals(role: str, name: str, keys: dict[str, int], expected: int):
    assert num_parameters(build(role, name, 32, 3, **keys)) == expected


@for_every_network
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128])
def test_networks_work_at_every_resolution(role: str, name: str, resolution: int, channels: int):
    network = build(role, name, resolution, channels)
    output = network(batch(role, 2, resolution, channels))
    assert output.shape == ((2, channels, resolution, resolution) if role == "generator" else (2,))
    assert output.isfinite().all()
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@for_every_network
@pytest.mark.parametrize("resolution", [4, 12, 28])
def test_resolution_that_is_no_power_of_two_from_8_is_refused(role: str, name: str, resolution: int):
    with pytest.raises(ValueError, match=f"power of two from 8 to 128, got {resolution}"):
        build(role, name, resolution)


@for_every_network
def test_resolution_above_128_is_refused(role: str, name: str):
    with pytest.raises(ValueError, match=r"got .*256"):
        build(role, name, 256)


@pytest.mark.parametrize("name", GENERATORS)
def test_generated_images_lie_between_minus_one_and_one(name: str):
    images = build("generator", name, width=8)(100 * batch("generator", 16))
    assert images.min() >= -1
    assert images.max() <= 1
    assert images.min() < -0.5
    assert images.max() > 0.5


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_logits_of_an_image_do_not_depend_on_the_rest_of_the_batch(name: str):
    network, images = build("discriminator", name).double(), batch("discriminator").double()
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone, rtol=1e-10, atol=1e-12)


@for_every_network
@pytest.mark.parametrize("training", [False, True])
def test_no_stage_changes_its_input(role: str, name: str, training: bool):
    x = batch(role)
    with torch.no_grad():  # autograd would refuse some changes in place by itself
        for stage in build(role, name).train(training).stages.values():
            seen = []
            shortcuts = [module for child, module in stage.named_modules() if child.endswith("shortcut")]
            for shortcut in shortcuts:
                shortcut.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].clone()))
            before = x.clone()
            output = stage(x)
            assert torch.equal(x, before)
            assert len(seen) == len(shortcuts)
            assert all(torch.equal(shortcut_input, before) for shortcut_input in seen)
            x = output


def test_there_are_shortcuts_and_folded_convolutions_to_look_at():
    """So that the tests around this one see them."""
    modules = [item for network in NETWORKS for item in build(*network).named_modules()]
    assert any(path.endswith("shortcut") for path, _ in modules)
    assert {UpsampleConv2d, ConvDownsample2d} <= {type(module) for _, module in modules}


@for_every_network
def test_spectral_norm_makes_every_largest_singular_value_one(role: str, name: str):
    network = build(role, name, spectral_norm=True)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original.mul_(3).add_(0.1)  # away from where the iteration began
        for _ in range(30):
            network(batch(role))
    network.eval()
    for layer in layers:
        largest = torch.linalg.svdvals(layer.weight.flatten(1))[0]
        torch.testing.assert_close(largest, torch.tensor(1.0), rtol=0, atol=2e-2)


@for_every_network
def test_without_spectral_norm_weights_are_free(role: str, name: str):
    layers = [m for m in build(role, name).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    largest = torch.stack([torch.linalg.svdvals(layer.weight.flatten(1))[0] for layer in layers])
    assert ((largest - 1).abs() > 0.1).any()
    assert not any(torch.nn.utils.parametrize.is_parametrized(layer) for layer in layers)


def gain_of(name: str, path: str) -> float:
    """What multiplies Glorot's standard deviation in a layer, by its path."""
    if path.endswith((".conv1", ".conv2")):
        return math.sqrt(2) if name == "sngan" else 1.0
    if path.endswith(".shortcut"):  # of PyTorch's default, whose standard deviation is 1 / sqrt(3 fan_in)
        return 1 / math.sqrt(3)
    return math.sqrt(2) if path.endswith(".shortcut.conv") and name == "authors" else 1.0


@for_every_network
def test_biases_start_at_zero_and_weights_at_glorots_variance_times_the_gain(role: str, name: str):
    network = build(role, name, width=32, z=64, stem=16, flat_bypass=True)
    for path, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert not layer.bias.any()
            fan = sum(layer.weight.shape[:2]) * layer.weight[0, 0].numel()
            expected = gain_of(name, path) * math.sqrt(2 / fan)
            tolerance = 4 / math.sqrt(layer.weight.numel())  # several standard errors of a standard deviation
            assert layer.weight.std(correction=0).item() == pytest.approx(expected, rel=tolerance)


def authors_logits(network: Staged, images: Tensor, stem: bool) -> Tensor:
    """The function of the authors' model_resnet.py, written plainly, from our weights."""
    weights = dict(network.named_parameters())

    def conv(x: Tensor, path: str) -> Tensor:
        weight = weights[f"stages.{path}.weight"]
        return F.conv2d(x, weight, weights[f"stages.{path}.bias"], padding=weight.shape[2] // 2)

    x = conv(images, "conv") if stem else images
    for block in ("block1", "block2", "block3", "block4"):
        down = block in ("block1", "block2")
        h = conv(x if block == "block1" else x.relu(), f"{block}.conv1")
        h = conv(h.relu(), f"{block}.conv2")
        bypass = conv(x, f"{block}.shortcut.conv" if down else f"{block}.shortcut")
        x = F.avg_pool2d(h + bypass, 2) if down else h + bypass
    pooled = F.avg_pool2d(x.relu(), 8).flatten(1)
    return F.linear(pooled, weights["stages.head.linear.weight"], weights["stages.head.linear.bias"])[:, 0]


@pytest.mark.parametrize("stem", [0, 3])
def test_discriminator_with_flat_bypasses_is_the_authors_function(stem: int):
    network = build("discriminator", "authors", 32, stem=stem, flat_bypass=True).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    images = batch("discriminator", 4, 32).double()
    logits = network(images)
    torch.testing.assert_close(logits, authors_logits(network, images, stem > 0), rtol=1e-9, atol=1e-9)
    assert logits.std() > 0.01


def test_flat_bypasses_alone_are_free_of_spectral_norm():
    network = build("discriminator", "authors", 32, stem=0, flat_bypass=True, spectral_norm=True)
    layers = {path: m for path, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    free = {path for path, layer in layers.items() if not nn.utils.parametrize.is_parametrized(layer)}
    assert free == {"stages.block3.shortcut", "stages.block4.shortcut"}
    assert len(layers) == 13
