import math

import numpy as np
import pytest
from made_runs import FEW, FR, FR_FF, PROTOCOL, make_group, make_run, score_line

from ganmix.report.collect import read_runs
from ganmix.report.groups import group_runs
from ganmix.report.protocols import differing_parts, find_protocols
from ganmix.report.scores import Column, choose_step, score_table


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
    assert row.mean_and_std("digits-FID") == pytest.approx((np.mean(fids), np.std(fids, ddof=1)))
    inception = [10 - fid for fid in fids]
    assert row.mean_and_std("digits-IS") == pytest.approx((np.mean(inception), np.std(inception, ddof=1)))


def test_spreads_within_a_run_are_no_columns(tmp_path):
    (table,) = tables_of(make_group(tmp_path / "gan", fids=[1.0]))
    assert [column.name for column in table.columns] == ["digits-IS", "digits-FID"]


def test_columns_come_from_the_scores_found_in_the_tables_order(tmp_path):
    line = score_line(3000, 1.0)
    line["scores"] |= {"digits-novelty": 0.5, "digits-recall": 0.1, "digits-KID": 0.1, "digits-KID_std": 0.1}
    make_run(tmp_path / "gan", lines=[line])
    (table,) = tables_of(tmp_path)
    assert [column.base for column in table.columns] == ["IS", "FID", "KID", "recall", "novelty"]
    assert [column.arrow for column in table.columns] == ["↑", "↓", "↓", "↑", ""]


@pytest.mark.parametrize("seeds_with_spread", [set(), {0}, {1}, {0, 1}])
def test_kid_is_one_column_with_and_without_its_spread_over_subsets(seeds_with_spread, tmp_path):
    for seed in range(2):
        line = score_line(3000, 1.0)
        line["scores"] |= {"digits-KID": 0.1} | ({"digits-KID_std": 0.01} if seed in seeds_with_spread else {})
        make_run(tmp_path / f"seed-{seed}", seed=seed, lines=[line])
    (table,) = tables_of(tmp_path)
    assert [column.base for column in table.columns] == ["IS", "FID", "KID"]
    assert table.rows[0].values["digits-KID"] == {0: 0.1, 1: 0.1}


def test_value_is_the_last_steps_and_not_the_best(tmp_path):
    row = only_row(make_run(tmp_path / "gan", fid={1000: 0.5, 3000: 2.0, 2000: 0.1}))
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


def test_last_of_two_scores_at_a_step_counts_in_any_order_of_lines(tmp_path):
    lines = [score_line(3000, 9.0), score_line(1000, 8.0), score_line(3000, 2.0)]
    row = only_row(make_run(tmp_path / "gan", lines=lines))
    assert row.values["digits-FID"] == {0: 2.0}
    assert row.history["digits-FID"] == {1000: {0: 8.0}, 3000: {0: 2.0}}


def test_scores_that_are_no_numbers_do_not_count(tmp_path):
    row = only_row(make_run(tmp_path / "gan", fid={1000: 2.0, 3000: math.nan}))
    assert (row.step, row.values["digits-FID"]) == (1000, {0: 2.0})


def test_protocols_are_never_mixed(tmp_path):
    # Few images at the last step, the full protocol before it: neither table may borrow from the other.
    make_run(tmp_path / "gan", fid={2000: 2.0}, lines=[score_line(3000, 50.0, FEW)])
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
    values = {"reference": {"file": "stats.npz", "num": None, "digest": "0"}, "num_fake": 7}
    other = PROTOCOL | {part: values.get(part, "another")}
    lines = [score_line(3000, 1.0), score_line(2000, 2.0, PROTOCOL | {"name": "alias"}), score_line(3000, 3.0, other)]
    make_run(tmp_path / "gan", lines=lines)
    found = find_protocols(read_runs([tmp_path]))
    assert len(found) == 2
    assert [protocol for protocol in found if set(protocol.names) == {"small", "alias"}]
    assert all(protocol.in_words() for protocol in found)


def test_protocol_in_words_names_both_sides_and_what_sees_them(tmp_path):
    make_run(tmp_path / "gan", fid={3000: 1.0})
    (protocol,) = find_protocols(read_runs([tmp_path]))
    words = protocol.in_words()
    assert words[0] == "10,000 generated against 12,000 real images (digits train) [98fe76dc]"
    assert words[1] == "seen by the classifier digits [ab12cd34]"
    assert words[2:] == ["rounded to bytes", "batch norm by running means", "moving average of G's weights"]
    drawn = PROTOCOL | {"reference": PROTOCOL["reference"] | {"drawn_by_seed": 2020}}
    make_run(tmp_path / "drawn", lines=[score_line(3000, 1.0, drawn)])
    (protocol,) = find_protocols(read_runs([tmp_path / "drawn"]))
    assert protocol.in_words()[0].endswith("12,000 real images (digits train, drawn at random) [98fe76dc]")


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
    column = Column("FID", 2)
    assert column.show(-0.001) == "0.00"
    assert column.show(-0.001, "+") == column.show(0.001, "+") == "0.00"
    assert column.show(0.1, "+") == "+0.10"
    assert column.show(-0.1) == "\N{MINUS SIGN}0.10"
    assert column.show_spread(1.0, 0.25) == "1.00 ± 0.25"
    assert column.show_spread(1.0, None) == "1.00"
