import copy
import inspect
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torchvision
from made_classifiers import make_classifier
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganmix.mixup import DiscriminatorMixup, MixPlan
from ganmix.networks import Staged, is_affine, resolve_stages, staged
from ganmix.networks.classifier import CLASSIFIERS
from ganmix.networks.gan import DISCRIMINATORS, GENERATORS

TINY = {"z": 5, "width": 4, "stem": 3, "flat_bypass": False, "spectral_norm": False}
TABLES = {"generator": GENERATORS, "discriminator": DISCRIMINATORS}
NETWORKS = [(role, name) for role, table in {**TABLES, "classifier": CLASSIFIERS}.items() for name in table]
for_every_network = pytest.mark.parametrize(("role", "name"), NETWORKS)


def build(role: str, name: str) -> Staged:
    """A network of a table for images of 16 pixels, in float64 and eval mode."""
    if role == "classifier":
        return make_classifier(name, 16, 2).double().eval()
    function = TABLES[role][name]
    parameters = list(inspect.signature(function).parameters.values())[2:]
    torch.manual_seed(0)
    network = function(2, 16, **{p.name: TINY[p.name] for p in parameters if p.default is p.empty})
    return network.double().eval()


def batch(role: str, num: int = 6) -> Tensor:
    shape = (5,) if role == "generator" else (2, 16, 16)
    return torch.randn(num, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def draw_plan(stage: int, num: int = 6, **options) -> MixPlan:
    generator = torch.Generator().manual_seed(2)
    plan = DiscriminatorMixup(stages=[stage], alpha=2.0).plan(num // 2, generator)
    return replace(plan, **options)


def run_stages(network: Staged, x: Tensor, start: int) -> Tensor:
    for stage in list(network.stages.children())[start:]:
        x = stage(x)
    return x


@for_every_network
def test_stages_in_a_row_equal_forward(role: str, name: str):
    network, x = build(role, name), batch(role)
    assert len(network.stages) > 1
    assert torch.equal(run_stages(network, x, 0), network(x))


@for_every_network
def test_hidden_state_then_remaining_stages_equal_forward(role: str, name: str):
    network, x = build(role, name), batch(role)
    for k in range(len(network.boundaries)):
        assert torch.equal(run_stages(network, network.hidden(x, k), k), network(x))


@for_every_network
def test_plan_with_lambda_of_one_equals_no_plan(role: str, name: str):
    network, x = build(role, name), batch(role)
    for k in range(len(network.boundaries)):
        plan = MixPlan(k, torch.arange(6), torch.arange(6).flip(0), torch.ones(6))
        assert torch.equal(network(x, plan), network(x))


@for_every_network
@pytest.mark.parametrize("append", [False, True])
def test_plan_equals_mixing_by_hand(role: str, name: str, append: bool):
    network, x = build(role, name), batch(role)
    for k in range(len(network.boundaries)):
        plan = draw_plan(k, append=append)
        h = network.hidden(x, k)
        lam = plan.lam.double().reshape(-1, *[1] * (h.ndim - 1))
        mixed = run_stages(network, lam * h[plan.a] + (1 - lam) * h[plan.b], k)
        expected = torch.cat([network(x), mixed]) if append else mixed
        torch.testing.assert_close(network(x, plan), expected, rtol=1e-10, atol=1e-12)


@for_every_network
def test_boundaries_are_the_input_and_the_outputs_of_all_stages_but_the_last(role: str, name: str):
    network = build(role, name)
    assert network.boundaries == ["input", *list(network.stages)[:-1]]
    assert len(network.boundaries) == len(network.stages)


@pytest.mark.parametrize("k", [4, 7, -1])
def test_lacking_stage_is_an_error_that_lists_those_there_are(k: int):
    network = build("discriminator", "conv")
    message = rf"stage {k} is not one of this network's: 0 \(input\), 1 \(down1\), 2 \(down2\), 3 \(flat\)$"
    x = batch("discriminator")
    plan = MixPlan(k, torch.arange(6), torch.arange(6), torch.ones(6))
    with pytest.raises(ValueError, match=message):
        network(x, plan)
    with pytest.raises(ValueError, match=message):
        network.hidden(x, k)


def test_network_without_stages_is_refused():
    with pytest.raises(ValueError, match="at least one stage, got none"):
        Staged({})


@for_every_network
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_every_stage_of_a_laid_out_network_sees_that_layout(role: str, name: str, memory_format: torch.memory_format):
    network, x = build(role, name), batch(role)
    expected = network(x, draw_plan(1))
    assert network.lay_out(memory_format) is network
    if x.ndim == 4:  # comes in the other layout
        x = x.contiguous() if memory_format is torch.channels_last else x.to(memory_format=torch.channels_last)
    seen = []
    for stage in network.stages.values():
        stage.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.testing.assert_close(network(x, draw_plan(1)), expected, rtol=1e-10, atol=1e-12)
    images = [h for h in seen if h.ndim == 4]
    assert len(images) >= (1 if name == "bottleneck_mlp" else 2)
    assert all(h.is_contiguous(memory_format=memory_format) for h in images)


# --- resolve_stages

BOUNDARIES = ["input", "block1", "block2", "block3"]


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([0], [0]),
        (["input"], [0]),
        (["block3", 1], [1, 3]),
        ([2, "input"], [0, 2]),
        (BOUNDARIES, [0, 1, 2, 3]),
    ],
)
def test_stages_are_resolved_from_numbers_and_names(stages: list, expected: list[int]):
    assert resolve_stages(stages, BOUNDARIES) == expected


