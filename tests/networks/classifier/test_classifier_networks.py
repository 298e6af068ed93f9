import inspect
import json
import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from made_classifiers import SIZES, make_bytes, make_classifier, make_images
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ganmix.evaluation.gan.extractors import SHIPPED, get_extractor
from ganmix.mixup import ClassifierMixup, MixPlan
from ganmix.networks.classifier import CLASSIFIERS, PREPARATIONS, Classifier, prepare_for
from ganmix.networks.classifier.files import classifier_file, load_classifier
from ganmix.networks.classifier.layers import BasicBlock, Dropout
from ganmix.networks.classifier.preact_resnet import Bottleneck

for_every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)


def num_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def draw_plan(stage: int, num: int = 6, **options) -> MixPlan:
    generator = torch.Generator().manual_seed(2)
    return ClassifierMixup(stages=[stage], alpha=2.0, **options).plan(num, generator)


# --- what holds for each


@for_every_classifier
@pytest.mark.parametrize(("resolution", "channels"), [(8, 1), (28, 1), (32, 3)])
def test_classifiers_work_at_every_resolution_and_train_every_parameter(name: str, resolution: int, channels: int):
    network = make_classifier(name, resolution, channels, num_classes=5)
    assert (network.resolution, network.channels, network.num_classes) == (resolution, channels, 5)
    logits = network(make_images(4, resolution, channels))
    assert logits.shape == (4, 5)
    F.cross_entropy(logits, torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in network.parameters())


@for_every_classifier
def test_features_are_the_pooled_input_of_the_layer_called_linear(name: str):
    network, images = make_classifier(name, prepare=prepare_for("channels", make_bytes())).eval(), make_images()
    features, logits = network.features_and_logits(images)
    last = [*network.stages.items()][-1]
    assert last[0] == "linear"
    assert features.shape == (6, last[1].in_features)
    assert torch.equal(last[1](features), logits)
    assert torch.equal(logits, network.predict(images))


@for_every_classifier
def test_without_a_preparation_nothing_is_done_to_images(name: str):
    network, images = make_classifier(name).eval(), make_images()
    assert torch.equal(network.prepare(images), images)
    assert torch.equal(network.predict(images), network(images))


@for_every_classifier
@pytest.mark.parametrize("preparation", PREPARATIONS)
def test_prediction_is_of_prepared_images_and_a_plan_at_stage_0_mixes_these(name: str, preparation: str):
    prepare = prepare_for(preparation, make_bytes())
    network, images = make_classifier(name, prepare=prepare).double().eval(), make_images().double()
    plain = make_classifier(name).double().eval()
    prepared = prepare(images)
    torch.testing.assert_close(network.predict(images), plain(prepared), rtol=1e-10, atol=1e-12)
    plan = draw_plan(0)
    mixed = plan.lam.double() * prepared + (1 - plan.lam.double()) * prepared[plan.b]
    torch.testing.assert_close(network(prepared, plan), plain(mixed), rtol=1e-10, atol=1e-12)


@for_every_classifier
def test_prediction_has_the_gradient_in_images_that_finite_differences_have(name: str):
    network = make_classifier(name, prepare=prepare_for("zca", make_bytes())).double().eval()
    images = make_images().double().requires_grad_()
    direction = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad(network.predict(images).square().sum(), images)
    step = 1e-7  # small, as few as possible of the kinks of ReLU lie between
    with torch.no_grad():
        up, down = (network.predict(images + sign * step * direction).square().sum() for sign in (1, -1))
    slope = (gradient * direction).sum().item()
    assert abs(slope) > 1e-3
    assert ((up - down) / (2 * step)).item() == pytest.approx(slope, rel=1e-4)


@for_every_classifier
def test_blocked_gradients_reach_no_stage_below_the_mix_and_every_one_above(name: str):
    for k in range(len(make_classifier(name).boundaries)):
        network = make_classifier(name)
        F.cross_entropy(network(make_images(), draw_plan(k, block_gradients=True)), torch.arange(6) % 4).backward()
        for j, stage in enumerate(network.stages.values()):
            reached = [p.grad is not None and bool(p.grad.any()) for p in stage.parameters()]
            assert reached == [j >= k] * len(reached)


@for_every_classifier
def test_without_blocking_gradients_of_a_mix_reach_every_stage(name: str):
    for k in range(len(make_classifier(name).boundaries)):
        network = make_classifier(name)
        F.cross_entropy(network(make_images(), draw_plan(k)), torch.arange(6) % 4).backward()
        assert all(p.grad.any() for p in network.parameters())


