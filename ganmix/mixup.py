"""The mixup core: which rows to mix, where and how strongly. It knows no network and needs only torch.

Manifold Mixup (Verma et al. 2018, arXiv 1806.05236 v1), equations 1 to 3, and its classifier form.

`DiscriminatorMixup` and `ClassifierMixup` draw a `MixPlan` for each step. The network applies it to a hidden state with
`plan.apply(h)`, the trainer applies it to the labels with `plan.mixes(labels)`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

# Name of a pair -> (rows of real, rows of fake, a permutation of N) -> the parents (a, b) of N mixes; lambda weighs a.
PAIRS: dict[str, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "FR": lambda real, fake, partner: (real, fake),  # eq. 2
    "FF": lambda real, fake, partner: (fake, fake[partner]),  # eq. 3
}


@dataclass(frozen=True)
class MixPlan:
    """Row m of the mixes is `lam[m] * h[a[m]] + (1 - lam[m]) * h[b[m]]`, with h the input of stage `stage`.

    Args:
        stage: the stage whose input is mixed; 0 mixes the network's input.
        a, b: int64 [M], rows of the batch.
        lam: float [M] or [], in [0, 1].
        append: True: the mixes follow the batch, [N + M, ...]; False: they replace it, [M, ...].
        block_gradients: True: no gradient of the mixes reaches the stages below the mix. In a classifier these have no
            gradient at all (None), so the optimiser skips them, with momentum and weight decay. In the torch of 2018
            zero_grad left zeros, and both still acted.
        batch: the groups of the batch, name -> number of rows; a batch of another size is refused. Empty: any size.
        mixed: the groups of the mixes, name -> number of rows.
    """

    stage: int
    a: Tensor
    b: Tensor
    lam: Tensor
    append: bool = False
    block_gradients: bool = False
    batch: Mapping[str, int] = field(default_factory=dict)
    mixed: Mapping[str, int] = field(default_factory=dict)

    @property
    def groups(self) -> dict[str, int]:
        """The groups of rows that `apply` returns, in order: name -> number of rows."""
        return {**self.batch, **self.mixed} if self.append else {**self.mixed}

    def split(self, output: Tensor) -> dict[str, Tensor]:
        """Return logits or labels by group; `output` has the rows that `apply` returns."""
        groups = self.groups
        return dict(zip(groups, output.split(list(groups.values())), strict=True))

    def mixes(self, h: Tensor) -> Tensor:
        """Return only the mixes of `h` [N, ...], [M, ...]: hidden states, images or labels, on any device.

        Raises:
            ValueError: `h` is not floating-point, or has another number of rows than the plan.
        """
        if not h.is_floating_point():
            raise ValueError(
                f"expected a floating-point tensor, got {h.dtype}; classes mix as F.one_hot(labels, K).float()"
            )
        num = sum(self.batch.values())
        if num and len(h) != num:
            raise ValueError(f"the plan is for a batch of {num} rows, got {len(h)}; draw one for each batch")
        a, b, lam = (_moved(tensor, h.device) for tensor in (self.a, self.b, self.lam))
        # Indexing rows makes a channels_last tensor contiguous, and every later convolution would convert it back.
        # As [N, H, W, C] it is contiguous already.
        channels_last = h.ndim == 4 and h.is_contiguous(memory_format=torch.channels_last)
        rows = h.movedim(1, -1) if channels_last else h
        # bfloat16 would round lambda to 8 bits, but the targets are mixed with the exact lambda.
        wide = torch.promote_types(h.dtype, torch.float32)
        lam = lam.to(wide)
        lam = lam.reshape(-1, *[1] * (h.ndim - 1)) if lam.ndim else lam
        mixed = torch.lerp(rows.index_select(0, b).to(wide), rows.index_select(0, a).to(wide), lam).to(h.dtype)
        return mixed.movedim(-1, 1) if channels_last else mixed

    def apply(self, h: Tensor) -> Tensor:
        """Return the input of stage `stage` that replaces `h` [N, ...]: [N + M, ...] or [M, ...]."""
        if self.append and not len(self.a):
            return h
        mixed = self.mixes(h.detach() if self.block_gradients else h)
        return torch.cat([h, mixed]) if self.append else mixed

    def to(self, device: torch.device | str) -> "MixPlan":
        """Return the same plan with its tensors on `device`."""
        a, b, lam = (_moved(tensor, torch.device(device)) for tensor in (self.a, self.b, self.lam))
        return replace(self, a=a, b=b, lam=lam)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    # A copy to a GPU need not be awaited. The CPU would read values that have not arrived yet.
    return tensor.to(device, non_blocking=device.type != "cpu")


def sample_lambda(alpha: float, num: int, generator: torch.Generator, *, clamp: bool = False) -> Tensor:
    """Draw `num` mixing weights from Beta(alpha, alpha), float32 [num].

    Args:
        alpha: > 0, else ValueError.
        clamp: True: return min(lambda, 1 - lambda), so that the first parent weighs at most 1/2 (footnote 3).
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be greater than 0, got {alpha}")
    # Beta is g1 / (g1 + g2) of two Gamma(alpha). At a small alpha both underflow to 0, hence logarithms and
    # Gamma(alpha) = Gamma(alpha + 1) * U^(1/alpha).
    # The device is named, since a user may have set another as torch's default.
    device = generator.device
    shape = torch.full((2, num), alpha + 1.0, dtype=torch.float64, device=device)
    log_u = torch.rand(2, num, dtype=torch.float64, generator=generator, device=device).log()
    log_g = torch._standard_gamma(shape, generator=generator).log() + log_u / alpha
    # Both logarithms are -inf (U = 0) once in 2^100 draws; every other sigmoid is finite.
    logit = log_g[0] - log_g[1]
    # This is min(lambda, 1 - lambda) without the rounding of 1 - lambda near lambda = 1.
    return torch.sigmoid(-logit.abs() if clamp else logit).float()


