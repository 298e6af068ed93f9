import subprocess
import sys
from dataclasses import replace

import pytest
import scipy.stats
import torch
from torch import Tensor

from ganmix.mixup import (
    PAIRS,
    ClassifierMixup,
    DiscriminatorMixup,
    MixPlan,
    choose_stage,
    no_mixes,
    sample_lambda,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(seed))


def draw_plan(num: int = 6, seed: int = 0, append: bool = True, **options) -> MixPlan:
    """A discriminator's plan; alpha 2 keeps lambda away from 0 and 1."""
    mixup = DiscriminatorMixup(**{"stages": [0], "alpha": 2.0, "generator_sees_mixes": not append, **options})
    return mixup.plan(num, generator(seed))


def draw_classifier_plan(num: int = 6, seed: int = 0, **options) -> MixPlan:
    return ClassifierMixup(**{"stages": [0], "alpha": 2.0, **options}).plan(num, generator(seed))


def same(first: MixPlan, second: MixPlan) -> bool:
    tensors = all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("a", "b", "lam"))
    rest = [(p.stage, p.append, p.block_gradients, p.groups) for p in (first, second)]
    return tensors and rest[0] == rest[1]


def p_value_of_bins(draws: Tensor, edges: list[float]) -> float:
    """p of the hypothesis that each bin between the edges is as likely."""
    counts = torch.histogram(draws.double(), torch.tensor(edges, dtype=torch.float64)).hist
    assert counts.sum() == len(draws)  # none lies outside
    return scipy.stats.chisquare(counts.numpy()).pvalue


# --- lambda


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_lambda_follows_the_beta_distribution(alpha: float):
    beta = scipy.stats.beta(alpha, alpha)
    lam = sample_lambda(alpha, 200_000, generator())
    assert p_value_of_bins(lam, [0.0, *(beta.ppf(i / 20) for i in range(1, 20)), 1.0]) > 0.01
    # At alpha 0.2 a float32 rounds 1.7 % of all lambda to 1, so that only the lower half can be compared finely.
    lower = lam[lam <= 0.5].double().numpy()
    assert scipy.stats.kstest(lower, lambda x: 2 * beta.cdf(x)).pvalue > 0.01


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_clamped_lambda_follows_the_lower_half_of_the_beta_distribution(alpha: float):
    beta = scipy.stats.beta(alpha, alpha)
    lam = sample_lambda(alpha, 200_000, generator(), clamp=True)
    assert lam.max() <= 0.5
    # min(l, 1 - l) lies below x as often as l does below x or above 1 - x.
    assert p_value_of_bins(lam, [0.0, *(beta.ppf(i / 20) for i in range(1, 10)), 0.5]) > 0.01


def test_clamped_lambda_has_the_papers_mean():
    lam = sample_lambda(0.2, 200_000, generator(), clamp=True)
    assert lam.mean().item() == pytest.approx(0.101, abs=0.003)


def test_clamping_folds_the_same_draw():
    free, clamped = (sample_lambda(0.7, 1000, generator(3), clamp=clamp) for clamp in (False, True))
    assert (free > 0.5).any()
    torch.testing.assert_close(clamped, torch.minimum(free, 1 - free))


@pytest.mark.parametrize("clamp", [False, True])
def test_lambda_stays_finite_at_a_tiny_alpha(clamp: bool):
    # Gamma(0.005) underflows in float32 and often in float64: a ratio of two such is 0 / 0.
    lam = sample_lambda(0.005, 100_000, generator(), clamp=clamp)
    assert lam.dtype == torch.float32
    assert ((lam >= 0) & (lam <= 1)).all()
    near_one = (lam > 0.5).double().mean().item()
    assert near_one == pytest.approx(0 if clamp else 0.5, abs=0.01)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_alpha_must_be_positive(alpha: float):
    with pytest.raises(ValueError, match=rf"alpha must be greater than 0, got {alpha}"):
        sample_lambda(alpha, 3, generator())


# --- mixes


