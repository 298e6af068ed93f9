import inspect
import math

import pytest
import torch
from torch import Tensor, nn

from ganmix.networks import DISCRIMINATORS, GENERATORS, Staged
from ganmix.networks.resample import ConvDownsample2d, UpsampleConv2d

TINY = {"z": 5, "width": 4, "stem": 3, "spectral_norm": False}
TABLES = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}
NETWORKS = [(role, name) for role, table in TABLES.items() for name in table]
for_every_network = pytest.mark.parametrize(("role", "name"), NETWORKS)


def build(role: str, name: str, resolution: int = 16, channels: int = 3, **changes) -> Staged:
    function = TABLES[role][name]
    parameters = list(inspect.signature(function).parameters.values())[2:]
    keys = {**TINY, **changes}
    torch.manual_seed(0)
    return function(resolution, channels, **{p.name: keys[p.name] for p in parameters if p.default is p.empty})


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


@for_every_network
def test_biases_start_at_zero_and_weights_at_glorots_variance(role: str, name: str):
    network = build(role, name, width=32, z=64, stem=16)
    gain = math.sqrt(2) if name == "sngan" else 1.0
    for path, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert not layer.bias.any()
            fan = sum(layer.weight.shape[:2]) * layer.weight[0, 0].numel()
            expected = (gain if path.endswith((".conv1", ".conv2")) else 1.0) * math.sqrt(2 / fan)
            tolerance = 4 / math.sqrt(layer.weight.numel())  # several standard errors of a standard deviation
            assert layer.weight.std(correction=0).item() == pytest.approx(expected, rel=tolerance)
