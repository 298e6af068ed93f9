import math
from dataclasses import replace

import numpy as np
import pytest
from made_runs import (
    FEW,
    FR,
    FR_FF,
    PROTOCOL,
    deformed_scores,
    gan_scores,
    make_classifier_run,
    make_group,
    make_run,
)

from ganmix.engine.scores import Score
from ganmix.report.groups import group_runs
from ganmix.report.protocols import differing_parts, find_protocols
from ganmix.report.runs import read_runs
from ganmix.report.scores import Column, choose_step, mean_and_std, score_table

FID, INCEPTION = (Column(Score(metric, 0, extractor="digits"), 2) for metric in ("FID", "IS"))


def tables_of(path):
    runs = read_runs([path])
    groups = group_runs(runs)
    return [score_table(protocol, groups) for protocol in find_protocols(runs)]


def only_row(path):
    (table,) = tables_of(path)
    (row,) = table.rows
    return row


def test_spread_is_over_seeds_and_not_over_splits(tmp_path):
    fids = [1.0, 1.5, 3.0]
    row = only_row(make_group(tmp_path / "gan", fids=fids))
    assert row.mean_and_std(FID) == pytest.approx((np.mean(fids), np.std(fids, ddof=1)))
    inception = [10 - fid for fid in fids]
    assert row.mean_and_std(INCEPTION) == pytest.approx((np.mean(inception), np.std(inception, ddof=1)))


def test_spreads_within_a_run_are_no_columns(tmp_path):
    (table,) = tables_of(make_group(tmp_path / "gan", fids=[1.0]))
    assert [column.key for column in table.columns] == ["digits-IS", "digits-FID"]


def test_columns_come_from_the_scores_found_in_the_tables_order(tmp_path):
    make_run(tmp_path / "gan", measurements=[gan_scores(3000, 1.0, novelty=0.5, recall=0.1, KID=0.1)])
    (table,) = tables_of(tmp_path)
    assert [column.score.metric for column in table.columns] == ["IS", "FID", "KID", "recall", "novelty"]
    assert [column.arrow for column in table.columns] == ["↑", "↓", "↓", "↑", ""]


@pytest.mark.parametrize(
    ("score", "title", "label"),
    [
        (Score("nll", 0), "NLL", "NLL"),
        (Score("mixed nll", 0, at="layer1"), "NLL at layer1", "NLL at layer1"),
        (Score("mixed nll", 0, at="block-1"), "NLL at block-1", "NLL at block-1"),
        (Score("shear", 0, at="28.6"), "shear ±28.6°", "shear ±28.6°"),
        (Score("zoom in", 0, at="20"), "zoom in to 20 %", "zoom in to 20 %"),
        (Score("FID", 0, extractor="digits"), "FID", "digits-FID"),
        (Score("FID", 0, extractor="my-net"), "FID", "my-net-FID"),
        (Score("FID", 0, extractor="inception"), "FID", "FID"),
        (Score("novelty", 0), "novelty", "novelty"),
    ],
)
def test_scores_are_called_by_the_fields_names(score, title, label):
    column = Column(score, 2)
    assert (column.title, column.label) == (title, label)


def test_mean_of_deformations_is_over_the_metrics_that_deform(tmp_path):
    other = deformed_scores(3000, 30.0)
    scores = [*other.scores, Score("accuracy", 99.0), Score("rotation", 50.0, at="90")]
    make_classifier_run(tmp_path, measurements=[replace(other, scores=scores)])
    (table,) = tables_of(tmp_path)
    (mean,) = [column for column in table.columns if column.score.metric == "mean of deformations"]
    assert table.rows[0].values[mean.key] == {0: pytest.approx(np.mean([*range(30, 47), 50]))}
    assert mean.title == "mean of 18 deformations"


def test_value_is_the_last_steps_and_not_the_best(tmp_path):
    make_run(tmp_path / "gan", fid={1000: 0.5, 3000: 2.0, 2000: 0.1})
    row = only_row(tmp_path)
    assert (row.step, row.is_final) == (3000, True)
    assert row.values["digits-FID"] == {0: 2.0}


def test_unfinished_group_is_at_the_last_step_of_all_its_seeds(tmp_path):
    make_run(tmp_path / "gan" / "seed-0", seed=0, fid={1000: 3.0, 2000: 2.0, 3000: 1.0})
    make_run(tmp_path / "gan" / "seed-1", seed=1, fid={1000: 3.5, 2000: 2.5}, steps_done=2400)
    row = only_row(tmp_path)
    assert (row.step, row.is_final, row.missing) == (2000, False, ())
    assert row.values["digits-FID"] == {0: 2.0, 1: 2.5}


def test_seed_without_a_score_is_missing_and_holds_no_one_back(tmp_path):
    make_run(tmp_path / "gan" / "seed-0", seed=0, fid={3000: 1.0})
    make_run(tmp_path / "gan" / "seed-1", seed=1)
    row = only_row(tmp_path)
    assert (row.step, row.seeds, row.missing) == (3000, [0], (1,))


@pytest.mark.parametrize(
    ("scored", "step"),
    [
        ({0: [10, 20, 30], 1: [10, 20, 30]}, 30),
        ({0: [10, 20, 30], 1: [10, 20]}, 20),
        ({0: [10, 20], 1: [20, 10, 30], 2: [10, 20, 30]}, 20),
        ({0: [30], 1: [10]}, 30),
        ({0: [10, 30], 1: [20, 25], 2: [25]}, 25),
    ],
)
def test_step_is_chosen_by_what_is_there(scored, step):
    assert choose_step(scored) == step


