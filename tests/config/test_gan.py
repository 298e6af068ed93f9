"""What a GAN's config refuses because it would train something else than it says."""

import re

import pytest

from ganmix.config.gan import GanConfig
from ganmix.config.reader import read_config
from ganmix.errors import UserError

CONFIG = """\
data: {name: digits}
generator: {name: conv}
discriminator: {name: conv}
loss: {name: non_saturating}
training: {steps: 1}
"""
PENALTY = "penalties=[{name: zero_centred_real, weight: 1, of: sigmoid}]"
EQUATION_1 = "mixup={pairs: [FR], labels: soft, generator_sees_mixes: true, clamp: false}"


@pytest.fixture
def read(tmp_path):
    path = tmp_path / "gan.yaml"
    path.write_text(CONFIG)
    return lambda *overrides: read_config(GanConfig, path, overrides)


@pytest.fixture
def problems(read):
    """The problems of overrides, each without its place."""

    def refused(*overrides):
        with pytest.raises(UserError) as error:
            read(*overrides)
        return [re.sub(r"^(command line '[^']*'|\S+:\d+): ", "", problem) for problem in error.value.problems]

    return refused


@pytest.mark.parametrize(
    "mixup",
    [
        "{weights: paper}",
        "{pairs: [FR], weights: paper}",
        "{labels: soft, clamp: false, weights: paper}",  # FF counts as fake
        "{labels: soft, pairs: [FR]}",
    ],
)
def test_wasserstein_refuses_mixes_that_leave_its_loss_without_a_minimum(mixup, problems):
    (problem,) = problems("loss.name=wasserstein", f"mixup={mixup}")
    assert problem.startswith("loss wasserstein has no minimum")


@pytest.mark.parametrize(
    "mixup", ["null", "{}", "{pairs: [FF]}", "{labels: soft, clamp: false, pairs: [FR], weights: paper}"]
)
def test_wasserstein_takes_mixes_that_balance(mixup, read):
    assert read("loss.name=wasserstein", f"mixup={mixup}").loss.name == "wasserstein"


def test_hinge_refuses_soft_labels_which_it_takes_for_hard_ones(problems):
    (problem,) = problems("loss.name=hinge", "mixup={labels: soft}")
    assert problem.startswith("mixup.labels=soft has no soft target with loss hinge")
    assert "-1 for every lambda below 1/2" in problem


@pytest.mark.parametrize("loss", ["hinge", "wasserstein"])
def test_equation_1_needs_the_cross_entropy(loss, problems, read):
    (problem,) = problems(f"loss.name={loss}", EQUATION_1)
    assert problem.startswith("mixup.generator_sees_mixes (eq. 1) needs loss non_saturating")
    assert problem.endswith(f"got {loss}")
    assert read(EQUATION_1).mixup.generator_sees_mixes


@pytest.mark.parametrize("loss", ["hinge", "wasserstein"])
def test_penalty_of_the_sigmoid_needs_logits_that_are_log_odds(loss, problems, read):
    (problem,) = problems(f"loss.name={loss}", PENALTY)
    assert problem.startswith("penalties.0.of=sigmoid needs loss non_saturating")
    assert read(PENALTY).penalties[0].of == "sigmoid"
    assert read(f"loss.name={loss}", PENALTY.replace("sigmoid", "logit")).penalties[0].of == "logit"


def test_soft_labels_need_fakes_mixed_with_reals(problems, read):
    (problem,) = problems("mixup={labels: soft, pairs: [FF]}")
    assert problem.startswith("mixup: labels: soft changes nothing with pairs: [FF]")
    for pairs in ("[FR]", "[FF, FR]"):
        read(f"mixup={{labels: soft, pairs: {pairs}}}")


@pytest.mark.parametrize("stages", ["[0]", "[input]"])
def test_blocked_gradients_need_a_stage_with_layers_below(stages, problems, read):
    (problem,) = problems(f"mixup={{block_gradients: true, stages: {stages}}}")
    assert problem.startswith("mixup: block_gradients changes nothing at the input")
    assert read("mixup={block_gradients: true, stages: [0, 1]}").mixup.block_gradients


@pytest.mark.parametrize(
    "stages", ["[input, input, down1]", "[0, input]", "[input, 1, 0]", "[2, 2]", "[flat, 1, flat]"]
)
def test_stages_that_repeat_are_refused(stages, problems):
    (problem,) = problems(f"mixup.stages={stages}")
    assert problem.startswith("mixup: stages must not repeat")


def test_all_problems_of_a_section_are_said_at_once(problems):
    found = problems("mixup={pairs: [FF, FF], stages: [0, input], block_gradients: true}")
    assert [problem.split()[1] for problem in found] == ["pairs", "stages", "block_gradients"]
    assert len(problems("loss.name=hinge", "mixup={labels: soft}", PENALTY)) == 2


def test_config_tells_its_kind_its_images_a_step_and_whether_it_can_go_on(read):
    config = read("training.batch_size=3", "training.n_dis=5")
    assert (config.kind, config.images_per_step, config.can_go_on) == ("GAN", 15, True)
    assert not read("training.decay=linear").can_go_on


def test_row_of_the_paper_has_its_scores_and_spreads_of_these_only(problems, read):
    row = "paper={{table: Table 6, row: a, values: {{{}: 7}}, spreads: {{{}: 0.1}}}}"
    assert read(row.format("IS", "IS")).paper.spreads == {"IS": 0.1}
    (problem,) = problems(row.format("FDI", "FDI"))
    assert problem == "paper: values: the paper has IS and FID of GANs, got FDI"
    (problem,) = problems(row.format("IS", "FID"))
    assert problem == "paper: spreads needs a value for each of its scores, and has none for FID"
    (problem,) = problems("paper={table: Table 6, row: a, values: {IS: 0}}")
    assert problem == "paper.values.IS: expected a number greater than 0, got 0"


def test_an_item_of_the_penalties_is_overridden_and_its_problems_are_at_its_keys(read, problems):
    both = "penalties=[{name: zero_centred_real, weight: 1}, {name: interpolate, weight: 10, every: 4}]"
    assert [penalty.weight for penalty in read(both, "penalties.1.weight=3").penalties] == [1, 3]
    assert read(both).penalties[1].every == 4
    (problem,) = problems(both, "penalties.1.evry=4")
    assert problem.startswith("penalties.1.evry: unknown key; did you mean 'every'?")
    (problem,) = problems(both, "penalties.0.weight=0")
    assert problem == "penalties.0.weight: expected a number greater than 0, got 0"
    (problem,) = problems("penalties=[{name: r1, weight: 1}]")
    assert problem.startswith("penalties.0.name: expected 'zero_centred_real' or 'interpolate', got 'r1'")
