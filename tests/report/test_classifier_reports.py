import csv
import io
import re
from pathlib import Path
from statistics import fmean, stdev

import pytest
from made_runs import (
    ATTACKS,
    CLEAN,
    DEFORMATIONS,
    DEFORMED,
    FR,
    HIDDEN,
    INPUT,
    INTERPOLATION,
    UNBOUNDED,
    VALIDATION,
    clean_scores,
    deformed_scores,
    interpolation_scores,
    make_classifier_run,
    make_classifiers,
    make_group,
    make_run,
    measured,
    paper,
)

from ganmix.commands import evaluate, train_classifier
from ganmix.engine.run_folder import RunFolder
from ganmix.report.contents import gather
from ganmix.report.figures import dashes_in_words, lambda_lines, score_lines, styles
from ganmix.report.page import to_html
from ganmix.report.prose import sentence
from ganmix.report.text import to_csv, to_markdown

BLOCKED = "mixup={alpha: 2, stages: [0, layer1], block_gradients: true}"
CUTMIX = "cutmix={alpha: 1}"
SEMI = "semi_supervised={mixup: {alpha: 2, stages: [input, layer1]}, weight: 2}"
FEW_LABELS = "data={name: digits, labels_per_class: 10}"
BY_VALIDATION = CLEAN | {"selected_by": "validation"}
BY_TEST = CLEAN | {"selected_by": "test"}
SMALL_CONFIG = """\
data: {name: digits}
network: {name: conv, width: 4}
training: {steps: 5, batch_size: 20}
evaluation: {every: null, num_test: 20, attacks: {pgd_steps: 2, unbounded_steps: 3}}
device: {name: cpu}
"""
TITLES = ["Clean test images", "Attacks", "Unbounded attack", "Deformations", "Interpolations"]
WARNING = "no honest estimate"


def rows_of(report):
    return list(csv.DictReader(io.StringIO(to_csv(report))))


def titles(report):
    return [chapter.title for chapter in report.chapters]


def details(report):
    return {chapter.title: "; ".join(chapter.table.protocol.details) for chapter in report.chapters}


def metrics_of(columns):
    return [column.score.metric for column in columns]


def with_paper(table):
    return [column.score.metric for column in table.columns if table.paper(table.rows[0].group, column)]


def words(text):
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<(style|svg).*?</\1>", " ", text)).split())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Three methods with three seeds each, scored in every way, and a page of them."""
    folder = tmp_path_factory.mktemp("full")
    for place, (name, mixup) in enumerate({"none": "mixup=null", "input": INPUT, "hidden": HIDDEN}.items()):
        deformed = {f"{metric} {at}": 50.0 - number for number, (metric, at) in enumerate(DEFORMED)}
        values = {"accuracy": 94.88 + 1.618 * place, "nll": 0.2646 - place / 16, "FGSM": 36.32 + place, **deformed}
        row = paper(f"Row {name}", "Tables 1 and 5", **values)
        for seed in range(3):
            last = 90 + place + seed / 4
            found = [
                *(clean_scores(step, last - 1000 / step) for step in (500, 1000, 2000)),
                clean_scores(3000, last),
                measured(3000, {"FGSM": 40 + place - seed / 2, "PGD": 1.0}, ATTACKS),
                measured(3000, {"unbounded PGD": 0.0 + place}, UNBOUNDED),
                deformed_scores(3000, 30.0 + place),
                interpolation_scores(3000, input=[0.5, 2.0 + seed, 0.5], layer1=[0.5, 3.0 - place, 0.5]),
            ]
            make_classifier_run(folder / name / f"seed-{seed}", mixup, row, seed=seed, measurements=found)
    report = gather([folder / name for name in ("none", "input", "hidden")])
    return report, to_html(report), to_markdown(report)


def test_each_protocol_is_a_chapter_titled_by_what_it_is_with_clean_images_first(full):
    report, page, markdown = full
    assert titles(report) == TITLES
    for title in titles(report):
        assert f"<h2>{title}</h2>" in page
        assert f"## {title}\n" in markdown


def test_protocols_that_measure_unlike_things_need_no_warning(full):
    report, page, markdown = full
    assert [chapter.warnings for chapter in report.chapters] == [[]] * 5
    assert "do not compare" not in page + markdown


