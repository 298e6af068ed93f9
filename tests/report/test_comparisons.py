import re

import numpy as np
import pytest
from made_runs import FR, FR_FF, gan_scores, make_group, make_run, paper

from ganmix.engine.scores import Score
from ganmix.report.comparisons import Difference, compare, interval_of
from ganmix.report.groups import group_runs
from ganmix.report.prose import interval_name, pairing_notes, sentence, sentences
from ganmix.report.protocols import find_protocols
from ganmix.report.runs import read_runs
from ganmix.report.scores import Column, score_table

FID, INCEPTION = (Column(Score(metric, 0, extractor="digits"), 2) for metric in ("FID", "IS"))


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
    (_, found) = comparison.differences
    assert found.by_seed == pytest.approx({0: -0.1, 1: -0.3, 2: -0.2})
    assert found.mean == pytest.approx(-0.2)
    assert found.interval == pytest.approx((-0.3, -0.1))
    assert (found.better_in, found.outcome) == (3, "better")


def test_lower_is_better_for_fid_and_higher_for_inception_score():
    values = [-0.3, -0.1, -0.2]
    assert difference(values).outcome == "better"
    assert difference(values, INCEPTION).outcome == "worse"
    assert (difference(values).better_in, difference(values, INCEPTION).better_in) == (3, 0)


def numbers(text):
    """The numbers of a sentence, with their signs."""
    return [
        float(found.replace("\N{MINUS SIGN}", "-")) for found in re.findall(r"[+\N{MINUS SIGN}]?\d+(?:\.\d+)?", text)
    ]


def test_verdict_gives_size_interval_and_seeds():
    for column, word in ((FID, "better"), (INCEPTION, "worse")):
        text = sentence(difference([-0.05, -0.20, -0.11], column))
        assert numbers(text) == [0.12, 3, 0.05, 0.20, 3, 3]
        assert all(each in text for each in ("lower", word, interval_name(3)))


def test_interval_with_zero_is_no_difference():
    undecided = difference([-0.20, 0.05, -0.03])
    assert undecided.outcome == "open"
    assert numbers(sentence(undecided)) == [-0.06, 3, -0.20, 0.05, 2, 3]
    assert "no clear difference" in sentence(undecided)
    assert difference([0.0, 0.0, 0.0]).outcome == "open"


def test_one_seed_cannot_tell():
    assert (difference([-5.0]).outcome, difference([-5.0]).interval) == ("open", None)
    assert numbers(sentence(difference([-5.0]))) == [5.0]
    assert "cannot tell" in sentence(difference([-5.0]))


def test_two_seeds_are_no_answer():
    assert difference([-0.5, -0.4]).outcome == "open"
    assert "by chance" in sentence(difference([-0.5, -0.4]))
    assert "by chance" not in sentence(difference([-0.5, -0.4, -0.3]))


def test_groups_at_unlike_steps_are_marked_and_not_judged_unless_both_are_done():
    values = [-0.3, -0.1, -0.2]
    early = difference(values, steps=(1500, 3000), both_final=False)
    done = difference(values, steps=(1500, 3000), both_final=True)
    assert (early.outcome, done.outcome) == ("open", "better")
    for each in (early, done):
        assert re.search(r"step 1,500\b.* step 3,000\b", sentence(each))
    alike = difference(values, steps=(1500, 1500), both_final=False)
    assert alike.outcome == "better"
    assert "step" not in sentence(alike)


def test_small_differences_get_more_decimals():
    assert "0.0022" in sentence(difference([-0.0012, -0.0031, -0.0022]))


@pytest.mark.parametrize("num", [2, 3, 4, 5])
def test_interval_of_few_seeds_is_their_range_and_called_so(num):
    values = list(np.random.default_rng(num).normal(size=num))
    assert interval_of(values) == (min(values), max(values))
    assert interval_name(num) == f"range of {num} seeds"