@pytest.mark.parametrize("stages", [[1, 1], ["block2", 2], [0, 3, "input"]])
def test_stage_named_twice_is_an_error(stages: list):
    with pytest.raises(
        ValueError, match=r"names a stage twice, of 0 \(input\), 1 \(block1\), 2 \(block2\), 3 \(block3\)$"
    ):
        resolve_stages(stages, BOUNDARIES)


@pytest.mark.parametrize("stage", [4, -1, "block4", "0"])
def test_unknown_stage_is_an_error_that_lists_those_there_are(stage: int | str):
    message = rf"stage {stage!r} is not one of .*: 0 \(input\), 1 \(block1\), 2 \(block2\), 3 \(block3\)$"
    with pytest.raises(ValueError, match=message):
        resolve_stages([0, stage], BOUNDARIES)


# --- staged

RESNET_STAGES = ["conv1+bn1+relu+maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool+flatten+fc"]


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=3).double().eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_staged_resnet_equals_its_forward(resnet: nn.Module, images: Tensor):
    network = staged(resnet, RESNET_STAGES, example=images[:2])
    assert network.boundaries == ["input", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    assert torch.equal(network(images), resnet(images))


def test_staged_resnet_shares_its_parameters(resnet: nn.Module):
    network = staged(resnet, RESNET_STAGES)
    assert {id(p) for p in network.parameters()} == {id(p) for p in resnet.parameters()}


def test_staged_resnet_mixes_at_layer1(resnet: nn.Module, images: Tensor):
    network = staged(resnet, RESNET_STAGES)
    plan = draw_plan(network.boundaries.index("layer1"), 4, append=False)
    h = resnet.layer1(resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images)))))
    lam = plan.lam.double().reshape(-1, 1, 1, 1)
    h = resnet.layer4(resnet.layer3(resnet.layer2(lam * h[plan.a] + (1 - lam) * h[plan.b])))
    expected = resnet.fc(resnet.avgpool(h).flatten(1))
    torch.testing.assert_close(network(images, plan), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_comparing_with_an_example_leaves_the_network_as_it_was(training: bool):
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).train(training)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    staged(module, ["0", "1"], example=torch.randn(2, 3, 5, 5))
    assert module.training is module[1].training is training
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


class Sequel(nn.Module):
    """Two linear layers, and something its children do not show."""

    def __init__(self, gain: float, rows: int | None = None):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 2)
        self.gain = gain
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.second(self.first(x))[: self.rows]


def test_unknown_child_is_an_error_that_lists_those_there_are():
    with pytest.raises(ValueError, match="no child is called 'third'; there are first, second and 'flatten'"):
        staged(Sequel(1.0), ["first", "third"])


@pytest.mark.parametrize(
    ("stages", "named"), [(["first"], "second"), (["first", "first+second"], "first"), (["second"], "first")]
)
def test_left_out_or_repeated_child_is_an_error(stages: list[str], named: str):
    with pytest.raises(ValueError, match=f"left out or repeated: {named}$"):
        staged(Sequel(1.0), stages)


