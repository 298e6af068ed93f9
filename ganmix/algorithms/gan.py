"""GAN training with discriminator mixup: the D step, the penalty steps and the G step, and nothing else.

Manifold Mixup (arXiv 1806.05236 v1) section 4.4, equations 1 to 3.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganmix.algorithms.optimise import Descent, learning_rate
from ganmix.algorithms.trainer import Batches, Trainer
from ganmix.engine.device import autocast, compiled
from ganmix.losses import GanLoss, Penalty
from ganmix.mixup import DiscriminatorMixup, MixPlan, no_mixes
from ganmix.networks import Staged
from ganmix.networks.modes import batch_norms

Discriminator = Callable[..., Tensor]


@dataclass(frozen=True)
class GanSettings:
    """How a GAN is trained.

    Args:
        noise_size: z.
        total_steps: G steps after which `decay` has brought the learning rate to 0.
        mixup: None: D sees no mixes.
        n_dis: D steps for each G step.
        lr, betas: Adam's, for G and D.
        decay: see `optimise.learning_rate`.
        ema: decay of the moving average of G; None: no average.
        apart: see `discriminate`; None: True if D has batch norm. Set True for other layers whose output for an image
            depends on the rest of its batch, like StyleGAN's minibatch standard deviation: they are not recognised.
        bf16: bfloat16 autocast of both networks; losses and penalties stay in float32.
        compile: run both networks through torch.compile, except in penalties, whose double backward it lacks.
    """

    noise_size: int
    loss: GanLoss
    total_steps: int
    penalties: Sequence[Penalty] = ()
    mixup: DiscriminatorMixup | None = None
    n_dis: int = 1
    lr: float = 2e-4
    betas: tuple[float, float] = (0.0, 0.9)
    decay: str = "constant"
    ema: float | None = None
    apart: bool | None = None
    bf16: bool = False
    compile: bool = False


class DiscriminatorStep(NamedTuple):
    """The result of a D step."""

    plan: MixPlan
    logits: dict[str, Tensor]  # by group, [N]
    terms: dict[str, Tensor]  # means, unweighted
    penalties: list[Tensor]  # of this step, weighted
    gradient_norm: Tensor


def discriminate(
    discriminator: Discriminator, real: Tensor, fake: Tensor, plan: MixPlan, *, apart: bool
) -> dict[str, Tensor]:
    """Return the logits [N] of each group of the plan, from one forward of real and fake images.

    Args:
        discriminator: returns one logit for each image, [N] or [N, 1]; another shape is a ValueError.
        apart: True: run a forward each for real, fake and mixes. Batch norm needs it, so that the clean terms don't see
            the mixes; without batch norm the logits are the same. Below the mix, batch norm sees real and fake jointly
            in the pass of the mixes, which updates its running statistics too.
    """
    batch = torch.cat([real, fake])
    if not (apart and plan.append):
        return plan.split(_logits(discriminator, batch, plan))
    # Each pass has a copy of the images, since a discriminator may begin with an operation in place.
    logits = {name: _logits(discriminator, rows) for name, rows in zip(plan.batch, batch.chunk(2), strict=True)}
    if plan.mixed:
        plan = replace(plan, append=False)
        logits |= plan.split(_logits(discriminator, torch.cat([real, fake]), plan))
    return logits


def _logits(discriminator: Discriminator, images: Tensor, plan: MixPlan | None = None) -> Tensor:
    """Return the logits of images or of their mixes, float32 [N]."""
    logits = discriminator(images, plan)
    num = len(images) if plan is None else sum(plan.groups.values())
    if logits.shape not in ((num,), (num, 1)):
        raise ValueError(
            f"a discriminator must return one logit for each image, [{num}] or [{num}, 1], got {list(logits.shape)}; "
            "a map of logits can be reduced to its mean"
        )
    return logits.float().reshape(num)


def labels_of(plan: MixPlan, mixup: DiscriminatorMixup | None) -> dict[str, Tensor]:
    """Return D's label for each row of each group, in [0, 1]: 1 real, 0 fake; `mixup.labels` sets those of mixes."""
    num = sum(plan.batch.values())
    is_real = (torch.arange(num, device=plan.lam.device) < num // 2).float()
    labels = plan.split(plan.apply(is_real))
    soft = mixup is not None and mixup.labels == "soft"
    return labels if soft else labels | {name: torch.zeros_like(labels[name]) for name in plan.mixed}


def term_weights(mixup: DiscriminatorMixup | None) -> dict[str, float]:
    """Return the weight of each group's term in D's loss; see `mixup.weights`.

    Source: the sum of eq. 2 and 3, where with FR and FF three fake terms push against one real term. With spectral norm
        and hinge this keeps D's logits of real images below 0, and with wasserstein the loss has no minimum.
    """
    plan = no_mixes(1) if mixup is None else replace(mixup.plan(1, torch.Generator()), lam=torch.tensor(0.5))
    labels = {name: label.item() for name, label in labels_of(plan, mixup).items()}
    if mixup is None or mixup.weights == "paper":
        return dict.fromkeys(labels, 1.0)
    alike = Counter(labels.values())
    return {name: 1 / alike[label] if label in (0, 1) else 1.0 for name, label in labels.items()}


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Compute no gradients of the weights; parameters that were frozen before stay frozen afterwards."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@dataclass(eq=False)
class GanTrainer(Trainer):
    """Trains a generator against a discriminator; `step` is one G step after `n_dis` D steps.

    Args:
        generator: noise [N, z] -> images [N, C, R, R].
        discriminator: images -> logits [N] or [N, 1]. Parts that require no gradient are not trained.
        batches: of real images.
        noise_generator: on the device; draws the noise. plan_generator: on the CPU; draws plans and penalties' points.
    """

    generator: Staged
    discriminator: Staged
    batches: Batches
    settings: GanSettings
    _: KW_ONLY
    noise_generator: torch.Generator
    plan_generator: torch.Generator

    def __post_init__(self) -> None:
        s, g, d = self.settings, self.generator, self.discriminator
        self.loss, self.mixup = s.loss, s.mixup
        adam = partial(torch.optim.Adam, lr=s.lr, betas=s.betas, fused=True)
        rate = partial(learning_rate, s.lr, total_steps=s.total_steps, decay=s.decay)
        self.descent = self.g_descent = Descent(g, adam(g.parameters()), rate, ema=s.ema)
        self.d_descent = Descent(d, adam(d.parameters()), lambda step: rate(step // s.n_dis))
        self._device = next(g.parameters()).device
        self._autocast = partial(autocast, self._device, s.bf16)
        self._g: Callable[..., Tensor] = compiled(g) if s.compile else g
        self._d: Discriminator = compiled(d) if s.compile else d
        self._apart = bool(batch_norms(d)) if s.apart is None else s.apart
        self._weights = term_weights(s.mixup)

    @property
    def shown_generator(self) -> nn.Module:
        """The generator to show and score: its moving average if there is one."""
        return self.g_descent.shown_network

    def step(self) -> dict[str, Tensor]:
        """Take `n_dis` D steps, each on a new real batch, then a G step; return 0-d tensors to record."""
        records = []
        for _ in range(self.settings.n_dis):
            real, _ = self.batches.next()
            records.append(self.record_of(self.discriminator_step(real)))
        means = torch.stack([torch.stack([*record.values()]) for record in records]).mean(0)  # over the D steps
        loss, norm = self.generator_step(real)
        return dict(zip(records[0], means.unbind(), strict=True)) | {"loss_G": loss, "gradient_norm/G": norm}

    def discriminator_step(self, real: Tensor) -> DiscriminatorStep:
        """Descend eq. 2 and 3 on N real images and N new fakes: one forward, one backward."""
        with torch.no_grad(), self._autocast():
            fake = self._g(self._noise(len(real)))
        plan = self._plan(len(real))
        with self._autocast():
            logits = discriminate(self._d, real, fake, plan, apart=self._apart)
        terms = self._terms(logits, plan)  # l(real, 1), l(fake, 0); of eq. 2 l(FR, 0), of eq. 3 l(FF, 0)
        loss = [self._weights[name] * term for name, term in terms.items()]
        due = [penalty for penalty in self.settings.penalties if self.d_descent.steps_done % penalty.every == 0]
        penalties = [self._penalty(penalty, real, fake) for penalty in due if not penalty.own_step]
        self.d_descent.step(torch.stack([*loss, *penalties]).sum())
        norm = self.d_descent.gradient_norm()
        for penalty in due:
            if penalty.own_step:
                penalties.append(self._penalty(penalty, real, fake))
                self.d_descent.step_aside(penalties[-1])
        return DiscriminatorStep(plan, logits, terms, penalties, norm)

    def generator_step(self, real: Tensor) -> tuple[Tensor, Tensor]:
        """Take a step of G; return its loss and the norm of its gradients.

        D sees the real images only in equation 1 and with paired losses; otherwise it sees new fakes only, and no mix.
        """
        with frozen(self.discriminator):  # the gradients of D's weights are a third of its backward
            with self._autocast():
                fake = self._g(self._noise(len(real)))
                if self.mixup is not None and self.mixup.generator_sees_mixes:
                    plan = self._plan(len(real))
                    (term,) = self._terms(discriminate(self._d, real, fake, plan, apart=self._apart), plan).values()
                    loss = -term  # Eq. 1: max over g
                elif self.loss.paired:
                    logits = discriminate(self._d, real, fake, no_mixes(len(real)), apart=self._apart)
                    loss = self.loss.generator(logits).mean()
                else:
                    loss = self.loss.generator({"fake": _logits(self._d, fake)}).mean()
            self.g_descent.step(loss)
        return loss.detach(), self.g_descent.gradient_norm()

    def record_of(self, step: DiscriminatorStep) -> dict[str, Tensor]:
        """Return the values to record of a D step, under the same names each time."""
        record = {f"loss_D/{name}": term.detach() for name, term in step.terms.items()}
        norm, logits = step.gradient_norm, step.logits
        if self.settings.penalties:
            record["loss_D/penalty"] = sum((each.detach() for each in step.penalties), start=torch.zeros_like(norm))
        record |= {f"logit/{name}": f.detach().mean() for name, f in logits.items()}
        if {"real", "fake"} <= logits.keys():
            right = [(logits["real"] > 0).float().mean(), (logits["fake"] < 0).float().mean()]
            record["accuracy_D"] = torch.stack(right).mean()
        record["gradient_norm/D"] = norm
        return record | {"mix/stage": torch.full_like(norm, step.plan.stage)} if step.plan.mixed else record

    def parts(self) -> dict[str, Any]:
        streams = {"noise_generator": self.noise_generator, "plan_generator": self.plan_generator}
        return {**streams, "generator": self.g_descent, "discriminator": self.d_descent, "batches": self.batches}

    def _noise(self, num: int) -> Tensor:
        return torch.randn(num, self.settings.noise_size, generator=self.noise_generator, device=self._device)

    def _plan(self, num: int) -> MixPlan:
        if self.mixup is None:
            return no_mixes(num).to(self._device)
        self.last_plan = self.mixup.plan(num, self.plan_generator).to(self._device)
        return self.last_plan

    def _terms(self, logits: Mapping[str, Tensor], plan: MixPlan) -> dict[str, Tensor]:
        labels = labels_of(plan, self.mixup)
        return {name: term.mean() for name, term in self.loss.discriminator(logits, labels).items()}

    def _penalty(self, penalty: Penalty, real: Tensor, fake: Tensor) -> Tensor:
        return penalty(self.discriminator, real, fake.float(), self.plan_generator)
