import csv
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from made_runs import FEW, FR, FR_FF, HIDDEN, PROTOCOL, gan_scores, make_classifiers, make_group, make_run, paper
from PIL import Image

from ganmix.errors import UserError
from ganmix.report import write_report
from ganmix.report.contents import gather

HINGE, WASSERSTEIN = "loss.name=hinge", "loss.name=wasserstein"
EVIL = "<script>alert(1)</script> & 'x' | $y$"


class Page(HTMLParser):
    """The page's elements, its text, its values by <data>, and the tags left open."""

    VOID = ("meta", "img", "line", "rect", "circle", "path", "use", "br", "link")

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self.values, self.open, self.ids = [], [], {}, [], []
        self.feed(path.read_text())
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "data":
            self.values[float(self.elements[-1][1]["value"])] = data.strip()
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def report_of(path, output, **options):
    written = write_report([path], output, **options)
    assert [file.name for file in written] == ["report.html", "report.md", "report.csv"]
    with written[2].open(newline="") as file:
        rows = list(csv.DictReader(file))
    return Page(written[0]), written[1].read_text(), rows


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A report of nine groups with three seeds each: three families of none, FR and FR+FF."""
    folder = tmp_path_factory.mktemp("full")
    draw = np.random.default_rng(0)
    for family, loss in {"a": HINGE, "b": WASSERSTEIN, "c": "training.lr=1e-3"}.items():
        for name, mixup in {"": "mixup=null", "_fr": FR, "_fr_ff": FR_FF}.items():
            row = paper(f"GAN {family}{name}", spreads="IS: 0.09", IS=7.34, FID=28.0)
            for seed in range(3):
                fid = {step: float(9000 / step + draw.normal()) for step in (1000, 2000, 3000)}
                make_run(folder / "runs" / f"{family}{name}" / f"seed-{seed}", loss, mixup, row, seed=seed, fid=fid)
    return report_of(folder / "runs", folder / "report")


def test_page_is_well_formed_and_needs_nothing_beside_it(full):
    page, _, _ = full
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    links = [
        value for _, attributes in page.elements for key, value in attributes.items() if key.endswith(("src", "href"))
    ]
    assert links
    assert [link for link in links if not link.startswith(("data:image/", "#"))] == []
    assert {link[1:] for link in links if link.startswith("#")} <= set(page.ids)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.elements


def test_styles_fetch_nothing(tmp_path):
    make_run(tmp_path / "runs" / "gan", fid={3000: 1.0})
    write_report([tmp_path / "runs"], tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []


def test_every_group_is_in_every_format(full):
    page, markdown, rows = full
    names = {f"{family}{name}" for family in "abc" for name in ("", "_fr", "_fr_ff")}
    assert {row["group"] for row in rows} == names
    for name in names:
        assert name in page.words
        assert f"GAN {name}" in page.words
        assert f"`{name}`" in markdown


def test_numbers_are_equal_in_all_formats(full):
    page, markdown, rows = full
    assert len(rows) == 9 * 2
    for row in rows:
        mean, std = float(row["mean"]), float(row["std_over_seeds"])
        shown = page.values[mean]
        decimals = len(shown.split()[0].partition(".")[2])
        assert shown == f"{mean:.{decimals}f} ± {std:.{decimals}f}"
        assert shown in markdown
        if row["difference"]:
            shown = page.values[float(row["difference"])].replace("\N{MINUS SIGN}", "-")
            assert float(shown) == pytest.approx(
                float(row["difference"]), abs=0.5 * 10 ** -len(shown.partition(".")[2])
            )


def test_csv_is_what_numpy_says_of_its_seeds(full):
    _, _, rows = full
    by_place = {(row["group"], row["score"]): row for row in rows}
    values = {
        place: {seed: float(value) for seed, value in (pair.split(":") for pair in row["values_by_seed"].split())}
        for place, row in by_place.items()
    }
    for (group, score), row in by_place.items():
        ours = list(values[group, score].values())
        assert float(row["mean"]) == pytest.approx(np.mean(ours))
        assert float(row["std_over_seeds"]) == pytest.approx(np.std(ours, ddof=1))
        assert (float(row["min"]), float(row["max"])) == (min(ours), max(ours))
        assert row["paper_value"] == {"digits-IS": "7.34", "digits-FID": "28.0"}[score]
        if group in "abc":
            assert row["baseline"] == row["difference"] == ""
            continue
        assert row["baseline"] == group[0]
        theirs = values[group[0], score]
        differences = [values[group, score][seed] - theirs[seed] for seed in theirs]
        assert float(row["difference"]) == pytest.approx(np.mean(differences))
        assert (float(row["low"]), float(row["high"])) == pytest.approx((min(differences), max(differences)))
        better = sum(value < 0 if score == "digits-FID" else value > 0 for value in differences)
        assert int(row["better_in"]) == better


def test_note_on_the_papers_fid_does_not_claim_to_know_its_real_images(full):
    page, markdown, _ = full
    for text in (page.words, markdown):
        assert re.search(r"does not say which real images.*most likely.*protocol paper.*never called.*paper_test", text)


def test_papers_values_are_labelled(full):
    page, markdown, _ = full
    assert "Table 6" in page.words
    assert "± is over splits" in page.words
    assert page.words.count("paper: 7.34 ± 0.09") == markdown.count("paper: 7.34 ± 0.09") == 9


def test_spread_over_splits_is_nowhere(full):
    page, markdown, rows = full
    assert not re.search(r"(?<![\d.])777\b", page.words + markdown + str(rows))


def test_curves_are_drawn_for_each_score_and_the_logits(full):
    page, _, _ = full
    labels = [attributes.get("aria-label") for tag, attributes in page.elements if tag == "svg"]
    assert [label for label in labels if label in ("digits-IS ↑", "digits-FID ↓", "D's logits: real minus fake")] == [
        "digits-IS ↑",
        "digits-FID ↓",
        "D's logits: real minus fake",
    ]


def test_samples_are_the_real_images_and_each_groups(full):
    page, _, _ = full
    alts = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert alts[0] == "Real images, digits"
    assert len(alts) == 1 + 9
    assert all(alt.endswith("seed 0, step 3,000") for alt in alts[1:])


def test_two_protocols_are_two_tables_and_said(tmp_path):
    make_run(tmp_path / "runs" / "gan", fid={3000: 1.25}, measurements=[gan_scores(3000, 50.5, FEW)])
    page, markdown, rows = report_of(tmp_path / "runs", tmp_path)
    for text in (page.words, markdown):
        assert "Scores, protocol 1 of 2" in text
        assert "Scores, protocol 2 of 2" in text
        assert "not compare" in text
        assert "FID grows as images become fewer" in text
    tables = [attributes for tag, attributes in page.elements if tag == "table" and attributes.get("class") == "scores"]
    assert len(tables) == 2
    fids = {row["protocol"]: float(row["mean"]) for row in rows if row["score"] == "digits-FID"}
    assert fids == {"small": 1.25, "small with num_fake 500": 50.5}
    assert len({row["protocol_digest"] for row in rows}) == 2


def test_unfinished_and_unscored_runs_are_marked_and_named(tmp_path):
    runs = tmp_path / "runs"
    make_run(runs / "gan" / "seed-0", seed=0, fid={1000: 3.0, 2000: 2.0}, steps_done=2500)
    make_run(runs / "gan_fr" / "seed-0", FR, seed=0, fid={1000: 3.0, 3000: 1.0})
    make_run(runs / "gan_fr" / "seed-1", FR, seed=1, steps_done=500)
    make_run(runs / "gan_fr_ff" / "seed-0", FR_FF, steps_done=1500)
    page, markdown, rows = report_of(runs, tmp_path)
    for text in (page.words, markdown):
        assert "at step 2,000 of 3,000" in text
        assert re.search(rf"{runs}/gan_fr/seed-1 has no score.* 500 of 3,000", text)
        assert f"{runs}/gan_fr_ff/seed-0 has no score" in text
        assert re.search(r"step 3,000\b.{,30} step 2,000\b", text)
    assert {(row["group"], row["step"], row["n_seeds"]) for row in rows} == {
        ("gan", "2000", "1"),
        ("gan_fr", "3000", "1"),
    }


def test_diverged_run_without_a_last_score_is_shown_where_it_was_scored(tmp_path):
    make_run(tmp_path / "runs" / "gan", fid={1000: 3.0, 2000: math.inf}, steps_done=2000)
    page, _, rows = report_of(tmp_path / "runs", tmp_path)
    assert re.search(r"step 2,000\b.* not finite", page.words)
    assert "diverged" in page.words
    assert {row["step"] for row in rows} == {"1000"}


def test_one_run_with_one_seed_has_no_spread_and_no_samples_are_no_error(tmp_path):
    make_run(tmp_path / "runs" / "gan", fid={3000: 1.5}, samples=False, hardware=None)
    page, markdown, rows = report_of(tmp_path / "runs", tmp_path)
    assert page.values == {8.5: "8.50", 1.5: "1.50"}
    assert [(row["std_over_seeds"], row["n_seeds"], row["difference"]) for row in rows] == [("", "1", "")] * 2
    assert "no samples" in page.words
    assert "hardware: not recorded" in markdown


def test_reference_file_has_no_count_and_inception_no_prefix(tmp_path):
    protocol = FEW | {"extractor": "inception", "reference": {"file": "stats.npz", "num": None, "digest": 64 * "e"}}
    make_run(tmp_path / "runs" / "gan", measurements=[gan_scores(3000, 2.5, protocol)])
    page, _, rows = report_of(tmp_path / "runs", tmp_path)
    assert re.search(r"unknown number .*stats\.npz\) \[eeeeeeee\]", page.words)
    assert [(row["score"], row["mean"], row["num_real"]) for row in rows] == [("IS", "7.5", ""), ("FID", "2.5", "")]


def test_names_cannot_write_into_the_page(tmp_path):
    row = paper(EVIL.replace("'", "''"), spreads="IS: 1", IS=7, FID=20)
    for seed in range(2):
        evil = [gan_scores(step, seed + 1.0, PROTOCOL | {"extractor": EVIL}) for step in (2000, 3000)]
        make_run(tmp_path / "runs" / "gan" / f"seed-{seed}", row, seed=seed, hardware=EVIL, measurements=evil)
    page, markdown, _ = report_of(tmp_path / "runs", tmp_path)
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.elements}
    assert EVIL in page.words
    assert "\\<script\\>alert(1)\\</script\\> & 'x' \\| $y$" in markdown
    assert "| <script>" not in markdown


def test_lead_says_what_came_out_on_what_by_what(tmp_path):
    make_group(tmp_path / "runs" / "gan", fids=[3.0, 3.1, 3.2])
    make_group(tmp_path / "runs" / "gan_fr", FR, fids=[2.0, 2.2, 2.4])
    page, _, _ = report_of(tmp_path / "runs", tmp_path)
    lead = page.words.partition("Scores")[0]
    assert re.search(r"gan_fr against gan: FID .*lower by 0\.90 \(range of 3 seeds 0\.80 to 1\.00, .*3 of 3\)", lead)
    assert re.search(r"3 seeds would agree in 1 of 4", lead)
    assert "2 methods (6 runs) were trained on digits for 3,000 steps" in lead
    assert re.search(r"10,000 generated .*12,000 real .*\(digits train\)", lead)


def test_lead_counts_many_comparisons(full):
    page, _, rows = full
    fids = [row for row in rows if row["score"] == "digits-FID" and row["difference"]]
    assert len(fids) == 6
    better = sum(float(row["high"]) < 0 for row in fids)
    worse = sum(float(row["low"]) > 0 for row in fids)
    assert better + worse < 6
    lead = page.words.partition("Scores")[0]
    assert f"{better or 'none'} of 6 methods" in lead
    assert re.search(rf"{6 - better - worse} shows? no clear difference", lead)


def test_lead_does_not_judge_by_one_seed(tmp_path):
    make_run(tmp_path / "runs" / "gan", fid={3000: 3.0})
    make_run(tmp_path / "runs" / "gan_fr", FR, fid={3000: 2.0})
    make_run(tmp_path / "runs" / "gan_fr_ff", FR_FF, fid={3000: 4.0})
    page, _, _ = report_of(tmp_path / "runs", tmp_path)
    assert re.search(r"1 of 2 methods is better .*one seed\. One seed cannot tell", page.words)


def test_configs_are_told_apart_by_what_differs(tmp_path):
    make_run(tmp_path / "runs" / "gan", fid={3000: 1.0})
    make_run(tmp_path / "runs" / "other", "training.lr=1e-3", FR, fid={3000: 1.0})
    _, markdown, _ = report_of(tmp_path / "runs", tmp_path)
    assert "| `training.lr` | 0.0002 | 0.001 |" in markdown
    assert "| `mixup` | no mixup | FR at input, alpha 0.2 |" in markdown
    assert "`training.steps`" not in markdown


def test_unlike_machines_are_a_warning(tmp_path):
    make_run(tmp_path / "runs" / "gan", fid={3000: 1.0}, hardware="one")
    make_run(tmp_path / "runs" / "gan_fr", FR, "device.bf16=true", fid={3000: 1.0}, hardware="two")
    page, markdown, _ = report_of(tmp_path / "runs", tmp_path)
    for text in (page.words, markdown):
        assert set(re.findall(r"differ in '(.*?)'", text)) == {"hardware", "arithmetic"}
        assert "one (1 run); two (1 run)" in text


def test_time_and_speed_are_over_all_seeds(tmp_path):
    for seed, speed in enumerate((500.0, 1000.0)):
        make_run(tmp_path / "runs" / "gan" / f"seed-{seed}", seed=seed, fid={3000: 1.0}, speed=speed)
    _, markdown, _ = report_of(tmp_path / "runs", tmp_path)
    # 3000 steps of 100 images: 600 s and 300 s.
    assert "| `gan` | 3,000 of 3,000 | 8 min | 750 |" in markdown


def test_large_colour_images_stay_small(tmp_path):
    run = make_run(tmp_path / "runs" / "gan", fid={3000: 1.0}).path
    noise = np.random.default_rng(0).integers(256, size=(1000, 1000, 3), dtype=np.uint8)
    for name in ("reals", "fakes_003000"):
        Image.fromarray(noise).save(run / "samples" / f"{name}.png")
    write_report([tmp_path / "runs"], tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 700_000


def test_runs_are_only_read(tmp_path):
    run = make_run(tmp_path / "runs" / "gan", fid={3000: 1.0}).path
    before = {path: (path.stat().st_mtime_ns, path.is_dir() or path.read_bytes()) for path in run.rglob("*")}
    write_report([tmp_path / "runs"], tmp_path / "report")
    assert {path: (path.stat().st_mtime_ns, path.is_dir() or path.read_bytes()) for path in run.rglob("*")} == before


def test_nothing_scored_is_an_error_that_says_what_would_score(tmp_path):
    make_run(tmp_path / "gan")
    with pytest.raises(UserError, match=rf"python -m ganmix evaluate {tmp_path}"):
        write_report([tmp_path], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(UserError, match="there is no run here"):
        write_report([tmp_path], tmp_path / "report")


def test_row_without_a_fid_in_the_paper_has_none_beside_ours(tmp_path):
    make_run(tmp_path / "runs" / "quoted", paper("WGAN-GP", spreads="IS: 0.08", IS=7.86), WASSERSTEIN, fid={3000: 1.0})
    make_run(tmp_path / "runs" / "gan", paper("GAN-GP", spreads="IS: 0.08", IS=7.3, FID=30.2), fid={3000: 2.0})
    _, markdown, rows = report_of(tmp_path / "runs", tmp_path)
    papers = {(row["group"], row["score"]): row["paper_value"] for row in rows if row["score"].endswith(("IS", "FID"))}
    assert papers == {
        ("gan", "digits-IS"): "7.3",
        ("gan", "digits-FID"): "30.2",
        ("quoted", "digits-IS"): "7.86",
        ("quoted", "digits-FID"): "",
    }
    assert "| WGAN-GP (`quoted`) | 9.00 (paper: 7.86 ± 0.08) | 1.00 | 1 |" in markdown


LIGHT = """
import sys
from pathlib import Path

from ganmix.report import write_report

heavy = {"torch", "torchvision", "tensorboard", "matplotlib", "jinja2", "PIL"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
write_report([Path(sys.argv[1])], Path(sys.argv[2]))
assert not {"torch", "torchvision", "tensorboard"} & set(sys.modules)
"""


def test_report_needs_no_torch_and_draws_only_when_it_writes(tmp_path):
    runs, output = tmp_path / "runs", tmp_path / "report"
    make_run(runs / "gan", fid={2000: 1.0, 3000: 1.0})
    make_classifiers(runs / "plain", accuracies=[90.0, 91.0, 92.0])
    make_classifiers(runs / "mixed", HIDDEN, accuracies=[91.0, 92.0, 93.0])
    child = subprocess.run([sys.executable, "-c", LIGHT, runs, output], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    page = Page(output / "report.html")
    assert len([tag for tag, _ in page.elements if tag == "img"]) == 2
    assert {row.group.name for chapter in gather([runs]).chapters for row in chapter.table.rows} == {
        "gan",
        "plain",
        "mixed",
    }
