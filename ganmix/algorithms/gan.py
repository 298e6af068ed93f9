"""GAN training with discriminator mixup: the D step, the penalty step and the G step, and nothing else.

Manifold Mixup (arXiv 1806.05236 v1) section 4.4, equations 1 to 3.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ganmix.algorithms.average import MovingAverage
from ganmix.data import ImageBatches
from ganmix.engine.device import autocast, compiled
from ganmix.engine.streams import restore
from ganmix.losses import GanLoss
from ganmix.mixup import MixPlan, discriminator_plan
from ganmix.networks import Staged
from ganmix.networks.modes import batch_norms

Discriminator = Callable[..., Tensor]


@dataclass(frozen=True)
class MixupSettings:
    """How mixes are drawn and labelled; the drawing is `mixup.discriminator_plan`, whose arguments these are.

    Args:
        labels: 'fake', the paper's, or 'soft': real to the degree that real images weigh in the mix.
        weights: of the terms of D's loss; see `term_weights`.
        generator_sees_mixes: equation 1 in place of 2 and 3.
    """

    stages: tuple[int, ...]
    alpha: float
    pairs: tuple[str, ...] = ("FR", "FF")
    clamp: bool = True
    lam_per: str = "sample"
    labels: str = "fake"
    weights: str = "balanced"
    block_gradients: bool = False
    generator_sees_mixes: bool = False

    def plan(self, num: int, generator: torch.Generator, device: torch.device) -> MixPlan:
        """Draw the plan of one step for `num` real and `num` fake images."""
        return discriminator_plan(
            num,
            num,
            stages=self.stages,
            alpha=self.alpha,
            generator=generator,
            pairs=self.pairs,
            clamp=self.clamp,
            lam_per=self.lam_per,
            append=not self.generator_sees_mixes,
            block_gradients=self.block_gradients,
        ).to(device)


@dataclass(frozen=True)
class PenaltySettings:
    """A penalty of `losses.PENALTIES` with its options bound, its weight, and whether it has its own Adam step."""

    function: Callable[..., Tensor]
    weight: float
    own_step: bool


def discriminate(
    discriminator: Discriminator,
    real: Tensor,
    fake: Tensor,
    plan: MixPlan | None,
    pairs: Iterable[str],
    apart: bool,
) -> dict[str, Tensor]:
    """Return the logits [N] of real, fake and each pair's mixes, from one forward.

    Args:
        discriminator: returns one logit for each image, [N] or [N, 1].
        plan: None: no mixes, and no `pairs`. One that replaces the batch leaves only the mixes (eq. 1).
        apart: True: a forward each for real, fake and mixes, as a discriminator with batch norm needs: its clean terms
            must not see the mixes. The logits are the same without batch norm. Below the mix a batch norm sees real and
            fake jointly in the pass of the mixes, and its running statistics take in that pass too.

    Raises:
        ValueError: the discriminator returns another shape.
    """
    batch = torch.cat([real, fake])
    clean = ["real", "fake"] if plan is None or plan.append else []
    if apart and clean:
        # Of the batch, and the batch anew: a discriminator that begins in place may write into neither caller's images
        # nor those of the next pass.
        passes = [_logits(discriminator, batch[: len(real)]), _logits(discriminator, batch[len(real) :])]
        if plan is not None:
            passes.append(_logits(discriminator, torch.cat([real, fake]), plan.replacing()))
        logits = torch.cat(passes)
    else:
        logits = _logits(discriminator, batch, plan)
    kinds = [*clean, *pairs]
    return dict(zip(kinds, logits.chunk(len(kinds)), strict=True))


def _logits(discriminator: Discriminator, images: Tensor, plan: MixPlan | None = None) -> Tensor:
    """Return the logits of images or of what a plan makes of them, float32 [N]."""
    logits = discriminator(images, plan)
    num = len(images) if plan is None else len(plan.a) + plan.append * len(images)
    if logits.shape not in ((num,), (num, 1)):
        raise ValueError(
            f"a discriminator must return one logit for each image, [{num}] or [{num}, 1], got {list(logits.shape)}; "
            "a map of logits can be reduced to its mean"
        )
    return logits.float().reshape(num)


def discriminator_terms(
    loss: GanLoss, logits: Mapping[str, Tensor], plan: MixPlan | None, labels: str
) -> dict[str, Tensor]:
    """Return the terms of D's loss, each a mean over its logits, unweighted (eq. 2 and 3)."""
    terms = {}
    for kind, f in logits.items():
        if kind == "real":
            term = loss.real(f)
        elif counts_as_fake(kind, labels):
            term = loss.fake(f)
        else:
            assert plan is not None
            lam = plan.to(f.device).lam
            term = loss.soft(f, lam[: len(f)] if lam.ndim else lam)
        terms[kind] = term.mean()
    return terms