def choose_stage(stages: Sequence[int], generator: torch.Generator) -> int:
    """Draw one of the eligible stages, each with the same probability."""
    if not stages:
        raise ValueError("stages must name at least one stage, got none")
    if any(isinstance(stage, str) for stage in stages):
        raise ValueError(f"stages are numbers, got {list(stages)}; networks.resolve_stages turns names into numbers")
    if min(stages) < 0:
        raise ValueError(f"stages are numbered from 0, got {list(stages)}")
    return stages[int(torch.randint(len(stages), (), generator=generator, device=generator.device))]


@dataclass(frozen=True)
class ClassifierMixup:
    """Replaces a classifier's batch by mixes of each row with a random partner.

    Args:
        stages: the eligible stages; one is drawn.
        alpha: of Beta(alpha, alpha), > 0.
        lam_per: 'batch' (the paper) or 'sample'.
        block_gradients: see `MixPlan`.
        block_size: draw partners within blocks of so many rows, so that processes which share a batch in whole blocks
            mix as one process does; None: within the whole batch.
    """

    stages: Sequence[int]
    alpha: float
    lam_per: str = "batch"
    block_gradients: bool = False
    block_size: int | None = None

    def __post_init__(self) -> None:
        _check_choice("lam_per", self.lam_per, ("sample", "batch"))

    def plan(self, num: int, generator: torch.Generator) -> MixPlan:
        """Draw the plan of a batch of `num` >= 1 rows from a generator on the CPU.

        Raises:
            ValueError: the batch is empty, or a setting is out of its range.
        """
        stage, lam, partner = _draw(self, num, generator, clamp=False)
        rows, batch, mixed = torch.arange(num, device=generator.device), {"images": num}, {"mixes": num}
        return MixPlan(stage, rows, partner, lam, False, self.block_gradients, batch, mixed)


@dataclass(frozen=True)
class DiscriminatorMixup:
    """Adds mixes to a discriminator's batch, and sets their labels and weights.

    FR mixes real i with fake i (eq. 2), FF mixes fake i with a permuted fake (eq. 3). Both have the same lambda; in FR
    it weighs the real image.

    Args:
        stages, alpha, block_gradients, block_size: see `ClassifierMixup`.
        pairs: keys of `PAIRS`; the mixes come in this order, N rows each.
        clamp: see `sample_lambda`.
        lam_per: 'sample' (the authors' code) or 'batch'.
        labels: 'fake' (the paper), or 'soft': the share of the real image in the mix.
        weights: of the terms of D's loss: 'paper', 1 each; 'balanced', 1 for all terms of one hard label together.
        generator_sees_mixes: equation 1 instead of 2 and 3: the mixes replace the batch.
    """

    stages: Sequence[int]
    alpha: float
    pairs: Sequence[str] = ("FR", "FF")
    clamp: bool = True
    lam_per: str = "sample"
    labels: str = "fake"
    weights: str = "balanced"
    block_gradients: bool = False
    generator_sees_mixes: bool = False
    block_size: int | None = None

    def __post_init__(self) -> None:
        if not self.pairs or len(set(self.pairs)) != len(self.pairs) or not PAIRS.keys() >= set(self.pairs):
            raise ValueError(f"pairs must be some of {', '.join(PAIRS)}, each once, got {list(self.pairs)}")
        _check_choice("lam_per", self.lam_per, ("sample", "batch"))
        _check_choice("labels", self.labels, ("fake", "soft"))
        _check_choice("weights", self.weights, ("paper", "balanced"))

    def plan(self, num: int, generator: torch.Generator) -> MixPlan:
        """Draw the plan of a batch `cat(real, fake)` with `num` rows of each; see `ClassifierMixup.plan`."""
        stage, lam, partner = _draw(self, num, generator, clamp=self.clamp)
        real = torch.arange(num, device=generator.device)
        parents = [PAIRS[pair](real, real + num, partner) for pair in self.pairs]
        a, b = (torch.cat(rows) for rows in zip(*parents, strict=True))
        lam = lam.repeat(len(self.pairs)) if lam.ndim else lam
        batch, mixed = {"real": num, "fake": num}, dict.fromkeys(self.pairs, num)
        return MixPlan(stage, a, b, lam, not self.generator_sees_mixes, self.block_gradients, batch, mixed)


def no_mixes(num: int) -> MixPlan:
    """Return the plan that leaves a batch `cat(real, fake)` with `num` rows of each unchanged."""
    none = torch.arange(0, device="cpu")
    return MixPlan(0, none, none, none.float(), append=True, batch={"real": num, "fake": num})


def _draw(
    mixup: ClassifierMixup | DiscriminatorMixup, num: int, generator: torch.Generator, *, clamp: bool
) -> tuple[int, Tensor, Tensor]:
    """Draw a stage, lambda [num] or [], and a permutation of `num` rows that stays within blocks."""
    if num < 1:
        raise ValueError(f"a batch of at least one row is needed, got {num}")
    stage = choose_stage(mixup.stages, generator)
    lam = sample_lambda(mixup.alpha, num if mixup.lam_per == "sample" else 1, generator, clamp=clamp)
    device = generator.device
    blocks = torch.arange(num, device=device).split(mixup.block_size or num)
    partner = torch.cat([block[torch.randperm(len(block), generator=generator, device=device)] for block in blocks])
    return stage, lam if mixup.lam_per == "sample" else lam[0], partner


def _check_choice(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}")