def test_protocols_of_one_kind_are_numbered_and_said_not_to_compare(tmp_path):
    weaker = ATTACKS | {"epsilon": 0.01}
    found = [measured(3000, {"FGSM": value}, protocol) for value, protocol in ((20.0, ATTACKS), (60.0, weaker))]
    make_classifier_run(tmp_path / "only", accuracy={3000: 90.0}, measurements=found)
    report = gather([tmp_path])
    assert titles(report) == ["Clean test images", "Attacks, protocol 1 of 2", "Attacks, protocol 2 of 2"]
    assert report.chapters[0].warnings == []
    for chapter in report.chapters[1:]:
        (warning,) = chapter.warnings
        assert "2 protocols" in warning
        assert warning.endswith("differ in: epsilon.")


def test_words_say_what_was_done_to_which_images(full):
    said = details(full[0])
    expected = {
        "Clean test images": ["359 test images of digits [5e5e5e5e]", "no moving average"],
        "Attacks": ["FGSM and PGD", "at most 0.03 of its range", "20 steps of 0.0075", "uniform in the ball"],
        "Unbounded attack": ["300 test images", "any amount", "200 steps of 0.01"],
        "Deformations": ["black outside", "bilinear interpolation"],
        "Interpolations": ["each image with one of a random permutation of all", "mean over 3 values of lambda"],
    }
    for title, parts in expected.items():
        assert all(part in said[title] for part in parts), title
        assert not re.search(
            r"[a-z]: (?!each|the mean|200 steps|the accuracy)", said[title]
        )  # no raw key with its value


def test_part_of_a_protocol_without_words_is_shown_with_its_key(tmp_path):
    for what in ("clean", "a new one"):
        protocol = CLEAN | {"what": what, "ece_bins": 15}
        make_classifier_run(tmp_path / what, measurements=[measured(3000, {"novelty": 1.0}, protocol)])
        report = gather([tmp_path / what])
        (text,) = details(report).values()
        assert "ece bins: 15" in text
    assert titles(report) == ["a new one"]


def test_attack_in_normalised_space_is_said(tmp_path):
    weak = ATTACKS | {"space": "normalised", "clamp": False}
    row = paper("Row", "Table 5", FGSM=40)
    make_classifier_run(tmp_path / "only", row, measurements=[measured(3000, {"FGSM": 20.0}, weak)])
    report = gather([tmp_path])
    assert "at most 0.03 standard deviations of its channel, clamped to no range" in details(report)["Attacks"]
    assert "attacked as in the authors' code" in report.chapters[0].footnotes[-1]


@pytest.mark.parametrize(("epsilon", "shown"), [(0.03, 1), (0.029, 0), (0.1, 0)])
def test_papers_fgsm_stands_beside_scores_of_its_epsilon_only(epsilon, shown, tmp_path):
    found = [measured(3000, {"FGSM": 20.0}, ATTACKS | {"epsilon": epsilon})]
    row = paper("Row", "Table 5", FGSM=40)
    make_classifier_run(tmp_path / "only", row, accuracy={3000: 90.0}, measurements=found)
    report = gather([tmp_path])
    _, attacks = report.chapters
    assert with_paper(attacks.table) == ["FGSM"] * shown
    assert [title for title, _ in report.leads[0].others] == ["Attacks"]  # the score itself is reported all the same
    assert ("(paper: 40" in to_markdown(report)) == bool(shown)


