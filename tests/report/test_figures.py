import re
from dataclasses import replace

import numpy as np
import pytest
from made_runs import FR, FR_FF, make_run

from ganmix.report.figures import (
    MOST_POINTS,
    PALETTE,
    Line,
    Style,
    dashes_in_words,
    draw,
    logit_lines,
    score_lines,
    styles,
)
from ganmix.report.groups import group_runs
from ganmix.report.protocols import find_protocols
from ganmix.report.runs import read_runs
from ganmix.report.scores import score_table

STYLE = Style("#332288", "solid", "")


def line(values):
    return Line(STYLE, range(len(values)), values, values, values)


def ticks(svg):
    """The numbers on the vertical axis and their heights."""
    axis = svg[svg.index("matplotlib.axis_2") :]
    found = re.findall(r'<text[^>]* y="([^"]+)"[^>]*>([^<]+)</text>', axis)
    return zip(*[(float(label), float(y)) for y, label in found if re.fullmatch(r"[\d.]+", label)], strict=True)


def is_straight(x, y):
    return abs(np.corrcoef(x, y)[0, 1]) > 0.9999


def groups_of(path):
    runs = read_runs([path])
    return group_runs(runs)


@pytest.mark.parametrize(
    ("values", "may_be_log", "is_log"),
    [
        ([1.0, 11.0], True, True),
        ([1.0, 200.0], True, True),
        ([1.0, 9.0], True, False),
        ([1.0, 200.0], False, False),
        ([0.0, 200.0], True, False),
    ],
)
def test_axis_is_logarithmic_where_values_span_more_than_tenfold(values, may_be_log, is_log):
    labels, heights = ticks(draw([line(values)], "name", "FID", may_be_log=may_be_log))
    assert len(labels) > 3
    assert is_straight(labels, heights) != is_log
    if is_log:
        assert is_straight(np.log(labels), heights)


def test_svg_takes_the_width_it_is_given_and_keeps_its_ids_to_itself():
    svg = draw([line([1.0, 2.0])], "name", "a <b> & 'c'")
    head = svg[: svg.index(">")]
    assert head.startswith('<svg role="img"')
    assert "viewBox" in head
    assert not re.search(r" (width|height)=", head)
    assert all(name.startswith("name-") for name in re.findall(r'\bid="([^"]*)"', svg))
    assert svg == draw([line([1.0, 2.0])], "name", "a <b> & 'c'")


def test_line_is_the_mean_and_its_band_the_extremes_over_seeds(tmp_path):
    for seed, last in enumerate((1.0, 2.0, 6.0)):
        make_run(tmp_path / f"seed-{seed}", seed=seed, fid={1000: 9.0, 3000: last})
    groups = groups_of(tmp_path)
    (protocol,) = find_protocols(groups[0].runs)
    table = score_table(protocol, groups)
    (drawn,) = score_lines(table.rows, table.columns[1], styles(groups))
    assert list(drawn.x) == [1000, 3000]
    assert (drawn.mean, drawn.low, drawn.high) == ([9.0, 3.0], [9.0, 1.0], [9.0, 6.0])


def test_scores_of_one_step_are_no_curve(tmp_path):
    make_run(tmp_path / "gan", fid={3000: 1.0})
    groups = groups_of(tmp_path)
    (protocol,) = find_protocols(groups[0].runs)
    table = score_table(protocol, groups)
    assert score_lines(table.rows, table.columns[1], styles(groups)) == []


def test_logits_are_real_minus_fake(tmp_path):
    make_run(tmp_path / "seed-0", seed=0)
    make_run(tmp_path / "seed-1", seed=1)
    make_run(tmp_path / "seed-2", seed=2, steps_done=500)  # still training: it would end the line at 500
    groups = groups_of(tmp_path)
    (drawn,) = logit_lines(groups, styles(groups))
    assert list(drawn.x) == [500, 1000, 1500, 2000, 2500, 3000]
    assert drawn.mean == pytest.approx([1 + step / 1000 for step in drawn.x])


def test_long_trainings_are_thinned_by_means(tmp_path):
    run = make_run(tmp_path / "gan", steps_done=0)
    for step in range(1, 1001):
        run.add_metrics(step, {"logit/real": step % 2, "logit/fake": 0, "images_per_second": 1})
    groups = groups_of(tmp_path)
    (drawn,) = logit_lines(groups, styles(groups))
    assert len(drawn.x) <= MOST_POINTS
    assert drawn.x[-1] == 1000
    assert np.mean(drawn.mean) == pytest.approx(0.5, abs=0.01)


def test_nine_groups_have_nine_colours_and_dashes_say_what_is_mixed(tmp_path):
    for place, lr in enumerate(("1e-4", "2e-4", "3e-4")):
        for name, mixup in {"none": "mixup=null", "fr": FR, "fr_ff": FR_FF}.items():
            make_run(tmp_path / f"{place}_{name}", f"training.lr={lr}", mixup, samples=False)
    style = styles(groups_of(tmp_path))
    assert {each.colour for each in style.values()} == set(PALETTE)
    dashes = {group.name[2:]: each.dashes for group, each in style.items()}
    assert dashes["none"] == ""
    assert len(set(dashes.values())) == 3


def test_dashes_of_any_pairs_are_told_apart_and_explained(tmp_path):
    for name, mixup in {"none": "mixup=null", "fr": FR, "fr_ff": FR_FF}.items():
        make_run(tmp_path / name, mixup, samples=False)
    groups = groups_of(tmp_path)
    mixes = ["RR", "FR+RR", *(f"pair {number}" for number in range(9))]
    others = [replace(groups[0], runs=(_mixing(groups[0].first, each),)) for each in mixes]
    style = styles([*groups, *others])
    assert len({style[group].dashes for group in (*groups, *others[:2])}) == 5
    assert all(style[group].dashes for group in others)
    assert all(each in dashes_in_words(style) for each in mixes)


def _mixing(run, mixes):
    return replace(run, words=replace(run.words, mixes=mixes))
