"""A network as an ordered row of named stages, so that a `MixPlan` can act between two of them."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from ganmix.errors import first_line
from ganmix.mixup import MixPlan
from ganmix.networks.modes import batch_norms

INPUT = "input"  # the name of boundary 0
OWN_FORWARD = "a forward of your own that calls plan.apply(h) can mix there"


class Staged(nn.Module):
    """Stages run one after the other; a plan is applied to the input of its stage.

    Boundary k is the input of stage k: 0 is the network's input, k the output of stage k - 1. A stage is a whole
    residual block or group, never the inside of one.

    Args:
        stages: name -> module, in order; each maps one tensor to one tensor.
    """

    def __init__(self, stages: Mapping[str, nn.Module]):
        super().__init__()
        if not stages:
            raise ValueError("a staged network needs at least one stage, got none")
        if INPUT in stages:
            raise ValueError(f"no stage can be called {INPUT!r}, which names the boundary before the first")
        self.stages = nn.ModuleDict(stages)
        self._memory_format: torch.memory_format | None = None

    def lay_out(self, memory_format: torch.memory_format) -> Self:
        """Turn all weights, and each 4-d tensor that enters a stage, into `memory_format`; return self.

        The weights alone would not do: transposed convolutions and one-channel images fall back to contiguous.
        """
        self._memory_format = memory_format
        return self.to(memory_format=memory_format)

    @property
    def boundaries(self) -> list[str]:
        """Names of the places where mixing can happen: 'input', then the stage whose output is mixed."""
        return [INPUT, *list(self.stages)[:-1]]

    def forward(self, x: Tensor, plan: MixPlan | None = None) -> Tensor:
        """Run all stages on x [N, ...]; with a plan, N becomes what `plan.apply` returns."""
        if plan is not None and not 0 <= plan.stage < len(self.stages):
            raise ValueError(_lacking(plan.stage, self.boundaries))
        for k, stage in enumerate(self.stages.values()):
            if plan is not None and k == plan.stage:
                x = plan.apply(x)
            if self._memory_format is not None and x.ndim == 4:
                x = x.to(memory_format=self._memory_format)
            x = stage(x)
        return x

    def hidden(self, x: Tensor, k: int) -> Tensor:
        """Return h_k(x), the input of stage k."""
        if not 0 <= k < len(self.stages):
            raise ValueError(_lacking(k, self.boundaries))
        for stage in list(self.stages.values())[:k]:
            x = stage(x)
        return x


def resolve_stages(stages: Sequence[int | str], boundaries: Sequence[str]) -> list[int]:
    """Turn the numbers and names of stage boundaries into numbers, in their order.

    Raises:
        ValueError: one that the network lacks, or one named twice; the message lists those it has.
    """
    for stage in stages:
        if stage not in boundaries and stage not in range(len(boundaries)):
            raise ValueError(_lacking(stage, boundaries))
    numbers = sorted(boundaries.index(stage) if isinstance(stage, str) else stage for stage in stages)
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"{list(stages)} names a stage twice, of {_listed(boundaries)}")
    return numbers


def _lacking(stage: int | str, boundaries: Sequence[str]) -> str:
    return f"stage {stage!r} is not one of this network's: {_listed(boundaries)}"


def _listed(boundaries: Sequence[str]) -> str:
    return ", ".join(f"{k} ({name})" for k, name in enumerate(boundaries))


def staged(module: nn.Module, stages: Sequence[str], example: Tensor | None = None) -> Staged:
    """Turn a foreign network into stages made of its own children, sharing its parameters.

    A network that cannot be cut so can call `plan.apply(h)` in a forward of its own instead.

    Args:
        module: a network that runs its children one after the other.
        stages: each a child's name, or several joined by '+'. 'flatten' stands for `torch.flatten(x, 1)`, which
            many networks write in their `forward`. The stages are named after their last child; with an underscore
            where that name is taken, by another stage, by the boundary 'input' or by Python.
        example: an input [N, ...]. With it, the stages are compared with `module(example)`, in eval and in training
            mode: a forward that does more than run its children would otherwise be cut short in silence. It stays as
            it is, and so does the module.

    Raises:
        ValueError: a child is unknown, left out or used twice, a parameter or a buffer is no child's, or the stages
            cannot run the example or compute something else.

    Example:
        >>> resnet = torchvision.models.resnet18(num_classes=10)
        >>> net = staged(resnet, ["conv1+bn1+relu+maxpool", "layer1", "layer2", "layer3", "layer4",
        ...                       "avgpool+flatten+fc"], example=torch.randn(2, 3, 64, 64))
    """
    children = dict(module.named_children())
    parts = [stage.split("+") for stage in stages]
    used = [child for part in parts for child in part if child != "flatten" or "flatten" in children]
    if unknown := [child for child in used if child not in children]:
        raise ValueError(f"no child is called {unknown[0]!r}; there are {', '.join(children)} and 'flatten'")
    if left_out := [child for child in children if used.count(child) != 1]:
        raise ValueError(f"each child must be in one stage; left out or repeated: {', '.join(left_out)}")
    known = {"flatten": nn.Flatten(1), **children}
    layers = [known[part[0]] if len(part) == 1 else nn.Sequential(*(known[child] for child in part)) for part in parts]
    network = Staged(dict(zip(_free_names([part[-1] for part in parts]), layers, strict=True)))
    held = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
    tensors = (*module.named_parameters(), *module.named_buffers())
    if own := [name for name, tensor in tensors if id(tensor) not in held]:
        raise ValueError(f"the module itself holds {', '.join(own)}, which no stage would; {OWN_FORWARD}")
    if example is not None:
        for training in (False, True):
            _compare(module, network, example, training)
    return network


def _free_names(names: Sequence[str]) -> list[str]:
    """Return names that stages can have, each as given or with underscores at its end."""
    free: list[str] = []
    for name in names:
        while name == INPUT or name in free or hasattr(nn.ModuleDict(), name):
            name += "_"
        free.append(name)
    return free


def _compare(module: nn.Module, network: Staged, example: Tensor, training: bool) -> None:
    """Raise ValueError where the stages compute something else than the module, or one of them nothing."""
    mode = "training mode" if training else "eval mode"
    if training and len(example) == 1:
        example = torch.cat([example, example])  # batch norm needs two values
    outputs = []
    for name, runner in (("the module", module), ("the stages in a row", network)):
        advice = f"; {OWN_FORWARD}" if runner is network else ""
        try:
            # Each from the same random state. Old spectral and weight norm forbid a deep copy to run instead.
            with _restored(module), torch.random.fork_rng([example.device] if example.is_cuda else []), torch.no_grad():
                output = runner.train(training)(example.clone())
        except Exception as error:  # of somebody else's code, so of any kind
            problem = f"{type(error).__name__}: {first_line(error)}"
            raise ValueError(f"{name} cannot run the example in {mode} ({problem}){advice}") from error
        if not isinstance(output, Tensor):
            raise ValueError(f"{name} must return one tensor in {mode}, got {type(output).__name__}{advice}")
        outputs.append(output)
    expected, got = outputs
    if expected.shape != got.shape or not torch.allclose(expected, got, rtol=1e-4, atol=1e-5):
        raise ValueError(
            f"the stages in a row do not compute what the module's forward does in {mode}, which does more than run "
            f"its children; {OWN_FORWARD}"
        )


@contextmanager
def _restored(module: nn.Module) -> Iterator[None]:
    """Afterwards, give a module the modes and buffers that it has now."""
    modes = [(each, each.training) for each in module.modules()]
    buffers = [
        (each, name, buffer, buffer.clone())
        for each in module.modules()
        for name, buffer in each.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for each, training in modes:
            each.training = training
        for each, name, buffer, value in buffers:
            setattr(each, name, buffer.copy_(value))


def is_affine(network: Staged, k: int, example: Tensor) -> bool:
    """Tell whether boundary k is an affine image of the input, so that mixing there is input mixup.

    A bare convolution is: W(lam x + (1 - lam) y) + b = lam (W x + b) + (1 - lam)(W y + b), for lam per sample too.
    Found by trying, in float64, so that it holds for foreign networks as well. Batch norm below the boundary is not
    tried: it is affine in eval mode alone, and in training it depends on the batch.

    Args:
        example: any input [N, ...], for its shape.
    """
    if any(batch_norms(stage) for stage in list(network.stages.values())[:k]):
        return False
    # In eval mode, in which no power iteration of spectral norm comes between the probes.
    probe = copy.deepcopy(network).cpu().double().eval()
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, *example.shape[1:], dtype=torch.float64, generator=generator) for _ in range(2))
    lam = 0.3
    with torch.no_grad():
        mixed_after = lam * probe.hidden(x, k) + (1 - lam) * probe.hidden(y, k)
        return torch.allclose(probe.hidden(lam * x + (1 - lam) * y, k), mixed_after, rtol=1e-9, atol=1e-9)
