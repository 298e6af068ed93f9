import json
import math

import pytest
import torch

from ganmix.benchmark import timing
from ganmix.benchmark.timing import (
    Column,
    changed,
    choose_settings,
    compare,
    device_settings,
    gflop,
    made_images,
    measure,
    report,
)
from ganmix.config.base import Section
from ganmix.config.common import Device, FolderData
from ganmix.errors import UserError

CPU = torch.device("cpu")


class Nested(Section):
    data: FolderData | None
    device: Device


def test_ratios_are_medians_within_each_round():
    times = {
        ("textbook", "none"): {"step": [4.0, 40.0, 8.0], "part": [1.0, 3.0, 2.0]},
        ("textbook", "mixup"): {"step": [6.0, 60.0, 18.0], "part": [1.0, 1.0, 1.0]},
        ("ours", "none"): {"step": [2.0, 10.0, 1.0], "part": [1.0, 1.0, 1.0]},
        ("ours", "mixup"): {"step": [3.0, 11.0, 4.0], "part": [1.0, 1.0, 1.0]},
    }
    rows = {(row["way"], row["setting"]): row for row in compare(times, "step")}
    assert list(rows) == list(times)
    assert [row["step"] for row in rows.values()] == [8.0, 18.0, 2.0, 4.0]
    assert [row["part"] for row in rows.values()] == [2.0, 1.0, 1.0, 1.0]
    assert rows["ours", "none"]["speedup"] == pytest.approx(4.0)  # of 2, 4 and 8: not 8 / 2
    assert rows["ours", "none"]["speedup_quartiles"] == pytest.approx((3.0, 6.0))
    assert rows["ours", "mixup"]["speedup"] == pytest.approx(4.5)  # of 2, 5.45 and 4.5
    assert rows["ours", "mixup"]["cost"] == pytest.approx(1.5)  # of 1.5, 1.1 and 4
    assert rows["ours", "mixup"]["cost_quartiles"] == pytest.approx((1.3, 2.75))
    assert rows["textbook", "mixup"]["cost"] == pytest.approx(1.5)  # of 1.5, 1.5 and 2.25
    assert rows["ours", "none"]["cost"] == rows["textbook", "mixup"]["speedup"] == 1.0


def test_ratio_with_nothing_to_compare_with_is_not_a_number():
    (row,) = compare({("ours", "mixup"): {"step": [1.0, 2.0]}}, "step")
    assert math.isnan(row["speedup"])
    assert math.isnan(row["cost"])
    assert all(map(math.isnan, row["cost_quartiles"] + row["speedup_quartiles"]))


def test_each_round_has_a_turn_of_every_setting_with_those_of_a_way_together(monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(timing, "keep_freed_memory", lambda keep: done.append(f"keep {keep}"))

    works = {
        (way, setting): {work: lambda name=f"{way} {setting} {work}": done.append(name) for work in "DG"}
        for setting in "xy"
        for way in ("textbook", "ours")
    }
    times = measure(works, 3, CPU)
    assert list(times) == [("textbook", "x"), ("textbook", "y"), ("ours", "x"), ("ours", "y")]
    assert all([*seconds] == ["D", "G"] for seconds in times.values())
    assert all(len(turns) == 3 for seconds in times.values() for turns in seconds.values())
    turns = [f"{way} {setting} {work}" for way in ("textbook", "ours") for setting in "xy" for work in "DG"]
    warm_ups = ["keep False", "textbook x D", "textbook x G"], ["keep True", "ours x D", "ours x G"]
    one_round = [*warm_ups[0], *turns[:4], *warm_ups[1], *turns[4:]]
    assert done == one_round * 4  # the first is not timed


def test_way_says_precision_and_compilation():
    assert device_settings("float32") == {"bf16": False, "compile": False}
    assert device_settings("bfloat16") == {"bf16": True, "compile": False}
    assert device_settings("compiled-float32") == {"bf16": False, "compile": True}
    assert device_settings("compiled-bfloat16") == {"bf16": True, "compile": True}


def test_config_is_changed_by_sections_or_their_keys_and_an_unknown_section_is_our_mistake():
    section = FolderData(name="folder", path="x", resolution=8)
    config = Nested(data=section, device=Device(name="cpu"))
    got = changed(config, data=None, device={"bf16": True})
    assert got == Nested(data=None, device=Device(name="cpu", bf16=True))
    assert config == Nested(data=section, device=Device(name="cpu"))
    with pytest.raises(AssertionError, match="dta"):
        changed(config, dta=None)


def test_settings_come_in_the_tables_order():
    assert choose_settings(["none", "a", "b"], None) == ["none", "a", "b"]
    assert choose_settings(["none", "a", "b"], ["b", "none"]) == ["none", "b"]


def test_unknown_setting_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="--settings: 'c' is not one of 'none', 'a'"):
        choose_settings(["none", "a"], ["none", "c"])


def test_made_images_have_the_shape_and_all_classes():
    data = made_images(200, 3, 8, num_classes=10)
    assert data.images.shape == (200, 3, 8, 8)
    assert data.images.unique().tolist() == list(range(256))
    assert data.labels.unique().tolist() == list(range(10))
    assert made_images(2, 1, 8).labels is None


def test_flops_of_a_matrix_product_are_two_a_multiplication():
    a, b = torch.ones(10, 20), torch.ones(20, 50)
    assert gflop(lambda: a @ b) == pytest.approx(2 * 10 * 20 * 50 / 1e9)


def test_report_prints_tables_and_writes_what_they_depend_on(tmp_path, capsys):
    columns = [Column("setting", "setting", 10), Column("s", "seconds", 6, 2), Column("both", "both", 11, 1)]
    rows = [{"setting": "none", "seconds": 1.234, "both": (0.5, 1.5), "other": 1}]
    path = tmp_path / "report.json"
    report(Section(), CPU, {"batch_size": 4, "rounds": 2}, {"rows": (columns, rows), "mixes": (columns, [])}, path)
    first, *table, last = capsys.readouterr().out.splitlines()
    assert first.endswith(f"torch {torch.__version__}; batch_size 4, rounds 2")
    assert table == ["setting         s        both", "none         1.23     0.5-1.5"]
    assert last.startswith("peak memory ")
    content = json.loads(path.read_text())
    assert content.keys() == {
        *("hardware", "torch", "batch_size", "rounds", "config", "peak_memory_gib", "rows", "mixes"),
    }
    assert content["rows"] == [{**rows[0], "both": [0.5, 1.5]}]
    assert content["mixes"] == []