def test_interval_of_one_or_no_seed_is_none():
    assert interval_of([3.0]) is None
    assert interval_of([]) is None


def test_interval_of_six_seeds_is_a_bootstrap_interval_within_their_range():
    values = list(np.random.default_rng(1).normal(size=6))
    low, high = interval_of(values)
    assert min(values) < low < np.mean(values) < high < max(values)
    assert "bootstrap" in interval_name(6)


def test_many_values_give_the_normal_interval_and_the_same_each_time():
    values = list(np.random.default_rng(1).normal(2.0, 1.0, size=100))
    low, high = interval_of(values)
    half = 1.96 * np.std(values) / 10
    assert low == pytest.approx(np.mean(values) - half, abs=0.02)
    assert high == pytest.approx(np.mean(values) + half, abs=0.02)
    assert interval_of(values) == (low, high)


def test_equal_values_have_an_interval_of_no_width():
    for num in (3, 6):
        assert interval_of([0.3] * num) == pytest.approx((0.3, 0.3))


def test_seeds_of_one_side_are_left_out_and_said(tmp_path):
    make_group(tmp_path / "gan", fids=[1.0, 2.0, 3.0])
    make_run(tmp_path / "gan_fr" / "seed-1", FR, seed=1, fid={3000: 1.5})
    make_run(tmp_path / "gan_fr" / "seed-7", FR, seed=7, fid={3000: 99.0})
    (comparison,) = comparisons_of(tmp_path)
    assert comparison.differences[1].by_seed == pytest.approx({1: -0.5})
    assert (comparison.only_here, comparison.only_there) == ([7], [0, 2])
    here, there = pairing_notes([comparison])
    assert "seed 7" in here
    assert "seeds 0 and 2" in there


def test_no_seed_in_common_cannot_tell(tmp_path):
    make_run(tmp_path / "gan" / "seed-0", seed=0, fid={3000: 1.0})
    make_run(tmp_path / "gan_fr" / "seed-1", FR, seed=1, fid={3000: 2.0})
    (comparison,) = comparisons_of(tmp_path)
    assert all("no seed in common" in text for text in sentences(comparison, FID))
    assert {difference.outcome for difference in comparison.differences} == {"open"}


def test_unscored_baseline_is_said(tmp_path):
    make_run(tmp_path / "gan")
    make_run(tmp_path / "gan_fr", FR, fid={3000: 1.0})
    (comparison,) = comparisons_of(tmp_path)
    assert comparison.differences == []
    assert len(pairing_notes([comparison])) == 1


def test_scores_of_unknown_direction_are_not_compared(tmp_path):
    found = [gan_scores(3000, 1.0, novelty=0.5)]
    make_run(tmp_path / "gan", measurements=found)
    make_run(tmp_path / "gan_fr", FR, measurements=found)
    (comparison,) = comparisons_of(tmp_path)
    assert [difference.column.score.metric for difference in comparison.differences] == ["IS", "FID"]


def test_named_baseline_replaces_the_own_one(tmp_path):
    make_group(tmp_path / "gan", fids=[1.0, 2.0, 3.0])
    make_group(tmp_path / "gan_fr", FR, fids=[2.0, 3.0, 4.0])
    make_group(tmp_path / "gan_fr_ff", FR_FF, fids=[4.0, 5.0, 6.0])
    found = {each.row.group.name: each.differences[1].mean for each in comparisons_of(tmp_path, "gan_fr")}
    assert found == pytest.approx({"gan": -1.0, "gan_fr_ff": 2.0})


def test_papers_difference_stands_beside_ours(tmp_path):
    make_run(tmp_path / "gan", paper("a row", IS=7.3, FID=30.2), fid={3000: 1.0})
    make_run(tmp_path / "gan_fr", FR, paper("its mixup", IS=7.34, FID=28.0), fid={3000: 1.0})
    (comparison,) = comparisons_of(tmp_path)
    assert [each.paper for each in comparison.differences] == pytest.approx([0.04, -2.2])