@pytest.mark.parametrize("lam_per", ["sample", "batch"])
@pytest.mark.parametrize("shape", [(12, 3, 4, 5), (12, 7), (12,), (12, 3, 4)])
def test_mixes_equal_the_formula(shape: tuple[int, ...], lam_per: str):
    plan = draw_plan(lam_per=lam_per)
    h = randn(*shape)
    expected = [
        lam * h[a] + (1 - lam) * h[b]
        for a, b, lam in zip(plan.a.tolist(), plan.b.tolist(), plan.lam.double().expand(12).tolist(), strict=True)
    ]
    torch.testing.assert_close(plan.mixes(h), torch.stack(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lam_per", ["sample", "batch"])
@pytest.mark.parametrize("append", [False, True])
def test_channels_last_stays_so_and_gives_the_same_mixes(append: bool, lam_per: str):
    plan = draw_plan(append=append, lam_per=lam_per)
    h = randn(12, 3, 4, 5)
    got = plan.apply(h.to(memory_format=torch.channels_last))
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(got, plan.apply(h))
    assert plan.apply(h).is_contiguous()


def test_apply_appends_the_mixes_or_puts_them_in_the_place_of_the_batch():
    plan = draw_plan(append=True)
    h = randn(12, 3)
    appended = plan.apply(h)
    assert torch.equal(appended[:12], h)
    assert torch.equal(appended[12:], plan.mixes(h))
    assert torch.equal(replace(plan, append=False).apply(h), plan.mixes(h))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_mixes_have_the_type_of_the_hidden_state(dtype: torch.dtype):
    assert draw_plan().mixes(randn(12, 3).to(dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("lam_per", ["sample", "batch"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_mixes_of_a_narrow_type_are_the_exact_ones_rounded_once(
    memory_format: torch.memory_format, lam_per: str, dtype: torch.dtype
):
    plan = draw_plan(lam_per=lam_per)
    h = randn(12, 3, 4, 5).to(dtype, memory_format=memory_format)
    exact = plan.mixes(h.double())
    error = (plan.mixes(h).double() - exact).abs()
    # Half the distance between neighbours of `dtype`, and what float32 itself rounds.
    assert (error <= torch.finfo(dtype).eps / 2 * exact.abs() + 1e-6).all()


@pytest.mark.parametrize("per_batch", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_lambda_of_one_returns_the_first_parent_and_of_zero_the_second(
    memory_format: torch.memory_format, per_batch: bool
):
    plan = draw_plan()
    h = randn(12, 3, 4, 5).float().to(memory_format=memory_format)
    for value, parent in ((1.0, plan.a), (0.0, plan.b)):
        lam = torch.tensor(value) if per_batch else torch.full((12,), value)
        assert torch.equal(replace(plan, lam=lam).mixes(h), h[parent])


def test_targets_are_mixed_as_the_images_are():
    plan = draw_classifier_plan(8)
    targets = torch.eye(8, dtype=torch.float64)  # image i has label i
    images = randn(8, 3, 4, 4)
    mixed_images, mixed_targets = plan.mixes(images), plan.mixes(targets)
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(8, dtype=torch.float64))
    torch.testing.assert_close(torch.einsum("mi,ichw->mchw", mixed_targets, images), mixed_images)


@pytest.mark.parametrize("targets", [torch.arange(6), torch.ones(6, 3, dtype=torch.bool)])
def test_classes_are_refused_and_the_message_says_how_to_make_them_one_hot(targets: Tensor):
    message = rf"floating-point.* got {targets.dtype}; .* F\.one_hot\(labels, K\)\.float\(\)$"
    with pytest.raises(ValueError, match=message):
        draw_classifier_plan().mixes(targets)


@pytest.mark.parametrize(("draw", "num"), [(draw_plan, 12), (draw_classifier_plan, 6)])
def test_batch_of_another_size_than_the_plans_is_refused(draw, num: int):
    for rows in (num - 1, num + 1):
        for use in (draw().mixes, draw().apply, replace(draw(), append=False).apply):
            with pytest.raises(
                ValueError, match=f"the plan is for a batch of {num} rows, got {rows}; draw one for each batch$"
            ):
                use(randn(rows, 3))


@pytest.mark.parametrize("draw", [draw_plan, draw_classifier_plan])
def test_moving_one_sample_changes_exactly_the_rows_it_is_mixed_into(draw):
    plan = draw()
    num = int(torch.cat([plan.a, plan.b]).max()) + 1
    h = randn(num, 3)
    for i in range(num):
        moved = h.clone()
        moved[i] += 1
        changed = (plan.mixes(moved) != plan.mixes(h)).any(1)
        assert torch.equal(changed, (plan.a == i) | (plan.b == i))
        assert changed.any()


def test_gradients_reach_both_parents_with_the_weights_lambda_and_one_minus_lambda():
    plan = draw_plan()
    h = randn(12, 3).requires_grad_()
    weight = randn(12, 3, seed=1)
    (plan.mixes(h) * weight).sum().backward()
    expected = torch.zeros(12, 3, dtype=torch.float64)
    for m in range(12):
        lam = plan.lam[m].double()
        expected[plan.a[m]] += lam * weight[m]
        expected[plan.b[m]] += (1 - lam) * weight[m]
    torch.testing.assert_close(h.grad, expected, rtol=1e-12, atol=1e-12)


def test_blocked_gradients_reach_the_clean_rows_only():
    h = randn(12, 3).requires_grad_()
    plan = draw_plan(block_gradients=True, append=True)
    (plan.apply(h) ** 2).sum().backward()
    torch.testing.assert_close(h.grad, 2 * h.detach())
    assert not draw_plan(block_gradients=True, append=False).apply(h).requires_grad


# --- plans


def test_fr_mixes_real_with_fake_of_the_same_index_and_lambda_weighs_the_real():
    plan = draw_plan(6, pairs=["FR"])
    assert plan.a.tolist() == list(range(6))
    assert plan.b.tolist() == list(range(6, 12))
    is_real = torch.cat([torch.ones(6), torch.zeros(6)])
    torch.testing.assert_close(plan.mixes(is_real), plan.lam)


def test_ff_mixes_each_fake_with_a_permutation_of_the_fakes():
    partners = [draw_plan(6, seed, pairs=["FF"]).b for seed in range(20)]
    assert draw_plan(6, pairs=["FF"]).a.tolist() == list(range(6, 12))
    assert all(sorted(b.tolist()) == list(range(6, 12)) for b in partners)
    assert len({tuple(b.tolist()) for b in partners}) > 10


def test_classifier_mixes_each_row_with_a_permutation_of_the_batch():
    plans = [draw_classifier_plan(6, seed) for seed in range(20)]
    assert all(plan.a.tolist() == list(range(6)) for plan in plans)
    assert all(sorted(plan.b.tolist()) == list(range(6)) for plan in plans)
    assert len({tuple(plan.b.tolist()) for plan in plans}) > 10


def test_classifier_plan_replaces_the_batch():
    assert draw_classifier_plan().apply(randn(6, 3)).shape == (6, 3)


# --- groups


@pytest.mark.parametrize("pairs", [["FR"], ["FF"], ["FR", "FF"], ["FF", "FR"]], ids="+".join)
def test_groups_name_the_rows_of_the_batch_and_of_each_pair(pairs: list[str]):
    h = randn(12, 3)
    plan = draw_plan(6, pairs=pairs)
    groups = plan.split(plan.apply(h))
    assert list(groups) == ["real", "fake", *pairs]
    assert torch.equal(groups["real"], h[:6])
    assert torch.equal(groups["fake"], h[6:])
    for pair in pairs:
        alone = draw_plan(6, pairs=[pair])  # of the same draws
        assert torch.equal(groups[pair], alone.mixes(h))
    replaced = replace(plan, append=False).split(plan.mixes(h))
    assert list(replaced) == pairs
    assert all(torch.equal(replaced[pair], groups[pair]) for pair in pairs)


def test_a_classifiers_mixes_are_one_group():
    plan = draw_classifier_plan(6)
    assert plan.groups == {"mixes": 6}
    assert torch.equal(plan.split(plan.apply(torch.eye(6)))["mixes"], plan.mixes(torch.eye(6)))


def test_label_of_a_mix_is_lambda_with_a_real_parent_and_zero_without():
    plan = draw_plan(6)
    labels = plan.split(plan.apply(torch.tensor([1.0] * 6 + [0.0] * 6)))
    assert labels["real"].tolist() == [1] * 6
    assert labels["fake"].tolist() == labels["FF"].tolist() == [0] * 6
    torch.testing.assert_close(labels["FR"], plan.lam[:6])


def test_plan_without_mixes_leaves_the_batch_as_it_is():
    plan, h = no_mixes(6), randn(12, 3)
    assert plan.apply(h) is h
    assert plan.groups == {"real": 6, "fake": 6}
    assert torch.equal(plan.split(h)["fake"], h[6:])


# --- one process and several


@pytest.mark.parametrize("num_processes", [1, 2, 4])
@pytest.mark.parametrize("block_size", [2, 4])
def test_share_of_a_process_in_a_plan_in_blocks_refers_to_its_own_rows(block_size: int, num_processes: int):
    num, seeds = 16, range(20)
    share = num // num_processes
    for seed in seeds:
        plan, h = draw_plan(num, seed, block_size=block_size), randn(2 * num, 3)
        for rank in range(num_processes):
            rows = torch.arange(rank * share, (rank + 1) * share)
            mine = torch.cat([rows, num + rows])  # real and fake images
            local = {int(row): place for place, row in enumerate(mine)}
            its_mixes = torch.cat([rows + group * num for group in range(len(plan.mixed))])
            a, b = (torch.tensor([local[int(row)] for row in side[its_mixes]]) for side in (plan.a, plan.b))
            its_plan = MixPlan(0, a, b, plan.lam[its_mixes])
            assert torch.equal(its_plan.mixes(h[mine]), plan.mixes(h)[its_mixes])


@pytest.mark.parametrize("draw", [draw_plan, draw_classifier_plan])
def test_partners_are_permuted_within_their_block(draw):
    plans = [draw(10, seed, block_size=4) for seed in range(20)]
    partners = [plan.b[-10:] - plan.b[-10:].min() for plan in plans]
    for partner in partners:
        for block in torch.arange(10).split(4):
            assert sorted(partner[block].tolist()) == block.tolist()
    assert len({tuple(partner.tolist()) for partner in partners}) > 10


@pytest.mark.parametrize("draw", [draw_plan, draw_classifier_plan])
def test_block_of_the_whole_batch_is_the_default(draw):
    assert same(draw(10), draw(10, block_size=10))


# --- what is drawn


def test_fr_and_ff_share_lambda():
    lam = draw_plan(6, pairs=["FR", "FF"]).lam
    assert torch.equal(lam[:6], lam[6:])
    assert len(lam[:6].unique()) == 6


def test_mixes_come_in_the_order_of_pairs():
    forward, backward = draw_plan(6, pairs=["FR", "FF"]), draw_plan(6, pairs=["FF", "FR"])
    for name in ("a", "b"):
        fr, ff = getattr(forward, name).chunk(2)
        assert torch.equal(getattr(backward, name), torch.cat([ff, fr]))
    assert torch.equal(forward.a[:6], torch.arange(6))  # FR, which begins with the reals


@pytest.mark.parametrize("draw", [draw_plan, draw_classifier_plan])
def test_lambda_per_batch_is_one_number(draw):
    assert draw(lam_per="batch").lam.shape == ()
    assert draw(lam_per="sample").lam.ndim == 1


@pytest.mark.parametrize("clamp", [False, True])
def test_clamp_of_the_plan_folds_lambda(clamp: bool):
    plan = draw_plan(1000, clamp=clamp)
    assert bool((plan.lam > 0.5).any()) is not clamp


@pytest.mark.parametrize("draw", [draw_plan, draw_classifier_plan])
def test_stages_are_drawn_uniformly(draw):
    stages = [0, 2, 5]
    state = generator(1)
    drawn = [draw(2, seed=int(torch.randint(2**31, (), generator=state)), stages=stages).stage for _ in range(1500)]
    assert set(drawn) == set(stages)
    assert scipy.stats.chisquare([drawn.count(stage) for stage in stages]).pvalue > 0.01


def test_stages_in_a_row_are_drawn_uniformly_from_one_generator():
    stages = [1, 3, 4, 7]
    state = generator(1)
    drawn = [choose_stage(stages, state) for _ in range(4000)]
    pairs = [drawn[i : i + 2] for i in range(0, 4000, 2)]
    counts = [pairs.count([first, second]) for first in stages for second in stages]
    assert sum(counts) == 2000
    assert scipy.stats.chisquare(counts).pvalue > 0.01  # so that draws are independent too


@pytest.mark.parametrize("draw", [draw_plan, draw_classifier_plan])
def test_equal_generator_states_give_equal_plans(draw):
    torch.manual_seed(1)
    first = draw(stages=range(5), seed=7)
    torch.manual_seed(2)  # the global generator has no part in it
    assert same(first, draw(stages=range(5), seed=7))
    assert not same(first, draw(stages=range(5), seed=8))


def test_plan_moved_to_a_device_is_the_same_plan():
    plan = draw_plan(block_gradients=True)
    assert same(plan, plan.to("cpu"))
    assert plan.to("meta").a.device.type == plan.to("meta").b.device.type == plan.to("meta").lam.device.type == "meta"


@pytest.mark.parametrize("append", [False, True])
@pytest.mark.parametrize("draw", [draw_plan, draw_classifier_plan])
def test_plan_drawn_on_the_cpu_mixes_on_the_device_of_the_hidden_state(draw, append: bool):
    plan = replace(draw(), append=append)
    h = randn(12 if draw is draw_plan else 6, 3).to("meta")
    assert plan.mixes(h).device.type == plan.apply(h).device.type == "meta"


def test_plan_on_a_device_mixes_on_the_cpu_without_a_transfer_that_nobody_waits_for(monkeypatch):
    blocking = []
    to = Tensor.to
    monkeypatch.setattr(
        Tensor, "to", lambda *a, non_blocking=False, **k: blocking.append(not non_blocking) or to(*a, **k)
    )
    plan = draw_plan()
    plan.mixes(randn(12, 3))
    plan.to("cpu")
    assert blocking
    assert all(blocking)
    plan.to("meta")
    assert not all(blocking)


@pytest.mark.parametrize("stages", [["input"], [0, "layer1"], "input"])
@pytest.mark.parametrize("draw", [draw_plan, draw_classifier_plan])
def test_names_of_stages_are_refused_and_the_message_says_what_makes_them_numbers(draw, stages):
    with pytest.raises(ValueError, match=r"^stages are numbers, got \[.*'\]; networks\.resolve_stages turns names"):
        draw(stages=stages)


@pytest.mark.parametrize("draw", [draw_plan, draw_classifier_plan])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, r"alpha must be greater than 0, got 0\.0"),
        ({"stages": []}, "at least one stage, got none"),
        ({"stages": [1, -1]}, r"numbered from 0, got \[1, -1\]"),
        ({"lam_per": "pixel"}, "lam_per must be 'sample' or 'batch', got 'pixel'"),
    ],
)
def test_bad_settings_are_refused(draw, options, message):
    with pytest.raises(ValueError, match=message):
        draw(**options)


@pytest.mark.parametrize("pairs", [[], ["FR", "XY"], ["FF", "FF"]])
def test_bad_pairs_are_refused(pairs: list[str]):
    with pytest.raises(ValueError, match=rf"some of {', '.join(PAIRS)}, each once, got \[") as error:
        draw_plan(pairs=pairs)
    assert str(pairs) in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "hard"}, "labels must be 'fake' or 'soft', got 'hard'"),
        ({"weights": "even"}, "weights must be 'paper' or 'balanced', got 'even'"),
    ],
)
def test_bad_words_for_labels_and_weights_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        draw_plan(**options)


@pytest.mark.parametrize("draw", [draw_plan, draw_classifier_plan])
def test_an_empty_batch_is_refused(draw):
    with pytest.raises(ValueError, match="at least one row is needed, got 0"):
        draw(0)


def test_the_core_needs_no_other_module_of_ganmix():
    code = "import sys, ganmix.mixup; print(*sorted(m for m in sys.modules if m.split('.')[0] == 'ganmix'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ganmix", "ganmix.mixup"]


@pytest.mark.parametrize("mixup", [ClassifierMixup([0, 1], 0.2), DiscriminatorMixup([0, 1], 0.2)])
def test_a_plan_is_the_same_whatever_device_is_the_default(mixup):
    expected = mixup.plan(6, torch.Generator().manual_seed(0))
    with torch.device("meta"):
        found = mixup.plan(6, torch.Generator("cpu").manual_seed(0))
        empty = no_mixes(6)
    for name in ("a", "b", "lam"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert (found.stage, empty.a.device.type) == (expected.stage, "cpu")
