"""A network as an ordered row of named stages, so that a `MixPlan` can act between two of them."""

import copy
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ganmix.mixup import MixPlan


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
        return ["input", *list(self.stages)[:-1]]

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
    """Turn the numbers and names of stage boundaries into numbers, in their order and without repeats.

    Raises:
        ValueError: one that the network lacks; the message lists those it has.
    """
    for stage in stages:
        if stage not in boundaries and stage not in range(len(boundaries)):
            raise ValueError(_lacking(stage, boundaries))
    return sorted({boundaries.index(s) if isinstance(s, str) else s for s in stages})


def _lacking(stage: int | str, boundaries: Sequence[str]) -> str:
    known = ", ".join(f"{k} ({name})" for k, name in enumerate(boundaries))
    return f"stage {stage!r} is not one of this network's: {known}"


def staged(module: nn.Module, stages: Sequence[str], example: Tensor | None = None) -> Staged:
    """Turn a foreign network into stages made of its own children, sharing its parameters.

    Args:
        module: a network that runs its children one after the other.
        stages: each a child's name, or several joined by '+'. 'flatten' stands for `torch.flatten(x, 1)`, which
            many networks write in their `forward`. The stages are named after their last child.
        example: an input [N, ...]. With it, the stages are compared with `module(example)` in eval mode: a forward
            that does more than run its children would otherwise be cut short in silence.

    Raises:
        ValueError: a child is unknown, left out or used twice, or the stages compute something else.

    Example:
        >>> resnet = torchvision.models.resnet18(num_classes=10)
        >>> net = staged(resnet, ["conv1+bn1+relu+maxpool", "layer1", "layer2", "layer3", "layer4",
        ...                       "avgpool+flatten+fc"], example=torch.randn(2, 3, 64, 64))
    """
    children = dict(module.named_children())
    names = [stage.split("+") for stage in stages]
    used = [child for parts in names for child in parts if child != "flatten" or "flatten" in children]
    if unknown := [child for child in used if child not in children]:
        raise ValueError(f"no child is called {unknown[0]!r}; there are {', '.join(children)} and 'flatten'")
    if left_out := [child for child in children if used.count(child) != 1]:
        raise ValueError(f"each child must be in one stage; left out or repeated: {', '.join(left_out)}")
    parts = {"flatten": nn.Flatten(1), **children}
    network = Staged({n[-1]: parts[n[0]] if len(n) == 1 else nn.Sequential(*(parts[c] for c in n)) for n in names})
    if example is not None:
        with torch.no_grad():
            expected, got = (copy.deepcopy(net).eval()(example) for net in (module, network))
        if expected.shape != got.shape or not torch.allclose(expected, got, rtol=1e-4, atol=1e-5):
            raise ValueError("the stages in a row do not compute what the module's forward does")
    return network


def is_affine(network: Staged, k: int, example: Tensor) -> bool:
    """Tell whether boundary k is an affine image of the input, so that mixing there is input mixup.

    A bare convolution is: W(lam x + (1 - lam) y) + b = lam (W x + b) + (1 - lam)(W y + b), for lam per sample too.
    Found by trying, in float64, so that it holds for foreign networks as well.

    Args:
        example: any input [N, ...], for its shape.
    """
    probe = copy.deepcopy(network).cpu().double().eval()
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, *example.shape[1:], dtype=torch.float64, generator=generator) for _ in range(2))
    lam = 0.3
    with torch.no_grad():
        mixed_after = lam * probe.hidden(x, k) + (1 - lam) * probe.hidden(y, k)
        return torch.allclose(probe.hidden(lam * x + (1 - lam) * y, k), mixed_after, rtol=1e-9, atol=1e-9)