def counts_as_fake(kind: str, labels: str) -> bool:
    """Tell whether D shall call these images fake: generated ones, and every mix but a soft-labelled FR."""
    return kind in ("fake", "FF") or (kind == "FR" and labels == "fake")


def term_weights(kinds: Iterable[str], labels: str, weights: str) -> dict[str, float]:
    """Return the weight of each term in D's loss.

    Args:
        kinds: of 'real', 'fake', 'FR', 'FF'.
        weights: 'paper', every term weighs 1; 'balanced', what counts as fake weighs 1 together, as the real images do.

    Source: the sum of eq. 2 and 3, in which with FR and FF three fake terms push against one real. With spectral norm
        and hinge that holds D's logits of real images below 0, and with wasserstein the loss has no minimum.
    """
    fake = [kind for kind in kinds if counts_as_fake(kind, labels)]
    return {kind: 1 / len(fake) if weights == "balanced" and kind in fake else 1.0 for kind in kinds}


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within, no gradients of the weights are computed; what was frozen before stays so afterwards."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


class GanTrainer:
    """Trains a generator against a discriminator; `step` is one G step after `n_dis` D steps.

    Args:
        generator: noise [N, z] -> images [N, C, R, R].
        discriminator: images -> logits [N] or [N, 1], staged (`networks.staged` makes any network so). Parts of it that
            require no gradient are not trained.
        batches: `next()` returns (real images, labels or None), float [N, C, R, R] on the device, N always the same;
            its state is saved with the trainer's.
        noise_size: z.
        loss: of `losses.GAN_LOSSES`.
        noise_generator: on the device, for the noise. plan_generator: on the CPU, for plans and penalties.
        apart: see `discriminate`; None: True where D has batch norm. Another layer whose output for an image depends on
            the rest of its batch is not recognised, like StyleGAN's minibatch standard deviation: it needs True.
        total_steps: G steps over which a linear `decay` of the learning rate reaches 0.
        compile: run both networks through torch.compile, except in penalties, whose double backward it lacks.
        bf16: bfloat16 autocast of both networks; losses and penalties stay in float32.
    """

    def __init__(
        self,
        generator: Staged,
        discriminator: Staged,
        batches: ImageBatches,
        *,
        noise_size: int,
        loss: GanLoss,
        penalty: PenaltySettings | None = None,
        mixup: MixupSettings | None = None,
        n_dis: int = 1,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.0, 0.9),
        decay: str = "constant",
        total_steps: int,
        ema: float | None = None,
        apart: bool | None = None,
        noise_generator: torch.Generator,
        plan_generator: torch.Generator,
        bf16: bool = False,
        compile: bool = False,
    ):
        self.generator = generator
        self.discriminator = discriminator
        self.batches = batches
        self.noise_size = noise_size
        self.loss = loss
        self.penalty = penalty
        self.mixup = mixup
        self.n_dis = n_dis
        self.lr = lr
        self.decay = decay
        self.total_steps = total_steps
        self.noise_generator = noise_generator
        self.plan_generator = plan_generator
        self.device = next(generator.parameters()).device
        self.steps_done = 0
        self.last_plan: MixPlan | None = None
        self._autocast = partial(autocast, self.device, bf16)
        self._g: Callable[..., Tensor] = compiled(generator) if compile else generator
        self._d: Discriminator = compiled(discriminator) if compile else discriminator
        self._apart = bool(batch_norms(discriminator)) if apart is None else apart
        self._g_optimizer = torch.optim.Adam(generator.parameters(), lr, betas, fused=True)
        self._d_optimizer = torch.optim.Adam(discriminator.parameters(), lr, betas, fused=True)
        self._ema = MovingAverage(generator, ema) if ema else None

    @property
    def shown_generator(self) -> nn.Module:
        """The generator to look at and to score: the moving average where there is one."""
        return self.generator if self._ema is None else self._ema.module

    def step(self) -> dict[str, Tensor]:
        """Take `n_dis` D steps, each on a fresh real batch, then a G step; return what to record, 0-d tensors.

        What D's steps record is the mean over them.
        """
        for optimizer in (self._d_optimizer, self._g_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = self.current_lr
        records = []
        for _ in range(self.n_dis):
            real, _ = self.batches.next()
            records.append(self.discriminator_step(real))
        means = torch.stack([torch.stack([*record.values()]) for record in records]).mean(0)
        record = dict(zip(records[0], means.unbind(), strict=True)) | self.generator_step(real)
        self.steps_done += 1
        return record

    def discriminator_step(self, real: Tensor) -> dict[str, Tensor]:
        """One step of D on real images [N, C, R, R] and as many new fakes: one forward, one backward."""
        with torch.no_grad(), self._autocast():
            fake = self._g(self._noise(len(real)))
        plan = self._plan(len(real))
        with self._autocast():
            logits = self._discriminate(real, fake, plan)
        terms = self._terms(logits, plan)
        weights = term_weights(terms, *(self.mixup.labels, self.mixup.weights) if self.mixup else ("fake", "paper"))
        parts = [weights[kind] * term for kind, term in terms.items()]
        if self.penalty is not None and not self.penalty.own_step:
            terms["penalty"] = self._weighted_penalty(real, fake)
            parts.append(terms["penalty"])
        norm = self._descend(self._d_optimizer, torch.stack(parts).sum())
        if self.penalty is not None and self.penalty.own_step:
            terms["penalty"] = self._weighted_penalty(real, fake)
            self._descend(self._d_optimizer, terms["penalty"])
        record = _discriminator_record(terms, logits, norm)
        return record if plan is None else {**record, "mix/stage": torch.full_like(norm, plan.stage)}

    def generator_step(self, real: Tensor) -> dict[str, Tensor]:
        """One step of G; the real images are used by equation 1 alone, since otherwise G sees no mix."""
        with frozen(self.discriminator):  # no gradients of D's weights: a third of its backward
            with self._autocast():
                fake = self._g(self._noise(len(real)))
                if self.mixup is not None and self.mixup.generator_sees_mixes:
                    plan = self._plan(len(real))
                    (term,) = self._terms(self._discriminate(real, fake, plan), plan).values()
                    loss = -term  # Eq. 1: max over g
                else:
                    loss = self.loss.generator(self._d(fake).float()).mean()
            norm = self._descend(self._g_optimizer, loss)
        if self._ema is not None:
            self._ema.update_parameters(self.generator)
        return {"loss_G": loss.detach(), "gradient_norm/G": norm}

    @property
    def current_lr(self) -> float:
        """The learning rate of the next step."""
        return self.lr * (1 - self.steps_done / self.total_steps) if self.decay == "linear" else self.lr

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {
            "steps_done": self.steps_done,
            "noise_generator": self.noise_generator.get_state(),
            "plan_generator": self.plan_generator.get_state(),
            **{name: part.state_dict() for name, part in self._parts().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called."""
        self.steps_done = state["steps_done"]
        restore(self.noise_generator, state["noise_generator"])
        restore(self.plan_generator, state["plan_generator"])
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        parts = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_optimizer": self._g_optimizer,
            "discriminator_optimizer": self._d_optimizer,
            "batches": self.batches,
        }
        return parts if self._ema is None else {**parts, "ema": self._ema}

    def _noise(self, num: int) -> Tensor:
        return torch.randn(num, self.noise_size, generator=self.noise_generator, device=self.device)

    def _plan(self, num: int) -> MixPlan | None:
        self.last_plan = self.mixup.plan(num, self.plan_generator, self.device) if self.mixup else None
        return self.last_plan

    def _discriminate(self, real: Tensor, fake: Tensor, plan: MixPlan | None) -> dict[str, Tensor]:
        return discriminate(self._d, real, fake, plan, self.mixup.pairs if self.mixup else (), self._apart)

    def _terms(self, logits: Mapping[str, Tensor], plan: MixPlan | None) -> dict[str, Tensor]:
        return discriminator_terms(self.loss, logits, plan, self.mixup.labels if self.mixup else "fake")

    def _weighted_penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        assert self.penalty is not None
        penalty = self.penalty.function(self.discriminator, real, fake.float(), generator=self.plan_generator)
        return self.penalty.weight * penalty

    def _descend(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss.backward()
        parameters = optimizer.param_groups[0]["params"]
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        optimizer.step()
        return norm


def _discriminator_record(
    terms: Mapping[str, Tensor], logits: Mapping[str, Tensor], gradient_norm: Tensor
) -> dict[str, Tensor]:
    record = {f"loss_D/{kind}": term.detach() for kind, term in terms.items()}
    record |= {f"logit/{kind}": f.detach().mean() for kind, f in logits.items()}
    if {"real", "fake"} <= logits.keys():
        right = [(logits["real"] > 0).float().mean(), (logits["fake"] < 0).float().mean()]
        record["accuracy_D"] = torch.stack(right).mean()
    return record | {"gradient_norm/D": gradient_norm}