@pytest.mark.parametrize(
    ("module", "stages"),
    [(Sequel(2.0), ["first", "second"]), (Sequel(1.0, rows=1), ["first", "second"])],
    ids=["gain", "shape"],
)
def test_forward_that_does_more_than_its_children_is_found_by_an_example(module: nn.Module, stages: list[str]):
    with pytest.raises(ValueError, match="do not compute what the module's forward does"):
        staged(module, stages, example=torch.randn(2, 3))
    assert staged(Sequel(1.0), stages, example=torch.randn(2, 3)).boundaries == ["input", "first"]


class InARow(nn.Module):
    """Runs its children one after the other, and something that they do not show where it is given."""

    def __init__(self, *layers: nn.Module, between: Callable[[Tensor, bool], Tensor] | None = None, **named: nn.Module):
        super().__init__()
        for i, layer in enumerate(layers):
            self.add_module(f"layer{i}", layer)
        for name, layer in named.items():
            self.add_module(name, layer)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        for child in list(self.children()):
            x = child(x if self.between is None else self.between(x, self.training))
        return x


def test_example_stays_as_it_was_though_the_network_begins_in_place():
    module, example = InARow(nn.LeakyReLU(0.2, inplace=True), nn.Linear(3, 2)), torch.randn(4, 3)
    before = example.clone()
    network = staged(module, ["layer0", "layer1"], example=example)
    assert torch.equal(example, before)
    assert torch.equal(network(before.clone()), module(before.clone()))


def test_dropout_of_the_forwards_own_is_found_by_an_example():
    module = InARow(nn.Linear(3, 3), nn.Linear(3, 2), between=lambda x, training: F.dropout(x, 0.9, training))
    with pytest.raises(ValueError, match="do not compute what the module's forward does in training mode"):
        staged(module, ["layer0", "layer1"], example=torch.ones(4, 3))


def test_mode_that_the_module_keeps_a_child_in_is_found_by_an_example():
    class WithFixedStatistics(InARow):
        def train(self, mode: bool = True) -> nn.Module:
            super().train(mode)
            self.layer1.eval()
            return self

    module = WithFixedStatistics(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="do not compute what the module's forward does in training mode"):
        staged(module, ["layer0", "layer1"], example=torch.randn(4, 3))


@pytest.mark.parametrize("num", [1, 4])
def test_layers_of_dropout_and_batch_norm_are_as_the_forward_has_them(num: int):
    module = InARow(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 8), nn.Dropout(0.5))
    before, random = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    staged(module, ["layer0+layer1", "layer2", "layer3+layer4"], example=torch.randn(num, 3))
    torch.set_rng_state(random)
    staged(module, ["layer0+layer1", "layer2", "layer3+layer4"], example=torch.ones(num, 3))
    assert torch.equal(torch.get_rng_state(), random)
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["parameter", "buffer"])
def test_tensor_that_no_child_holds_is_refused_though_it_changes_nothing_yet(kind: str):
    module = InARow(nn.Linear(3, 3), nn.Linear(3, 2))
    if kind == "parameter":
        module.scale = nn.Parameter(torch.ones(1))
    else:
        module.register_buffer("scale", torch.ones(1))
    for example in (None, torch.randn(2, 3)):
        with pytest.raises(ValueError, match=r"^the module itself holds scale, which no stage would; .*plan\.apply"):
            staged(module, ["layer0", "layer1"], example=example)


def test_parameter_that_the_module_shares_with_a_child_is_accepted():
    module = InARow(nn.Linear(3, 3), nn.Linear(3, 2))
    module.first_weight = module.layer0.weight
    assert len(staged(module, ["layer0", "layer1"], example=torch.randn(2, 3)).boundaries) == 2


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("normalise", [nn.utils.spectral_norm, nn.utils.weight_norm])
def test_older_normalisations_of_weights_are_staged_and_left_as_they_were(normalise):
    torch.manual_seed(0)
    module = InARow(normalise(nn.Linear(3, 3)), nn.Tanh(), normalise(nn.Linear(3, 2)))
    x = torch.randn(4, 3)
    module(x)  # after which a deep copy of it is an error
    before = copy.deepcopy(module.state_dict())
    network = staged(module, ["layer0", "layer1", "layer2"], example=x)
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)
    network(x).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_two_stages_that_end_in_flatten_have_names_of_their_own():
    module = InARow(a=nn.Conv2d(1, 2, 3), b=nn.Linear(8, 4), c=nn.Unflatten(1, (1, 4)), d=nn.Linear(4, 1))
    module.between = lambda x, training: x.flatten(1) if x.ndim > 2 and x.shape[1] == 2 else x
    stages = ["a+flatten", "b", "c", "d+flatten"]
    network, x = staged(module, stages), torch.randn(5, 1, 4, 4)
    assert network.boundaries == ["input", "flatten", "b", "c"]
    assert torch.equal(network(x), module(x).flatten(1))