def test_last_of_two_measurements_at_a_step_counts_in_any_order_of_lines(tmp_path):
    found = [gan_scores(3000, 9.0), gan_scores(1000, 8.0), gan_scores(3000, 2.0)]
    make_run(tmp_path / "gan", measurements=found)
    row = only_row(tmp_path)
    assert row.values["digits-FID"] == {0: 2.0}
    assert row.history["digits-FID"] == {1000: {0: 8.0}, 3000: {0: 2.0}}


def test_scores_that_are_no_numbers_do_not_count(tmp_path):
    make_run(tmp_path / "gan", fid={1000: 2.0, 3000: math.nan})
    row = only_row(tmp_path)
    assert (row.step, row.values["digits-FID"]) == (1000, {0: 2.0})


def test_protocols_are_never_mixed(tmp_path):
    # Few images at the last step, the full protocol before it: neither table may borrow from the other.
    make_run(tmp_path / "gan", fid={2000: 2.0}, measurements=[gan_scores(3000, 50.0, FEW)])
    make_run(tmp_path / "gan_fr", FR, fid={3000: 1.0})
    full, few = tables_of(tmp_path)
    assert (full.protocol.parts["num_fake"], few.protocol.parts["num_fake"]) == (10000, 500)
    assert {row.group.name: (row.step, row.values["digits-FID"]) for row in full.rows} == {
        "gan": (2000, {0: 2.0}),
        "gan_fr": (3000, {0: 1.0}),
    }
    assert {row.group.name: (row.step, row.values["digits-FID"]) for row in few.rows} == {"gan": (3000, {0: 50.0})}
    assert [group.name for group in few.unscored] == ["gan_fr"]
    assert differing_parts([full.protocol, few.protocol]) == ["few_images", "num_fake"]


@pytest.mark.parametrize("part", sorted(PROTOCOL.keys() - {"name"}))
def test_any_other_part_makes_another_protocol_but_the_name_does_not(tmp_path, part):
    values = {"reference": {"file": "stats.npz", "num": None, "digest": "0"}, "num_fake": 7, "few_images": True}
    values |= {"quantisation": "truncate", "batch_norm": "standing", "ema": False}
    other = PROTOCOL | {part: values.get(part, "another")}
    alias = gan_scores(2000, 2.0, PROTOCOL | {"name": "alias"})
    make_run(tmp_path / "gan", measurements=[gan_scores(3000, 1.0), alias, gan_scores(3000, 3.0, other)])
    found = find_protocols(read_runs([tmp_path]))
    assert len(found) == 2
    assert [protocol for protocol in found if set(protocol.names) == {"small", "alias"}]
    assert all(protocol.details for protocol in found)


def test_protocol_in_words_names_both_sides_and_what_sees_them(tmp_path):
    drawn = PROTOCOL | {"reference": PROTOCOL["reference"] | {"drawn_by_seed": 2020}}
    make_run(tmp_path / "gan", measurements=[gan_scores(3000, 1.0), gan_scores(3000, 1.0, drawn)])
    whole, part = (protocol.details for protocol in find_protocols(read_runs([tmp_path])))
    assert all(word in whole[0] for word in ("10,000", "12,000", "digits train", "[98fe76dc]"))
    assert all(word in whole[1] for word in ("digits", "[ab12cd34]"))
    assert ["drawn at random" in details[0] for details in (whole, part)] == [False, True]
    assert whole[1:] == part[1:]


def test_history_is_of_the_steps_that_all_seeds_have(tmp_path):
    make_run(tmp_path / "gan" / "seed-0", seed=0, fid={1000: 3.0, 1500: 2.5, 3000: 1.0})
    make_run(tmp_path / "gan" / "seed-1", seed=1, fid={1000: 4.0, 3000: 2.0})
    assert only_row(tmp_path).history["digits-FID"] == {1000: {0: 3.0, 1: 4.0}, 3000: {0: 1.0, 1: 2.0}}


@pytest.mark.parametrize(
    ("fids", "decimals"), [([30.2, 28.0], 1), ([0.341, 0.352], 3), ([1.67], 2), ([200.0], 0), ([0.0], 3), ([1e-9], 6)]
)
def test_decimals_give_three_digits(tmp_path, fids, decimals):
    for number, (fid, mixup) in enumerate(zip(fids, ["mixup=null", FR_FF], strict=False)):
        make_run(tmp_path / f"gan{number}", mixup, fid={3000: fid})
    (table,) = tables_of(tmp_path)
    assert table.columns[1].decimals == decimals


def test_value_rounded_to_zero_has_no_sign():
    column = Column(Score("FID", 0), 2)
    assert column.show(-0.001) == "0.00"
    assert column.show(-0.001, "+") == column.show(0.001, "+") == "0.00"
    assert column.show(0.1, "+") == "+0.10"
    assert column.show(-0.1) == "\N{MINUS SIGN}0.10"
    assert column.show_spread(1.0, 0.25) == "1.00 ± 0.25"
    assert column.show_spread(1.0, None) == "1.00"


def test_std_is_the_samples():
    mean, std = mean_and_std([1.0, 2.0, 4.5])
    assert mean == pytest.approx(2.5)
    assert std == pytest.approx(((1.5**2 + 0.5**2 + 2**2) / 2) ** 0.5)
    assert mean_and_std([3.0]) == (3.0, None)
