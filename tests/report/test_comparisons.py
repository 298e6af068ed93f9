import pytest
from made_runs import FR, FR_FF, make_group, make_run, score_line

from ganmix.report.collect import read_runs
from ganmix.report.comparisons import Difference, compare
from ganmix.report.groups import group_runs
from ganmix.report.notes import pairing_notes
from ganmix.report.protocols import find_protocols
from ganmix.report.scores import Column, score_table

FID, INCEPTION = Column("digits-FID", 2), Column("digits-IS", 2)
MINUS = "\N{MINUS SIGN}"


def difference(values, column=FID, steps=(3000, 3000), both_final=True):
    return Difference(column, dict(enumerate(values)), steps, both_final)


def comparisons_of(path, baseline=None):
    runs = read_runs([path])
    (protocol,) = find_protocols(runs)
    return compare(score_table(protocol, group_runs(runs, baseline)))


def test_differences_are_paired_by_seed(tmp_path):
    # Seeds differ far more than methods do: unpaired, the interval would hold 0.
    make_group(tmp_path / "gan", fids=[1.0, 5.0, 9.0])
    make_group(tmp_path / "gan_fr", FR, fids=[0.9, 4.7, 8.8])
    (comparison,) = comparisons_of(tmp_path)
    found = comparison.of(Column("digits-FID", comparison.differences[1].column.decimals))
    assert found.by_seed == pytest.approx({0: -0.1, 1: -0.3, 2: -0.2})
    assert found.mean == pytest.approx(-0.2)
    assert found.interval == pytest.approx((-0.3, -0.1))
    assert (found.better_in, found.outcome) == (3, "better")


def test_lower_is_better_for_fid_and_higher_for_inception_score():
    values = [-0.3, -0.1, -0.2]
    assert difference(values).outcome == "better"
    assert difference(values, INCEPTION).outcome == "worse"
    assert (difference(values).better_in, difference(values, INCEPTION).better_in) == (3, 0)


def test_verdict_gives_size_interval_and_seeds():
    assert difference([-0.05, -0.20, -0.11]).sentence() == (
        "FID lower by 0.12 (95% bootstrap interval 0.05 to 0.20, better in 3 of 3 seeds)"
    )
    assert difference([-0.05, -0.20, -0.11], INCEPTION).sentence() == (
        "IS lower by 0.12 (95% bootstrap interval 0.05 to 0.20, worse in 3 of 3 seeds)"
    )


def test_interval_with_zero_is_no_difference():
    undecided = difference([-0.20, 0.05, -0.03])
    assert undecided.outcome == "open"
    assert undecided.sentence() == (
        f"FID: no difference that 3 seeds can tell ({MINUS}0.06, 95% bootstrap interval {MINUS}0.20 to +0.05, "
        "better in 2 of 3 seeds)"
    )
    assert difference([0.0, 0.0, 0.0]).outcome == "open"


def test_one_seed_cannot_tell():
    assert difference([-5.0]).outcome == "open"
    assert difference([-5.0]).interval is None
    assert difference([-5.0]).sentence() == "FID: one seed, cannot tell (in it, lower by 5.00)"


def test_two_seeds_are_no_answer():
    assert difference([-0.5, -0.4]).outcome == "open"
    assert difference([-0.5, -0.4]).sentence().endswith("2 seeds agree by chance half the time")


def test_groups_at_unlike_steps_are_marked_and_not_judged_unless_both_are_done():
    values = [-0.3, -0.1, -0.2]
    early = difference(values, steps=(1500, 3000), both_final=False)
    assert early.outcome == "open"
    assert early.sentence().endswith("but at step 1,500 against step 3,000 of its baseline")
    done = difference(values, steps=(1500, 3000), both_final=True)
    assert done.outcome == "better"
    assert done.sentence().endswith("but at step 1,500 against step 3,000 of its baseline")
    assert difference(values, steps=(1500, 1500), both_final=False).outcome == "better"


def test_small_differences_get_more_decimals():
    assert difference([-0.0012, -0.0031, -0.0022]).sentence().startswith("FID lower by 0.0022 (")


def test_seeds_of_one_side_are_left_out_and_said(tmp_path):
    make_group(tmp_path / "gan", fids=[1.0, 2.0, 3.0])
    make_run(tmp_path / "gan_fr" / "seed-1", FR, seed=1, fid={3000: 1.5})
    make_run(tmp_path / "gan_fr" / "seed-7", FR, seed=7, fid={3000: 99.0})
    (comparison,) = comparisons_of(tmp_path)
    assert comparison.differences[1].by_seed == pytest.approx({1: -0.5})
    assert pairing_notes([comparison]) == [
        "gan_fr: seed 7 is missing in its baseline, gan.",
        "gan_fr: seeds 0 and 2 are missing, which its baseline, gan, has.",
    ]


def test_no_seed_in_common_cannot_tell(tmp_path):
    make_run(tmp_path / "gan" / "seed-0", seed=0, fid={3000: 1.0})
    make_run(tmp_path / "gan_fr" / "seed-1", FR, seed=1, fid={3000: 2.0})
    (comparison,) = comparisons_of(tmp_path)
    assert all("cannot tell" in sentence for sentence in comparison.sentences(FID))
    assert {difference.outcome for difference in comparison.differences} == {"open"}


def test_unscored_baseline_is_said(tmp_path):
    make_run(tmp_path / "gan")
    make_run(tmp_path / "gan_fr", FR, fid={3000: 1.0})
    (comparison,) = comparisons_of(tmp_path)
    assert pairing_notes([comparison]) == ["gan_fr: its baseline, gan, has none of its scores."]


def test_scores_of_unknown_direction_are_not_compared(tmp_path):
    line = score_line(3000, 1.0)
    line["scores"]["digits-novelty"] = 0.5
    make_run(tmp_path / "gan", lines=[line])
    make_run(tmp_path / "gan_fr", FR, lines=[line])
    (comparison,) = comparisons_of(tmp_path)
    assert [difference.column.base for difference in comparison.differences] == ["IS", "FID"]


def test_named_baseline_replaces_the_own_one(tmp_path):
    make_group(tmp_path / "gan", fids=[1.0, 2.0, 3.0])
    make_group(tmp_path / "gan_fr", FR, fids=[2.0, 3.0, 4.0])
    make_group(tmp_path / "gan_fr_ff", FR_FF, fids=[4.0, 5.0, 6.0])
    found = {each.row.group.name: each.differences[1].mean for each in comparisons_of(tmp_path, "gan_fr")}
    assert found == pytest.approx({"gan": -1.0, "gan_fr_ff": 2.0})


def test_papers_difference_stands_beside_ours(tmp_path):
    def paper(inception, fid):
        return f"paper={{table: Table 6, row: row, values: {{IS: {inception}, FID: {fid}}}, spreads: {{IS: 0.1}}}}"

    make_run(tmp_path / "gan", paper(7.3, 30.2), fid={3000: 1.0})
    make_run(tmp_path / "gan_fr", FR, paper(7.34, 28.0), fid={3000: 1.0})
    (comparison,) = comparisons_of(tmp_path)
    assert [each.paper for each in comparison.differences] == pytest.approx([0.04, -2.2])