@pytest.mark.parametrize("name", ["input", "keys", "values", "items", "pop", "type", "forward"])
def test_stage_whose_name_is_taken_has_one_with_an_underscore(name: str):
    module = InARow(layer0=nn.Linear(3, 3), layer1=nn.Linear(3, 2))
    module._modules = {name: module.layer0, f"{name}_": nn.Tanh(), "head": module.layer1}
    x = torch.randn(2, 3)
    network = staged(module, [name, f"{name}_", "head"], example=x)
    assert network.boundaries == ["input", f"{name}_", f"{name}__"]
    assert torch.equal(network(x), module(x))
    assert resolve_stages([f"{name}_"], network.boundaries) == [1]


def test_stage_called_as_the_input_is_refused():
    with pytest.raises(ValueError, match="no stage can be called 'input'"):
        Staged({"input": nn.Linear(3, 3), "head": nn.Linear(3, 2)})


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (
            InARow(nn.Conv2d(1, 2, 3), nn.Linear(8, 4), between=lambda x, _: x if x.shape[1] == 1 else x.flatten(1)),
            torch.randn(2, 1, 4, 4),
            r"^the stages in a row cannot run the example in eval mode \(RuntimeError: mat1 and .*\); .*plan\.apply",
        ),
        (
            InARow(
                nn.LSTM(3, 3, batch_first=True), nn.Tanh(), between=lambda x, _: x[0] if isinstance(x, tuple) else x
            ),
            torch.randn(2, 5, 3),
            r"^the stages in a row cannot run the example in eval mode \(TypeError: .*\); .*plan\.apply",
        ),
        (
            InARow(nn.Tanh(), nn.LSTM(3, 3, batch_first=True)),
            torch.randn(2, 5, 3),
            "^the module must return one tensor in eval mode, got tuple",
        ),
        (
            InARow(nn.Tanh(), nn.Linear(3, 2)),
            torch.randn(2, 5),
            r"^the module cannot run the example in eval mode \(RuntimeError: mat1 and mat2 .*\)$",
        ),
    ],
    ids=["shape", "tuple_between", "tuple", "example"],
)
def test_what_cannot_be_run_is_told_in_a_line(module: nn.Module, example: Tensor, message: str):
    with pytest.raises(ValueError, match=message) as error:
        staged(module, ["layer0", "layer1"], example=example)
    assert "\n" not in str(error.value)


# --- is_affine


def test_the_input_and_a_bare_convolution_are_affine_images_of_the_input():
    network = build("discriminator", "authors")  # with a stem of one convolution
    assert network.boundaries[1] == "conv"
    assert is_affine(network, 0, batch("discriminator"))
    assert is_affine(network, 1, batch("discriminator"))


@pytest.mark.parametrize(("name", "k"), [("authors", 2), ("sngan", 1), ("conv", 1)])
def test_what_lies_after_a_nonlinear_stage_is_not_an_affine_image_of_the_input(name: str, k: int):
    assert not is_affine(build("discriminator", name), k, batch("discriminator"))


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_makes_a_boundary_that_is_no_affine_image_of_the_input(training: bool):
    layers = {"conv": nn.Conv2d(2, 3, 3), "bn": nn.BatchNorm2d(3), "head": nn.Flatten()}
    network = Staged(layers).train(training)
    assert [is_affine(network, k, batch("discriminator")) for k in range(3)] == [True, True, False]


def test_spectral_norm_leaves_a_convolution_affine():
    network = Staged({"conv": spectral_norm(nn.Conv2d(2, 3, 3)), "head": nn.Flatten()}).train()
    assert is_affine(network, 1, batch("discriminator"))


def test_asking_for_affinity_leaves_the_network_as_it_was():
    network = build("discriminator", "authors").float().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    is_affine(network, 1, batch("discriminator").float())
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