def test_log_and_report_agree_on_what_a_protocol_says(tmp_path, monkeypatch):
    """Trains, evaluates and reports a small network: what the tests above make up is what the product writes."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(SMALL_CONFIG)
    made = {"clean": CLEAN, "attacks": ATTACKS, "unbounded": UNBOUNDED}
    made |= {"deformations": DEFORMATIONS, "interpolation": INTERPOLATION}
    assert train_classifier(["config.yaml"]) == 0
    assert evaluate(["runs/config", "--what", ",".join(made)]) == 0
    written = {each.protocol["what"]: each.protocol for each in RunFolder(Path("runs/config")).measurements}
    assert {what: {*protocol} for what, protocol in written.items()} == {what: {*keys} for what, keys in made.items()}
    for what, protocol in made.items():
        words = {key for key, value in protocol.items() if isinstance(value, str)} - {"dataset", "digest"}
        assert {key: written[what][key] for key in words} == {key: protocol[key] for key in words}
    report = gather([Path("runs/config")])
    assert titles(report) == TITLES
    assert all("20 test images of digits" in text for title, text in details(report).items() if title != TITLES[0])
    assert report.notes == []


def test_lead_is_about_clean_accuracy_and_the_other_measures_follow(full):
    report, page, markdown = full
    (lead,) = report.leads
    assert lead.text.startswith("By accuracy, 2 of 2 methods are better than the baseline: Row input and Row hidden.")
    assert "3 methods (9 runs) were trained on digits (conv, width 4, downsample stride) for 3,000 steps" in lead.text
    assert "359 test images of digits" in lead.text
    assert [title for title, _ in lead.others] == titles(report)[1:]
    assert lead.others[0][1].startswith("By FGSM, 2 of 2 methods are better")
    assert lead.others[1][1].startswith("Row none: unbounded PGD 0.00 ± 0.00 %.")
    for text in (words(page), markdown):
        assert lead.text in text
        assert f"Attacks. {lead.others[0][1]}" in text


def test_better_is_up_for_accuracies_and_down_for_losses_and_a_check_is_not_judged(full):
    report, _, _ = full
    arrows = {column.score.metric: column.arrow for chapter in report.chapters for column in chapter.table.columns}
    deformations = {metric for metric, _ in DEFORMED} | {"mean of deformations"}
    assert {arrows[name] for name in ("accuracy", "FGSM", "PGD", *deformations)} == {"↑"}
    assert {arrows[name] for name in ("nll", "ece", "brier", "mixed nll")} == {"↓"}
    assert arrows["unbounded PGD"] == ""
    unbounded = report.chapters[2]
    assert (unbounded.comparisons, unbounded.pairing_notes) == ([], [])


def test_accuracies_have_two_decimals_a_unit_and_differences_in_points(full):
    report, page, markdown = full
    table = report.chapters[0].table
    assert (table.columns[0].head, table.columns[0].decimals) == ("accuracy, % ↑", 2)
    assert "90.25 ± 0.25" in markdown
    assert "1.00 points" in sentence(report.chapters[0].comparisons[0].differences[0])
    assert "| accuracy, % ↑ | NLL ↓ | ECE ↓ | Brier score ↓ |" in markdown
    assert "<small>%</small>accuracy ↑" in page


def test_csv_is_what_statistics_says_of_the_seeds(full):
    found = {(row["group"], row["protocol"], row["score"]): row for row in rows_of(full[0])}
    row = found["hidden", "Clean test images", "accuracy"]
    accuracies = [92.0, 92.25, 92.5]
    assert float(row["mean"]) == pytest.approx(fmean(accuracies))
    assert float(row["std_over_seeds"]) == pytest.approx(stdev(accuracies))
    assert (row["baseline"], row["n_pairs"], float(row["difference"])) == ("none", "3", 2.0)
    assert (row["dataset"], row["num_real"], row["unit"], row["num_fake"]) == ("digits", "359", "%", "")
    assert float(row["paper_value"]) == pytest.approx(94.88 + 2 * 1.618)
    assert found["hidden", "Interpolations", "mixed nll input"]["unit"] == ""


def test_papers_values_and_differences_stand_beside_ours_with_its_decimals(full):
    report, page, markdown = full
    clean, attacks, _, deformed, mixed = report.chapters
    assert with_paper(clean.table) == ["accuracy", "nll"]
    assert with_paper(attacks.table) == ["FGSM"]
    assert len(with_paper(deformed.table)) == 18
    assert with_paper(mixed.table) == []
    for value in ("94.88", "0.2646", "96.498", "0.2021"):
        assert f"paper: {value}" in markdown
        assert f"<small>paper: {value}</small>" in page
    shown = [difference.show_paper() for difference in clean.comparisons[0].differences]
    assert shown == ["+1.618", "\N{MINUS SIGN}0.0625", None, None]


def test_papers_footnote_names_tables_and_whose_epoch(full):
    report, _, _ = full
    note = report.chapters[0].footnotes[-1]
    assert "Tables 1 and 5 (arXiv 1806.05236 v1)" in note
    assert "best test accuracy" in note
    assert not any("arXiv" in note for note in report.chapters[4].footnotes)
    assert any("normalised images" in note for note in report.chapters[1].footnotes)


def test_rows_of_several_tables_are_named_by_table(tmp_path):
    make_classifier_run(tmp_path / "a", paper("One", "Table 1", accuracy=95), accuracy={3000: 90.0})
    make_classifier_run(tmp_path / "b", HIDDEN, paper("Two", "Section 4.1", accuracy=96), accuracy={3000: 91.0})
    make_classifier_run(tmp_path / "c", INPUT, paper("Three", "Table 5", FGSM=40), accuracy={3000: 91.0})
    (chapter,) = gather([tmp_path]).chapters
    assert "Table 1 (One), Section 4.1 (Two) (arXiv" in chapter.footnotes[-1]
    assert "Table 5" not in chapter.footnotes[-1]


def test_papers_spread_is_labelled_by_what_it_is(tmp_path):
    row = paper("Row", "Table 4", spreads="accuracy: 0.62", accuracy=93.46)
    make_classifier_run(tmp_path / "only", row, accuracy={3000: 90.0})
    markdown = to_markdown(gather([tmp_path]))
    assert "± is over 5 trials" in markdown
    assert "(paper: 93.46 ± 0.62)" in markdown


def test_many_scores_go_down_and_methods_across(full):
    report, page, markdown = full
    deformed = report.chapters[3].table
    assert [chapter.table.is_transposed for chapter in report.chapters] == [False, False, False, True, False]
    assert metrics_of(deformed.columns) == ["mean of deformations", *(metric for metric, _ in DEFORMED)]
    assert "| method | Row none (`none`) | Row input (`input`) | Row hidden (`hidden`) |" in markdown
    mean = fmean(range(30, 47))
    assert f"| mean of 17 deformations, % ↑ | {mean:.2f} ± 0.00 (paper: 42.00) | {mean + 1:.2f}" in markdown
    assert "| rotation ±20°, % ↑ | 30.00 ± 0.00 (paper: 50.00) |" in markdown
    assert re.search(r"Of the 17 other scores, 17 are better, 0 .* 0 ", markdown)
    assert re.search(r"<tr>\s*<th scope=\"row\">zoom out to 180 %, % ↑</th>", page)


def test_methods_are_in_words(tmp_path):
    overrides = {
        "a": ["mixup=null"],
        "b": [INPUT],
        "c": [BLOCKED, "loss.label_smoothing=0.1"],
        "d": [CUTMIX],
        "e": [FEW_LABELS, SEMI, "mixup={alpha: 0.1, stages: [1], lam_per: sample}"],
        "f": [FEW_LABELS, SEMI],
    }
    for name, some in overrides.items():
        make_classifier_run(tmp_path / name, *some, accuracy={3000: 90.0})
    report = gather([tmp_path])
    methods = {group.name: group.words.method for group in report.groups}
    unlabelled = "unlabelled mixup at input, layer1, alpha 2, weight 2.0"
    assert methods == {
        "a": "no mixup",
        "b": "mixup at input, alpha 1",
        "c": "mixup at input, layer1, alpha 2, block_gradients true",
        "d": "CutMix, alpha 1",
        "e": f"semi-supervised: labelled mixup at stage 1, alpha 0.1, lam_per sample; {unlabelled}",
        "f": f"semi-supervised: labelled not mixed; {unlabelled}",
    }
    ((groups, rows),) = report.config_differences
    cutmix = {group.name: words for group, words in zip(groups, dict(rows)["cutmix"], strict=True)}
    assert cutmix == dict.fromkeys("abcef", "no CutMix") | {"d": "CutMix, alpha 1"}


def test_baseline_equals_a_group_but_for_all_that_mixes(tmp_path):
    overrides = {"base": [], "cut": [CUTMIX], "hidden": [HIDDEN], "semi": [SEMI, INPUT]}
    for name, some in overrides.items():
        make_classifier_run(tmp_path / name, FEW_LABELS, *some, accuracy={3000: 90.0})
    make_classifier_run(tmp_path / "other", HIDDEN, accuracy={3000: 90.0})
    report = gather([tmp_path])
    bases = {group.name: group.baseline and group.baseline.name for group in report.groups}
    assert bases == {"base": None, "cut": "base", "hidden": "base", "semi": "base", "other": None}
    (note,) = [note for note in report.notes if "no baseline" in note]
    assert note.startswith("other ")


def test_dashes_tell_what_is_mixed_and_only_used_ones_are_explained(tmp_path):
    overrides = {"none": [], "cut": [CUTMIX], "input": [INPUT], "hidden": [HIDDEN], "blocked": [BLOCKED]}
    for name, some in overrides.items():
        make_classifier_run(tmp_path / name, *some, accuracy={3000: 90.0})
    make_classifier_run(tmp_path / "semi", FEW_LABELS, SEMI, INPUT, accuracy={3000: 90.0})
    groups = {group.name: group for group in gather([tmp_path]).groups}
    dashes = {group.name: style.dashes for group, style in styles(list(groups.values())).items()}
    assert dashes["none"] == ""
    assert dashes["semi"] == dashes["hidden"]
    assert len(set(dashes.values())) == 5
    assert dashes_in_words(styles([groups["none"], groups["input"]])) == "Solid: no mixup; dashed: mixup at the input"


def test_page_of_classifiers_alone_does_not_speak_of_gans(full):
    report, page, markdown = full
    text = words(page) + markdown
    assert not re.search(r"\b(FID|IS|G|G's|D's|FR|GAN|GANs|generated|splits)\b", text)
    assert "Samples" not in text
    assert "last training step" in text
    assert report.title == "Did mixup help?"


def test_scores_over_steps_and_loss_over_lambda_are_curves(full):
    report, page, _ = full
    labels = re.findall(r'<svg role="img" aria-label="([^"]*)"', page)
    drawn = [label for label in labels if label.endswith(("↑", "↓"))]
    assert drawn == [
        *("accuracy, % ↑", "NLL ↓", "ECE ↓", "Brier score ↓"),
        *("NLL of mixes at input ↓", "NLL of mixes at layer1 ↓"),
    ]
    table = report.chapters[4].table
    lines = lambda_lines(table.rows, styles(report.groups))
    assert list(lines) == ["input", "layer1"]
    assert len(lines["input"]) == 3
    first, *_ = lines["input"]
    assert list(first.x) == [0.0, 0.5, 1.0]
    assert (first.mean, first.low, first.high) == ([0.5, 3.0, 0.5], [0.5, 2.0, 0.5], [0.5, 4.0, 0.5])
    assert [line.mean[1] for line in lines["layer1"]] == [3.0, 2.0, 1.0]


def test_long_curves_are_thinned_and_keep_their_end(tmp_path):
    make_classifier_run(tmp_path / "only", accuracy={step: 90.0 + step / 1000 for step in range(5, 3001, 5)})
    report = gather([tmp_path])
    table = report.chapters[0].table
    (line,) = score_lines(table.rows, table.columns[0], styles(report.groups))
    assert 150 <= len(line.x) <= 200
    assert (line.x[-1], line.mean[-1]) == (3000, 93.0)


def test_chosen_networks_have_chapters_of_their_own(tmp_path):
    for seed in range(3):
        found = [
            clean_scores(3000, 90.0),
            clean_scores(3000, 92.0, BY_TEST, checkpoint=1000 + seed),
            clean_scores(3000, 91.0, BY_VALIDATION, checkpoint=2000 + seed),
            clean_scores(3000, 88.0, VALIDATION),
        ]
        make_classifier_run(tmp_path / f"seed-{seed}", seed=seed, measurements=found)
    report = gather([tmp_path])
    assert titles(report) == [
        "Clean test images at the best validation accuracy",
        "Clean test images",
        "Clean test images at the best test accuracy",
        "Validation images",
    ]
    assert [len(chapter.table.rows[0].seeds) for chapter in report.chapters] == [3, 3, 3, 3]
    assert [any(WARNING in text for text in chapter.warnings) for chapter in report.chapters] == [0, 0, 1, 0]
    assert "at the best validation accuracy" in report.leads[0].text
    assert report.leads[0].others[1][1].endswith(f"{WARNING}.")
    assert [title for title, _ in report.leads[0].others] == titles(report)[1:3]
    assert report.notes == []
    markdown = to_markdown(report)
    assert "step 2,000 to 2,002 of 3,000" in markdown
    assert "step 1,000 to 1,002 of 3,000" in markdown
    assert f"{WARNING}.**" in markdown
    of_last_step = ["last training step" in " ".join(chapter.footnotes) for chapter in report.chapters]
    assert of_last_step == [False, True, False, True]
    assert WARNING in words(to_html(report))


def test_last_network_beside_chosen_ones_is_no_omission(tmp_path):
    found = [clean_scores(3000, 90.0), clean_scores(3000, 91.0, BY_VALIDATION, checkpoint=2000)]
    make_classifier_run(tmp_path / "selected", measurements=[*found, clean_scores(3000, 88.0, VALIDATION)])
    make_classifier_run(tmp_path / "last", HIDDEN, accuracy={3000: 90.0})
    report = gather([tmp_path])
    assert titles(report)[0] == "Clean test images"  # of more runs
    assert report.notes == []


def test_attacks_on_a_network_chosen_by_test_images_are_marked(tmp_path):
    found = [measured(3000, {"FGSM": 20.0}, ATTACKS | {"selected_by": "test"}, checkpoint=1000)]
    make_classifier_run(tmp_path / "only", measurements=found)
    report = gather([tmp_path])
    assert titles(report) == ["Attacks at the best test accuracy"]
    assert WARNING in report.chapters[0].warnings[0]
    assert WARNING in report.leads[0].text


def test_papers_test_scores_do_not_stand_beside_validation_images(tmp_path):
    make_classifier_run(
        tmp_path / "only",
        paper("Row", "Table 1", accuracy=95),
        measurements=[clean_scores(3000, 90.0, VALIDATION), clean_scores(3000, 91.0)],
    )
    assert [len(with_paper(chapter.table)) for chapter in gather([tmp_path]).chapters] == [1, 0]


def test_folder_of_both_kinds_has_a_lead_and_chapters_of_each(tmp_path):
    make_classifiers(tmp_path / "plain", accuracies=[90.0, 91.0, 92.0])
    make_classifiers(tmp_path / "mixed", HIDDEN, accuracies=[91.0, 92.0, 93.0])
    make_classifier_run(
        tmp_path / "svhn", "data.name=svhn", measurements=[clean_scores(3000, 80.0, CLEAN | {"dataset": "svhn"})]
    )
    make_group(tmp_path / "gan", fids=[3.0, 3.1, 3.2])
    make_group(tmp_path / "gan_fr", FR, fids=[2.0, 2.2, 2.4])
    report = gather([tmp_path])
    assert titles(report) == ["Clean test images (digits)", "Clean test images (svhn)", "Scores (GANs)"]
    assert [chapter.warnings for chapter in report.chapters] == [[], [], []]
    assert [lead.subject for lead in report.leads] == ["digits", "svhn", "GANs"]
    assert re.search(r"mixed against plain: accuracy .*higher by 1\.00 points", report.leads[0].text)
    assert re.search(r"gan_fr against gan: FID .*lower by 0\.90", report.leads[2].text)
    assert "3 runs" not in report.leads[0].text
    assert report.notes == []
    tables = [
        ({group.name for group in groups}, [key for key, _ in rows]) for groups, rows in report.config_differences
    ]
    assert tables == [({"gan", "gan_fr"}, ["mixup"]), ({"mixed", "plain", "svhn"}, ["data.name", "mixup"])]
    page = to_html(report)
    assert len(re.findall("<figcaption>", page)) == 3
    assert "D's logits: real minus fake" in page
    assert {row["protocol"] for row in rows_of(report)} == {"Clean test images", "small"}


def test_lead_counts_the_unscored_runs_of_its_own_subject(tmp_path):
    make_classifier_run(tmp_path / "plain", accuracy={3000: 90.0})
    make_run(tmp_path / "gan", fid={3000: 2.0})
    make_run(tmp_path / "gan_fr", FR)
    classifiers, gans = gather([tmp_path]).leads
    assert "Not complete" not in classifiers.text
    assert re.search(r"Not complete: 1 run ", gans.text)


def test_named_baseline_is_that_of_its_subject_alone(tmp_path):
    make_classifier_run(tmp_path / "plain", accuracy={3000: 90.0})
    make_classifier_run(tmp_path / "mixed", HIDDEN, accuracy={3000: 91.0})
    make_run(tmp_path / "gan", fid={3000: 2.0})
    make_run(tmp_path / "gan_fr", FR, fid={3000: 1.0})
    bases = {group.name: group.baseline and group.baseline.name for group in gather([tmp_path], "mixed").groups}
    assert bases == {"mixed": None, "plain": "mixed", "gan": None, "gan_fr": "gan"}


def test_one_seed_has_no_spread_and_is_no_answer(tmp_path):
    make_classifier_run(tmp_path / "plain", accuracy={3000: 90.0})
    make_classifier_run(tmp_path / "mixed", HIDDEN, accuracy={3000: 91.0})
    report = gather([tmp_path])
    assert re.search(r"higher by 1\.00 points in one seed, .*cannot tell", report.leads[0].text)
    assert "| plain | 90.00 | 0.200 | 0.0250 | 0.0500 | 1 |" in to_markdown(report)


def test_methods_without_comparison_are_told_by_their_values(tmp_path):
    make_classifier_run(tmp_path / "plain", accuracy={3000: 90.0})
    report = gather([tmp_path])
    assert report.title == "Scores of classifier runs"
    assert report.leads[0].text.startswith("plain: accuracy 90.00 %. No ")


def test_missing_seed_is_said_where_it_is_missing(tmp_path):
    make_classifiers(tmp_path / "plain", accuracies=[90.0, 91.0, 92.0])
    make_classifiers(tmp_path / "mixed", HIDDEN, accuracies=[91.0, 92.0])
    RunFolder(tmp_path / "plain" / "seed-0").add_measurement(measured(3000, {"FGSM": 20.0}, ATTACKS))
    report = gather([tmp_path])
    clean, attacks = report.chapters
    (pairing,) = clean.pairing_notes
    assert re.search(r"mixed: seed 2 .*missing.* plain", pairing)
    assert "plain: seeds 1 and 2 are not scored at step 3,000 in 'Attacks'." in report.notes
    assert "mixed: not scored in 'Attacks'." in report.notes
    assert attacks.table.rows[0].seeds == [0]


def test_steps_are_those_of_the_session_or_else_of_the_config(tmp_path):
    epochs = "training={epochs: 3, batch_size: 50}"
    make_classifier_run(tmp_path / "a", epochs, accuracy={1000: 90.0}, steps_done=1000, total_steps=4000)
    make_classifier_run(tmp_path / "b", accuracy={1000: 90.0}, steps_done=1000, total_steps=None)
    make_classifier_run(tmp_path / "c", epochs, HIDDEN, accuracy={1000: 90.0}, steps_done=1000, total_steps=None)
    report = gather([tmp_path])
    assert {group.name: group.steps for group in report.groups} == {"a": 4000, "b": 3000, "c": 1000}
    marks = re.findall(r"\| (\w) \*(at step [\d,]+ of [\d,]+)\*", to_markdown(report))
    assert marks == [("a", "at step 1,000 of 4,000"), ("b", "at step 1,000 of 3,000")]


def test_training_time_counts_unlabelled_images_too(tmp_path):
    make_classifier_run(tmp_path / "a", FEW_LABELS, accuracy={3000: 90.0})
    make_classifier_run(tmp_path / "b", FEW_LABELS, SEMI, accuracy={3000: 90.0})
    seconds = {timing.group.name: timing.seconds for timing in gather([tmp_path]).timings}
    # 3000 steps of 50 labelled, and of 100 unlabelled images, at 1000 images/s
    assert seconds == pytest.approx({"a": 150.0, "b": 450.0})


def test_labels_and_network_are_said_in_the_lead(tmp_path):
    make_classifier_run(tmp_path / "only", FEW_LABELS, "network={name: preact_resnet}", accuracy={3000: 90.0})
    assert "on digits (10 labels a class; preact_resnet, depth 18, width 64)" in gather([tmp_path]).leads[0].text
