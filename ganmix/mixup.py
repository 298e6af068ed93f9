"""The mixup core: what to mix with what, where and how strongly, drawn apart from any network.

Manifold Mixup (Verma et al. 2018, arXiv 1806.05236 v1), equations 1 to 3, and its classifier form. Needs torch alone.

A `MixPlan` says everything about one step's mixing. A network applies it to a hidden state with `plan.apply(h)`,
a trainer to its targets with `plan.mixes(targets)`: one plan, so the two cannot drift apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

PAIRS = ("FR", "FF")  # fake with real (eq. 2), fake with fake (eq. 3)


@dataclass(frozen=True)
class MixPlan:
    """Row m of the mixes is `lam[m] * h[a[m]] + (1 - lam[m]) * h[b[m]]`, with h the input of stage `stage`.

    Args:
        stage: the stage whose input is mixed; 0 mixes the network's input.
        a: int64 [M], rows of the batch that weigh lam.
        b: int64 [M], rows of the batch that weigh 1 - lam.
        lam: float [M] or [], in [0, 1].
        append: True: the mixes follow the batch, [N + M, ...]; False: they take its place, [M, ...].
        block_gradients: True: no gradient of the mixes reaches the stages below the mix. In a classifier these get none
            from elsewhere either: zero_grad left None, so that an optimiser passes them over, with momentum and weight
            decay. In the torch of 2018 it left zeros, and both acted.
        num_rows: N; a batch of another size is refused. None: every size is taken that has the rows.
    """

    stage: int
    a: Tensor
    b: Tensor
    lam: Tensor
    append: bool = False
    block_gradients: bool = False
    num_rows: int | None = None

    def mixes(self, h: Tensor) -> Tensor:
        """Return the mixes of `h` [N, ...] alone, [M, ...]: hidden states, images or targets, on whatever device.

        Raises:
            ValueError: `h` is not of a floating-point type, or has another number of rows than the plan is for.
        """
        if not h.is_floating_point():
            raise ValueError(
                f"mixes are of floating-point tensors, got {h.dtype}; of classes mix F.one_hot(labels, K).float()"
            )
        if self.num_rows is not None and len(h) != self.num_rows:
            raise ValueError(f"the plan is for a batch of {self.num_rows} rows, got {len(h)}; draw one for each batch")
        a, b, lam = (_moved(tensor, h.device) for tensor in (self.a, self.b, self.lam))
        # Taking rows turns a channels_last tensor into a contiguous one, which every later convolution
        # would have to convert back; as [N, H, W, C] it is contiguous already.
        channels_last = h.ndim == 4 and h.is_contiguous(memory_format=torch.channels_last)
        rows = h.movedim(1, -1) if channels_last else h
        # In bfloat16 lambda would be rounded to 8 bits, and the targets are mixed by all of it.
        wide = torch.promote_types(h.dtype, torch.float32)
        lam = lam.to(wide)
        lam = lam.reshape(-1, *[1] * (h.ndim - 1)) if lam.ndim else lam
        mixed = torch.lerp(rows.index_select(0, b).to(wide), rows.index_select(0, a).to(wide), lam).to(h.dtype)
        return mixed.movedim(-1, 1) if channels_last else mixed

    def apply(self, h: Tensor) -> Tensor:
        """Return what stage `stage` shall see instead of `h` [N, ...]: [N + M, ...] or [M, ...]."""
        mixed = self.mixes(h.detach() if self.block_gradients else h)
        return torch.cat([h, mixed]) if self.append else mixed

    def replacing(self) -> "MixPlan":
        """Return the same plan with its mixes in the place of the batch."""
        return replace(self, append=False)

    def to(self, device: torch.device | str) -> "MixPlan":
        """Return the same plan with its tensors on `device`."""
        a, b, lam = (_moved(tensor, torch.device(device)) for tensor in (self.a, self.b, self.lam))
        return replace(self, a=a, b=b, lam=lam)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    # Without waiting for a GPU; but the CPU would read what has not arrived yet.
    return tensor.to(device, non_blocking=device.type != "cpu")


def sample_lambda(alpha: float, num: int, generator: torch.Generator, *, clamp: bool = False) -> Tensor:
    """Draw `num` mixing weights from Beta(alpha, alpha), float32 [num].

    Args:
        alpha: parameter of the Beta distribution, > 0.
        clamp: True folds lambda to min(lambda, 1 - lambda), so that the first parent weighs at most a half
            (the paper's footnote 3).

    Raises:
        ValueError: alpha is not positive.
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be greater than 0, got {alpha}")
    # Beta is g1 / (g1 + g2) of two Gamma(alpha). In logarithms, with Gamma(alpha) = Gamma(alpha + 1) * U^(1/alpha),
    # since at a small alpha both g underflow to 0.
    shape = torch.full((2, num), alpha + 1.0, dtype=torch.float64)
    log_u = torch.rand(2, num, dtype=torch.float64, generator=generator).log()
    log_g = torch._standard_gamma(shape, generator=generator).log() + log_u / alpha
    # U = 0 has both logarithms at -inf once in 2^100 draws; the sigmoid of everything else is finite.
    logit = log_g[0] - log_g[1]
    # min(lambda, 1 - lambda), without the rounding of 1 - lambda where lambda is almost 1
    return torch.sigmoid(-logit.abs() if clamp else logit).float()


def choose_stage(stages: Sequence[int], generator: torch.Generator) -> int:
    """Draw one of the eligible stages, each with the same probability."""
    if not stages:
        raise ValueError("stages must name at least one stage, got none")
    if any(isinstance(stage, str) for stage in stages):
        names = "networks.resolve_stages turns names into numbers"
        raise ValueError(f"stages are numbers, got {list(stages)}; {names}")
    if min(stages) < 0:
        raise ValueError(f"stages are numbered from 0, got {list(stages)}")
    return stages[int(torch.randint(len(stages), (), generator=generator))]


def classifier_plan(
    num: int,
    *,
    stages: Sequence[int],
    alpha: float,
    generator: torch.Generator,
    lam_per: str = "batch",
    block_gradients: bool = False,
) -> MixPlan:
    """Draw a plan that replaces a batch of `num` by mixes of each row with a random partner.

    Mix the targets, one-hot or soft, with `plan.mixes(targets)`.

    Args:
        num: rows of the batch, N >= 1.
        stages: the eligible stages; one is drawn.
        alpha: of Beta(alpha, alpha), > 0.
        generator: on the CPU; all of the plan comes from it.
        lam_per: 'batch' (the paper) or 'sample'.
        block_gradients: see `MixPlan`.
    """
    if num < 1:
        raise ValueError(f"a batch of at least one row is needed, got {num}")
    stage = choose_stage(stages, generator)
    lam = _lambda_per(lam_per, alpha, num, generator, clamp=False)
    partner = torch.randperm(num, generator=generator)
    return MixPlan(stage, torch.arange(num), partner, lam, False, block_gradients, num)


def discriminator_plan(
    num_real: int,
    num_fake: int,
    *,
    stages: Sequence[int],
    alpha: float,
    generator: torch.Generator,
    pairs: Sequence[str] = PAIRS,
    clamp: bool = True,
    lam_per: str = "sample",
    append: bool = True,
    block_gradients: bool = False,
) -> MixPlan:
    """Draw a plan for a batch of `cat(real, fake)`: N real rows, then N fake rows.

    FR mixes real i with fake i (eq. 2), FF mixes fake i with a permuted fake (eq. 3); both with the same lambda,
    which weighs the real in FR. The mixes come in the order of `pairs`, N rows each.

    Args:
        num_real, num_fake: rows of either kind, equal.
        stages: the eligible stages; one is drawn for the whole batch.
        alpha: of Beta(alpha, alpha), > 0.
        generator: on the CPU; all of the plan comes from it.
        pairs: one or both of 'FR' and 'FF'.
        clamp: see `sample_lambda`.
        lam_per: 'sample' (the authors' code) or 'batch'.
        append, block_gradients: see `MixPlan`.

    Raises:
        ValueError: the batches differ in size, or an argument lies outside what is said here.
    """
    if num_real != num_fake or num_real < 1:
        raise ValueError(f"as many real as fake images are needed, got {num_real} real and {num_fake} fake")
    if not pairs or len(set(pairs)) != len(pairs) or not set(pairs) <= set(PAIRS):
        raise ValueError(f"pairs must be one or both of {', '.join(PAIRS)}, got {list(pairs)}")
    stage = choose_stage(stages, generator)
    lam = _lambda_per(lam_per, alpha, num_real, generator, clamp)
    real = torch.arange(num_real)
    fake = real + num_real
    parents = {"FR": (real, fake), "FF": (fake, fake[torch.randperm(num_fake, generator=generator)])}
    a, b = (torch.cat([parents[pair][side] for pair in pairs]) for side in (0, 1))
    lam = lam.repeat(len(pairs)) if lam.ndim else lam
    return MixPlan(stage, a, b, lam, append, block_gradients, num_real + num_fake)


def _lambda_per(lam_per: str, alpha: float, num: int, generator: torch.Generator, clamp: bool) -> Tensor:
    if lam_per not in ("sample", "batch"):
        raise ValueError(f"lam_per must be 'sample' or 'batch', got '{lam_per}'")
    lam = sample_lambda(alpha, num if lam_per == "sample" else 1, generator, clamp=clamp)
    return lam if lam_per == "sample" else lam[0]