@for_every_classifier
@pytest.mark.parametrize("training", [False, True])
def test_neither_a_stage_nor_a_block_changes_its_input(name: str, training: bool):
    network, unchanged = make_classifier(name).train(training), []

    def remember(module: nn.Module, inputs: tuple[Tensor]):
        module.before = inputs[0].clone()

    def compare(module: nn.Module, inputs: tuple[Tensor], output: Tensor):
        unchanged.append(torch.equal(inputs[0], module.before))

    blocks = [module for module in network.modules() if isinstance(module, BasicBlock | Bottleneck)]
    for module in (*network.stages.values(), *blocks):
        module.register_forward_pre_hook(remember)
        module.register_forward_hook(compare)
    with torch.no_grad():  # autograd would refuse some changes in place by itself
        network(make_images())
    assert unchanged == [True] * (len(network.stages) + len(blocks))


@for_every_classifier
def test_traced_network_equals_the_eager_one_at_every_boundary_after_an_evaluation(name: str):
    """Dynamo's part of compiling, where a plan could get lost; it needs no C++ compiler, and takes seconds."""
    torch._dynamo.reset()
    network, images = make_classifier(name), make_images()
    traced = torch.compile(network, dynamic=False, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(traced.eval()(images), network.eval()(images))
    network.train()
    for k in range(len(network.boundaries)):
        outcomes = []
        for forward in (network, traced):
            network.zero_grad()
            logits = forward(images, draw_plan(k))
            logits.square().sum().backward()
            outcomes.append([logits.detach(), *(p.grad.clone() for p in network.parameters())])
        torch.testing.assert_close(outcomes[1], outcomes[0], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(outcomes[0][0], network(images), rtol=1e-2)


# --- the file


@for_every_classifier
@pytest.mark.parametrize("preparation", [None, *PREPARATIONS])
def test_classifier_survives_saving_and_loading(name: str, preparation: str | None, tmp_path: Path):
    network = make_classifier(name, prepare=prepare_for(preparation, make_bytes()))
    network(make_images())  # moves the running statistics of batch norm
    network.eval()
    (tmp_path / "c.safetensors").write_bytes(classifier_file(network, {"accuracy": 0.5}))
    state = torch.get_rng_state()
    loaded = load_classifier(tmp_path / "c.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert type(loaded) is type(network) is CLASSIFIERS[name]
    assert type(loaded.prepare) is PREPARATIONS.get(preparation, nn.Identity)
    assert not loaded.training
    assert loaded.settings == network.settings
    assert (loaded.resolution, loaded.channels, loaded.num_classes) == (8, 3, 4)
    images = make_images()
    assert torch.equal(loaded.predict(images), network.predict(images))
    with safe_open(tmp_path / "c.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["recipe"]) == {"accuracy": 0.5}


@for_every_classifier
def test_settings_name_the_network_the_preparation_and_the_constructors_keys(name: str):
    settings = make_classifier(name, prepare=prepare_for("channels", make_bytes())).settings
    parameters = inspect.signature(CLASSIFIERS[name]).parameters.values()
    sizes = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert sizes >= SIZES[name].keys()
    assert (settings["name"], settings["prepare"]) == (name, "channels")
    assert {*settings} == {"name", "prepare", "resolution", "channels", "num_classes"} | sizes


def test_a_preparation_that_no_one_could_load_is_refused_on_saving():
    network = make_classifier("conv", prepare=nn.Tanh())
    assert torch.equal(network.eval().predict(make_images()), network(make_images().tanh()))
    with pytest.raises(ValueError, match="unknown preparation 'Tanh'; known: channels, zca"):
        classifier_file(network, {})


@pytest.mark.parametrize(("key", "kind"), [("name", "classifier"), ("prepare", "preparation")])
def test_a_file_of_an_unknown_kind_is_refused(key: str, kind: str, tmp_path: Path):
    network = make_classifier("conv")
    settings = network.settings | {key: "novel"}
    save_file(network.state_dict(), tmp_path / "c.safetensors", {"settings": json.dumps(settings)})
    with pytest.raises(ValueError, match=f"unknown {kind} 'novel'; known: c"):
        load_classifier(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("digits", "77065d2a960fff129aa53c0527f680889394973c1522023e71a5067fb6cca24d"),
        ("fashion_mnist", "c172b603680791a11869cd3a99c74900c0728814b94978ecd455d2050e4caa01"),
    ],
)
def test_shipped_files_are_what_they_were(name: str, digest: str):
    """Finished runs were scored by them, and are compared by this digest."""
    network = load_classifier(SHIPPED / f"{name}.safetensors")
    assert get_extractor(name).digest == digest
    assert (network.settings["name"], network.settings["prepare"]) == ("conv", None)
    weights = load_file(SHIPPED / f"{name}.safetensors")
    x = images = make_images(6, network.resolution, network.channels)
    for conv, stride in {"conv1": 1, "conv2": 2, "conv3": 2}.items():
        x = F.conv2d(x, weights[f"stages.{conv}.conv.weight"], stride=stride, padding=1)
        bn = (weights[f"stages.{conv}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(x, *bn).relu()
    features = x.mean((2, 3))
    logits = features @ weights["stages.linear.weight"].T + weights["stages.linear.bias"]
    torch.testing.assert_close(network.features_and_logits(images), (features, logits), rtol=1e-4, atol=1e-4)


# --- the small one


@pytest.mark.parametrize("resolution", [8, 28, 30])
def test_conv_with_max_pooling_is_the_textbooks(resolution: int):
    network = make_classifier("conv", resolution, downsample="max_pool").double()
    x = images = make_images(6, resolution).double()
    for stage, pooled in {"conv1": True, "conv2": True, "conv3": False}.items():
        layer = network.stages[stage]
        x = F.conv2d(x, layer.conv.weight, padding=1)
        x = F.batch_norm(x, None, None, layer.bn.weight, layer.bn.bias, training=True).relu()
        if pooled:
            even = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
            x = torch.stack([even[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)
        torch.testing.assert_close(network.hidden(images, network.boundaries.index(stage)), x, rtol=1e-9, atol=1e-9)
    logits = network.stages.linear(x.mean((2, 3)))
    torch.testing.assert_close(network(images), logits, rtol=1e-9, atol=1e-9)


def test_both_ways_to_downsample_take_the_same_weights_and_multiplications():
    counts, shapes = [], []
    for downsample in ("stride", "max_pool"):
        network = make_classifier("conv", 28, downsample=downsample)
        with FlopCounterMode(display=False) as counter:
            network(make_images(2, 28))
        counts.append(counter.get_total_flops())
        shapes.append({name: tensor.shape for name, tensor in network.state_dict().items()})
    assert counts[0] == counts[1] > 0
    assert shapes[0] == shapes[1]


# --- PreActResNet


class TextbookBlock(nn.Module):
    """He et al. 2016, figure 1b, with the convolution of the shortcut behind the first BN and ReLU; O / I as given."""

    def __init__(self, num_in: int, num_inner: int, num_out: int, stride: int, kernels: tuple[int, ...]):
        super().__init__()
        self.num_convs = len(kernels)
        sizes = [num_in, *[num_inner] * (len(kernels) - 1), num_out]
        for i, kernel in enumerate(kernels):
            # the authors' bottlenecks have their stride in the 3x3 convolution
            step = stride if i == (1 if len(kernels) == 3 else 0) else 1
            conv = nn.Conv2d(sizes[i], sizes[i + 1], kernel, step, padding=kernel // 2, bias=False)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(sizes[i]))
            self.add_module(f"conv{i + 1}", conv)
        if (num_in, 1) != (num_out, stride):
            self.shortcut = nn.Conv2d(num_in, num_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        first = torch.relu(self.bn1(x))
        h = self.conv1(first)
        for i in range(1, self.num_convs):
            h = self.get_submodule(f"conv{i + 1}")(torch.relu(self.get_submodule(f"bn{i + 1}")(h)))
        return h + (self.shortcut(first) if hasattr(self, "shortcut") else x)


class TextbookPreActResNet(nn.Module):
    """Of images of 32 pixels."""

    def __init__(self, depth: int, width: int, channels: int, num_classes: int):
        super().__init__()
        num_blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 152: (3, 8, 36, 3)}[depth]
        kernels, expansion = ((1, 3, 1), 4) if depth == 152 else ((3, 3), 1)
        self.conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleDict()
        num_in = width
        for group, inner in enumerate((width, 2 * width, 4 * width, 8 * width)):
            for i in range(num_blocks[group]):
                stride = 2 if group > 0 and i == 0 else 1
                block = TextbookBlock(num_in, inner, expansion * inner, stride, kernels)
                self.blocks[f"layer{group + 1}_block{i + 1}"] = block
                num_in = expansion * inner
        self.linear = nn.Linear(num_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        for block in self.blocks.values():
            h = block(h)
        return self.linear(F.avg_pool2d(h, 4).flatten(1))


def copy_weights(network: Classifier, textbook: nn.Module) -> None:
    """Load all that `network` has into `textbook`, which calls it a little differently."""
    state = {}
    for key, tensor in network.state_dict().items():
        key = key.removeprefix("stages.").replace("layer1.conv", "conv").replace("pool.bn", "bn")
        state[re.sub(r"^(layer\d)\.(block\d+)", r"blocks.\1_\2", key)] = tensor
    textbook.load_state_dict(state)


def assert_same_function(network: Classifier, textbook: nn.Module) -> None:
    """In both modes, with the same gradients, and the same running statistics afterwards."""
    copy_weights(network, textbook)
    images = make_images(3, 32).double()
    for training in (False, True):
        expected, got = (net.train(training)(images) for net in (textbook, network))
        torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-9)
        assert got.std() > 1e-3
    for logits in (expected, got):
        logits.square().sum().backward()
    theirs, ours = (sum(p.grad.square().sum() for p in net.parameters()) for net in (textbook, network))
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=0)
    statistics = textbook.state_dict()
    copy_weights(network, again := type(textbook)(*textbook.arguments).double())
    torch.testing.assert_close(again.state_dict(), statistics, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("depth", [18, 34, 152])
def test_preact_resnet_is_the_textbooks(depth: int):
    network = make_classifier("preact_resnet", 32, depth=depth).double()
    textbook = TextbookPreActResNet(depth, 4, 3, 4).double()
    textbook.arguments = (depth, 4, 3, 4)
    assert_same_function(network, textbook)


@pytest.mark.parametrize("depth", [18, 34, 152])
@pytest.mark.parametrize(("width", "channels", "num_classes"), [(64, 3, 10), (5, 1, 7)])
def test_preact_resnet_has_as_many_parameters_as_a_count_by_hand(
    depth: int, width: int, channels: int, num_classes: int
):
    num_blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 152: (3, 8, 36, 3)}[depth]
    expected, num_in = 9 * channels * width, width
    for group, blocks in enumerate(num_blocks):
        w = width * 2**group
        if depth == 152:  # 1x1, 3x3, 1x1 of w, w, 4 w channels; two numbers of each channel that a BN sees
            first = num_in * w + 9 * w * w + 4 * w * w + num_in * 4 * w + 2 * (num_in + 2 * w)
            later = 4 * w * w + 9 * w * w + 4 * w * w + 2 * (4 * w + 2 * w)
            num_in = 4 * w
        else:
            shortcut = num_in * w if group else 0
            first = 9 * num_in * w + 9 * w * w + shortcut + 2 * (num_in + w)
            later = 2 * 9 * w * w + 2 * 2 * w
            num_in = w
        expected += first + (blocks - 1) * later
    expected += (num_in + 1) * num_classes
    with torch.device("meta"):
        network = CLASSIFIERS["preact_resnet"](channels, 32, num_classes=num_classes, depth=depth, width=width)
    assert num_parameters(network) == expected


def test_preact_resnet_18_is_the_default_and_as_large_as_the_authors():
    with torch.device("meta"):
        network = CLASSIFIERS["preact_resnet"](3, 32, num_classes=10)
    assert num_parameters(network) == 11_171_146
    assert network.settings["depth"] == 18


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_block_whose_shape_changes_has_a_convolution_for_a_shortcut(block: type[BasicBlock | Bottleneck]):
    for num_out, stride in [(8, 1), (8, 2), (4, 2), (4, 1)]:
        made = block(4, num_out, stride)
        assert made(torch.randn(2, 4, 6, 6)).shape == (2, num_out, 6 // stride, 6 // stride)
        assert (made.shortcut is None) is ((num_out, stride) == (4, 1))


def test_boundaries_of_preact_resnet_begin_with_the_papers_eligible_layers():
    network = make_classifier("preact_resnet", 32)
    assert network.boundaries == ["input", "layer1", "layer2", "layer3", "layer4", "pool"]
    shapes = [tuple(network.hidden(make_images(2, 32), k).shape[1:]) for k in range(6)]
    assert shapes == [(3, 32, 32), (4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 4, 4), (32,)]


def test_preact_resnet_starts_as_pytorch_does():
    torch.manual_seed(0)
    network = CLASSIFIERS["preact_resnet"](3, 8, num_classes=10, depth=18, width=16)
    for layer in (module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert 0.9 * bound < layer.weight.abs().max().item() <= bound
        tolerance = 4 / math.sqrt(layer.weight.numel())  # several standard errors of a standard deviation
        assert layer.weight.std(correction=0).item() == pytest.approx(bound / math.sqrt(3), rel=tolerance)


@pytest.mark.parametrize("depth", [17, 50])
def test_lacking_depth_of_preact_resnet_is_refused(depth: int):
    with pytest.raises(ValueError, match=f"depth must be one of 18, 34, 152, got {depth}"):
        make_classifier("preact_resnet", depth=depth)


# --- WRN


class TextbookUnit(nn.Module):
    """Oliver et al. 2018: `activate_first` moves the first BN and activation before the fork.

    Dropout stands where the authors of Manifold Mixup have it.
    """

    def __init__(self, num_in: int, num_out: int, stride: int, activate_first: bool, slope: float, drop: float):
        super().__init__()
        self.activate_first = activate_first
        self.slope = slope
        self.dropout = HandMadeDropout(drop)
        self.bn1, self.bn2 = nn.BatchNorm2d(num_in), nn.BatchNorm2d(num_out)
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, padding=1, bias=False)
        if num_in != num_out:
            self.shortcut = nn.Conv2d(num_in, num_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        bn1 = self.bn1(x)
        activated = torch.where(bn1 < 0, self.slope * bn1, bn1)
        origin = activated if self.activate_first else x
        bn2 = self.bn2(self.dropout(self.conv1(activated)))
        h = self.conv2(torch.where(bn2 < 0, self.slope * bn2, bn2))
        return h + (self.shortcut(origin) if hasattr(self, "shortcut") else origin)


class HandMadeDropout(nn.Module):
    """Its draws come one after the other from `stream`, which all share."""

    stream: torch.Generator

    def __init__(self, drop: float):
        super().__init__()
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop:
            return x
        kept = torch.empty_like(x).bernoulli_(1 - self.drop, generator=self.stream)
        return kept * x / (1 - self.drop)


class TextbookWideResNet(nn.Module):
    def __init__(self, depth: int, width: int, slope: float = 0.1, drop: float = 0.0):
        super().__init__()
        self.slope = slope
        num_units = (depth - 4) // 6
        filters = (16, 16 * width, 32 * width, 64 * width)
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.blocks = nn.ModuleDict()
        for group in (1, 2, 3):
            stride = 1 if group == 1 else 2
            unit = TextbookUnit(filters[group - 1], filters[group], stride, group == 1, slope, drop)
            self.blocks[f"layer{group}_block1"] = unit
            for i in range(2, num_units + 1):
                self.blocks[f"layer{group}_block{i}"] = TextbookUnit(
                    filters[group], filters[group], 1, False, slope, drop
                )
        self.bn = nn.BatchNorm2d(filters[3])
        self.linear = nn.Linear(filters[3], 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x)
        for unit in self.blocks.values():
            h = unit(h)
        h = self.bn(h)
        return self.linear(torch.where(h < 0, self.slope * h, h).mean((2, 3)))


@pytest.mark.parametrize(("depth", "width", "slope"), [(28, 2, 0.1), (10, 3, 0.1), (10, 3, 0.01)])
def test_wide_resnet_is_the_textbooks(depth: int, width: int, slope: float):
    textbook = TextbookWideResNet(depth, width, slope).double()
    textbook.arguments = (depth, width, slope)
    assert_same_function(make_classifier("wide_resnet", 32, depth=depth, width=width, slope=slope).double(), textbook)


def test_dropout_of_wide_resnet_is_between_the_convolutions_and_before_the_batch_norm():
    network = make_classifier("wide_resnet", width=2, dropout=0.3).double()
    textbook = TextbookWideResNet(10, 2, drop=0.3).double()
    copy_weights(network, textbook)
    stream, HandMadeDropout.stream = (torch.Generator().manual_seed(5) for _ in range(2))
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = stream
    images = make_images().double()
    outputs = []
    for _ in range(2):
        outputs.append(network(images))
        torch.testing.assert_close(outputs[-1], textbook(images), rtol=1e-8, atol=1e-9)
    assert not torch.allclose(*outputs, rtol=1e-2)  # other draws
    torch.testing.assert_close(network.eval()(images), textbook.eval()(images), rtol=1e-8, atol=1e-9)


def test_dropout_changes_neither_parameters_nor_predictions():
    plain, dropping = (make_classifier("wide_resnet", dropout=p) for p in (0.0, 0.3))
    assert [*plain.state_dict()] == [*dropping.state_dict()]
    assert num_parameters(plain) == num_parameters(dropping)
    assert torch.equal(plain.eval().predict(make_images()), dropping.eval().predict(make_images()))


def test_dropout_keeps_its_share_and_the_mean():
    dropout = Dropout(0.3)
    dropout.generator = torch.Generator().manual_seed(0)
    x = dropout(torch.ones(200, 500))
    assert x.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (x > 0).float().mean().item() == pytest.approx(0.7, abs=0.006)  # four standard errors
    assert torch.equal(dropout.eval()(x), x)


def test_dropout_draws_from_its_generator_only():
    network = make_classifier("wide_resnet", dropout=0.3)
    state = torch.get_rng_state()
    for module in network.modules():
        if isinstance(module, Dropout):
            module.generator = torch.Generator().manual_seed(0)
    network(make_images())
    assert torch.equal(torch.get_rng_state(), state)


def test_wrn_28_2_is_the_default_and_as_large_as_the_original():
    with torch.device("meta"):
        network = CLASSIFIERS["wide_resnet"](3, 32, num_classes=10)
    w, expected, num_in = 32, 9 * 3 * 16, 16
    for group in range(3):
        num_out = w * 2**group
        expected += 9 * num_in * num_out + 7 * 9 * num_out**2  # 8 convolutions in 4 blocks
        expected += num_in * num_out  # shortcut
        expected += 2 * num_in + 2 * 7 * num_out  # batch norm
        num_in = num_out
    expected += 2 * num_in + (num_in + 1) * 10
    assert num_parameters(network) == expected == 1_467_610
    assert network.boundaries == ["input", "layer1", "layer2", "layer3", "pool"]


def test_wide_resnet_starts_he_normal():
    torch.manual_seed(0)
    network = CLASSIFIERS["wide_resnet"](3, 8, num_classes=10, depth=10, width=2)
    for layer in (module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)):
        weight = layer.weight.detach()
        fan_out = layer.out_channels * weight[0, 0].numel() if weight.ndim == 4 else sum(weight.shape)
        tolerance = 4 / math.sqrt(weight.numel())
        assert weight.std(correction=0).item() == pytest.approx(math.sqrt(2 / fan_out), rel=tolerance)
        kurtosis = (weight / weight.std()).pow(4).mean().item()
        assert kurtosis == pytest.approx(3, abs=0.5 + 20 / math.sqrt(weight.numel()))  # 1.8 were uniform
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("depth", [4, 27, 30, -2])
def test_lacking_depth_of_wide_resnet_is_refused(depth: int):
    with pytest.raises(ValueError, match=rf"depth must be 6 n \+ 4 \(10, 16, 22, 28, .*\), got {depth}$"):
        make_classifier("wide_resnet", depth=depth)


# --- the bottleneck


def test_bottleneck_mlp_is_six_matrix_products_with_the_middle_one_linear():
    network, images = make_classifier("bottleneck_mlp").eval(), make_images()
    assert network.boundaries == ["input", "hidden1", "hidden2", "bottleneck", "hidden3", "hidden4"]
    x, weights = images.flatten(1), dict(network.named_parameters())
    for stage in network.stages:
        (weight,) = (value for key, value in weights.items() if re.match(rf"stages\.{stage}\..*weight", key))
        (bias,) = (value for key, value in weights.items() if re.match(rf"stages\.{stage}\..*bias", key))
        x = x @ weight.T + bias
        if stage == "bottleneck":
            torch.testing.assert_close(network.hidden(images, network.boundaries.index("bottleneck")), x)
        elif stage != "linear":
            x = torch.maximum(x, 0.01 * x)
    torch.testing.assert_close(network(images), x)


def test_bottleneck_mlp_has_by_default_the_papers_sizes():
    network = CLASSIFIERS["bottleneck_mlp"](1, 28, num_classes=10)
    sizes = [784, 1024, 1024, 2, 1024, 1024, 10]
    shapes = [p.shape for p in network.parameters() if p.ndim == 2]
    assert shapes == [(sizes[i + 1], sizes[i]) for i in range(6)]
    assert num_parameters(network) == sum((sizes[i] + 1) * sizes[i + 1] for i in range(6))
