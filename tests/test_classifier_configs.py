"""The configs of the paper's classifier tables against the paper, whose numbers stand here again, as it prints them.

Rows without a config are other algorithms: Mean-Teacher, VAT and VAT-EM of Table 4, adversarial training of Table 5.
Table 4 has two configs a row: by the authors' code, which made its numbers, and by the text, which carries none.
"""

import re
from pathlib import Path

import pytest

from ganmix.config.classifier import ClassifierConfig
from ganmix.config.method import differences
from ganmix.config.reader import read_config

CONFIGS = Path(__file__).parent.parent / "configs" / "classifier"
FOLDERS = ("table1", "table2", "table4", "table7", "low_data", "ablation")
FILES = {
    f"{folder}/{path.stem}": path for folder in FOLDERS for path in sorted((CONFIGS / folder).rglob("*.yaml"))
}  # by table and row
ALL = {name: read_config(ClassifierConfig, path) for name, path in FILES.items()}

ACCURACY_AND_NLL = {  # Tables 1 and 2
    "table1/preact_resnet18_no_mixup": (94.88, 0.2646),
    "table1/preact_resnet18_input_mixup_zhang": (96.10, None),
    "table1/preact_resnet18_input_mixup": (96.498, 0.1945),
    "table1/preact_resnet18_manifold_mixup": (97.104, 0.1407),
    "table1/preact_resnet152_no_mixup": (95.797, 0.1994),
    "table1/preact_resnet152_input_mixup": (96.844, 0.2312),
    "table1/preact_resnet152_manifold_mixup": (97.238, 0.1419),
    "table1/preact_resnet152_manifold_mixup_all_layers": (97.622, 0.0957),
    "table2/preact_resnet18_no_mixup_zhang": (74.4, None),
    "table2/preact_resnet18_no_mixup": (75.32, 1.284),
    "table2/preact_resnet18_input_mixup_zhang": (78.9, None),
    "table2/preact_resnet18_manifold_mixup": (78.95, 0.913),
    "table7/preact_resnet34_input_mixup": (77.208, 1.085),
    "table7/preact_resnet34_manifold_mixup": (79.609, 0.930),
    "ablation/preact_resnet18_blocked_400_epochs": (95.14, None),  # section 4.1
    "ablation/preact_resnet18_blocked_1200_epochs": (95.67, None),
}
TEST_ERRORS = {  # Table 4, with its +-
    "table4/cifar10_supervised": (20.26, 0.38),
    "table4/cifar10_input_mixup": (10.71, 0.44),
    "table4/cifar10_manifold_mixup": (10.26, 0.32),
    "table4/svhn_supervised": (12.83, 0.47),
    "table4/svhn_input_mixup": (6.54, 0.62),
    "table4/svhn_manifold_mixup": (5.70, 0.48),
    "low_data/preact_resnet152_manifold_mixup": (13.64, None),  # section 4.2
}
UNDER_FGSM = {  # Table 5
    "table1/preact_resnet18_no_mixup": 36.32,
    "table1/preact_resnet18_input_mixup": 71.51,
    "table1/preact_resnet18_manifold_mixup": 77.50,
    "table2/preact_resnet18_input_mixup": 40.7,
    "table2/preact_resnet18_manifold_mixup": 44.96,
}
DEFORMED = ("no_mixup", "input_mixup", "input_mixup_alpha2", "manifold_mixup")  # the columns of Table 7
TABLE_7 = {
    "rotation 20": (52.96, 55.55, 56.48, 60.08),
    "rotation 40": (33.82, 37.73, 36.78, 42.13),
    "rotation 60": (26.77, 28.47, 27.53, 33.78),
    "rotation 80": (24.19, 26.72, 25.34, 29.95),
    "shear 28.6": (55.92, 58.16, 60.01, 62.85),
    "shear 57.3": (35.66, 39.34, 39.7, 44.27),
    "shear 114.6": (19.57, 22.94, 22.8, 24.69),
    "shear 143.2": (17.55, 21.66, 21.22, 23.56),
    "shear 171.9": (22.38, 25.53, 25.27, 28.02),
    "zoom in 20": (2.43, 1.9, 2.45, 2.03),
    "zoom in 40": (4.97, 4.47, 5.23, 4.17),
    "zoom in 60": (12.68, 13.75, 13.12, 11.49),
    "zoom in 80": (47.95, 52.18, 50.47, 52.7),
    "zoom out 120": (43.18, 60.02, 61.62, 63.59),
    "zoom out 140": (19.34, 41.81, 42.02, 45.29),
    "zoom out 160": (11.12, 25.48, 25.85, 27.02),
    "zoom out 180": (7.98, 18.11, 18.02, 15.68),
}
BASELINES = {  # of each config that mixes; what else differs is where the run goes and what the paper says of it
    "table1/preact_resnet18_no_mixup": (
        "table1/preact_resnet18_input_mixup",
        "table1/preact_resnet18_manifold_mixup",
        "ablation/preact_resnet18_blocked_1200_epochs",
    ),
    "table1/preact_resnet152_no_mixup": (
        "table1/preact_resnet152_input_mixup",
        "table1/preact_resnet152_manifold_mixup",
        "table1/preact_resnet152_manifold_mixup_all_layers",
    ),
    "table2/preact_resnet18_no_mixup": ("table2/preact_resnet18_input_mixup", "table2/preact_resnet18_manifold_mixup"),
    "table2/preact_resnet18_no_mixup_zhang": ("table2/preact_resnet18_input_mixup_zhang",),
    "table4/cifar10_supervised": ("table4/cifar10_input_mixup", "table4/cifar10_manifold_mixup"),
    "table4/cifar10_supervised_text": ("table4/cifar10_input_mixup_text", "table4/cifar10_manifold_mixup_text"),
    "table4/svhn_supervised": ("table4/svhn_input_mixup", "table4/svhn_manifold_mixup"),
    "table4/svhn_supervised_text": ("table4/svhn_input_mixup_text", "table4/svhn_manifold_mixup_text"),
    "table7/preact_resnet34_no_mixup": (
        "table7/preact_resnet34_input_mixup",
        "table7/preact_resnet34_input_mixup_alpha2",
        "table7/preact_resnet34_manifold_mixup",
    ),
}
WITHOUT_BASELINE = {  # the paper has no number of theirs
    "table1/preact_resnet18_input_mixup_zhang",
    "low_data/preact_resnet152_manifold_mixup",
    "ablation/preact_resnet18_blocked_400_epochs",
}
MANIFOLD = ("input", "layer1", "layer2")  # appendices A and C
TRAIN_IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "svhn": 73_257}

each_config = pytest.mark.parametrize("name", ALL)
PREACT = [name for name in ALL if not name.startswith("table4")]
SEMI = [name for name in ALL if name.startswith("table4")]
TEXT = [name for name in SEMI if name.endswith("_text")]
WITH_ROW = [name for name in ALL if name not in TEXT]


def changed(one, other):
    """The sections in which two configs differ, but for the paper's row and the folder of the run."""
    keys = {key for key, _, _ in differences(ALL[one].model_dump(), ALL[other].model_dump())} - {"run.dir"}
    return {key.partition(".")[0] for key in keys} - {"paper"}


def carried(*scores):
    """What the configs carry of these scores, None where a config has but another of them."""
    found = {name: tuple(ALL[name].paper.values.get(score) for score in scores) for name in WITH_ROW}
    return {name: values for name, values in found.items() if values != (None,) * len(scores)}


def test_each_number_of_tables_1_and_2_and_section_4_1_is_carried_by_one_config():
    from_errors = {name: (pytest.approx(100 - error, abs=1e-9), None) for name, (error, _) in TEST_ERRORS.items()}
    assert carried("accuracy", "nll") == ACCURACY_AND_NLL | from_errors


def test_the_spreads_of_table_4_are_carried_and_no_others():
    spreads = {name: ALL[name].paper.spreads for name in WITH_ROW if ALL[name].paper.spreads}
    assert spreads == {name: {"accuracy": spread} for name, (_, spread) in TEST_ERRORS.items() if spread is not None}


def test_table_5_is_carried_and_attacked_with_the_papers_epsilon():
    assert carried("FGSM") == {name: (accuracy,) for name, accuracy in UNDER_FGSM.items()}
    assert {ALL[name].evaluation.attacks.epsilon for name in UNDER_FGSM} == {0.03}


def test_table_7_is_carried_in_whole():
    columns = zip(*TABLE_7.values(), strict=True)
    expected = {f"table7/preact_resnet34_{name}": column for name, column in zip(DEFORMED, columns, strict=True)}
    assert carried(*TABLE_7) == expected


def test_no_score_but_the_papers_is_carried():
    known = {"accuracy", "nll", "FGSM", *TABLE_7}
    assert {score for name in WITH_ROW for score in ALL[name].paper.values} == known


@pytest.mark.parametrize("name", TEXT)
def test_the_texts_setting_of_table_4_carries_no_number_of_the_authors_code(name):
    row, text = ALL[name.removesuffix("_text")], ALL[name]
    assert text.paper is None
    assert changed(name.removesuffix("_text"), name) <= {"data", "network", "semi_supervised"}
    assert (row.semi_supervised is None) == (text.semi_supervised is None) == ("supervised" in name)
    if text.semi_supervised is not None:
        keys = {key for key, _, _ in differences(dict(row.semi_supervised), dict(text.semi_supervised))}
        assert keys == {"targets"}


@pytest.mark.parametrize("name", WITH_ROW)
def test_the_row_is_of_the_table_whose_numbers_it_has(name):
    paper, folder = ALL[name].paper, name.partition("/")[0]
    accuracy = {"table1": "1", "table2": "2", "table4": "4", "table7": "2", "low_data": "4.2", "ablation": "4.1"}[
        folder
    ]
    tables = {"accuracy": accuracy, "FGSM": "5", "rotation 20": "7"}
    assert re.findall(r"[\d.]+", paper.table) == [tables[score] for score in tables if score in paper.values]
    assert paper.table.startswith("Section" if folder in ("low_data", "ablation") else "Table")


def test_rows_within_a_table_have_names_of_their_own():
    for folder in FOLDERS:
        rows = [ALL[name].paper.row for name in WITH_ROW if name.startswith(f"{folder}/")]
        assert len(rows) == len(set(rows)) > 0


@pytest.mark.parametrize(("baseline", "name"), [(base, name) for base, names in BASELINES.items() for name in names])
def test_a_row_differs_from_its_baseline_in_what_is_mixed_alone(baseline, name):
    mixing = {"mixup", "semi_supervised"} if name in SEMI else {"mixup"}
    assert changed(baseline, name) == mixing
    assert ALL[baseline].mixup is ALL[baseline].semi_supervised is None


def test_every_row_that_mixes_has_a_baseline_where_the_paper_has_one():
    paired = {name for names in BASELINES.values() for name in names}
    assert paired | WITHOUT_BASELINE == {name for name, config in ALL.items() if config.mixup is not None}
    assert not paired & WITHOUT_BASELINE
    for name in WITHOUT_BASELINE:
        assert not [
            other for other, config in ALL.items() if config.mixup is None and changed(other, name) == {"mixup"}
        ]


@each_config
def test_no_other_config_is_the_same_training(name):
    assert [other for other in ALL if changed(name, other) <= {"logging", "evaluation", "device"}] == [name]


def test_blocked_gradients_are_all_that_the_ablation_changes():
    full, blocked = "table1/preact_resnet18_manifold_mixup", "ablation/preact_resnet18_blocked_{}_epochs"
    trees = ALL[full].model_dump(), ALL[blocked.format(1200)].model_dump()
    by_key = {key: values for key, *values in differences(*trees) if "mixup" in key}
    assert by_key == {"mixup.block_gradients": [False, True]}
    assert changed(full, blocked.format(1200)) == {"mixup"}
    assert changed(blocked.format(400), blocked.format(1200)) == {"training"}


@pytest.mark.parametrize("name", PREACT)
def test_alpha_and_eligible_layers_of_preact_resnets_are_the_papers(name):
    config = ALL[name]
    kind = re.search(r"no_mixup|input_mixup|manifold_mixup_all_layers|manifold_mixup|blocked", name)[0]
    alpha = {"no_mixup": None, "input_mixup": 1.0, "manifold_mixup_all_layers": 6.0}.get(kind, 2.0)
    stages = {"no_mixup": None, "input_mixup": ("input",), "manifold_mixup_all_layers": (*MANIFOLD, "layer3")}
    mixup = config.mixup
    assert (mixup and mixup.alpha) == (2.0 if name.endswith("alpha2") else alpha)
    assert (mixup and mixup.stages) == stages.get(kind, MANIFOLD)
    assert config.semi_supervised is config.cutmix is None
    if "alpha = " in config.paper.row:
        assert f"(alpha = {mixup.alpha})" in config.paper.row


@pytest.mark.parametrize("name", SEMI)
def test_both_mixes_of_table_4_are_of_the_papers_alphas_and_layers(name):
    config = ALL[name]
    if "_supervised" in name:
        assert config.mixup is config.semi_supervised is None
        return
    labelled, unlabelled = config.mixup, config.semi_supervised.mixup
    assert (labelled.alpha, unlabelled.alpha) == (0.1, 2.0)
    assert labelled.stages == unlabelled.stages == (("input",) if "input" in name else MANIFOLD)
    assert config.semi_supervised.weight == {"cifar10": 1.0, "svhn": 2.0}[config.data.name]
    assert config.semi_supervised.ramp == 0.4
    assert config.semi_supervised.targets == ("softmax" if name in TEXT else "logits")


@pytest.mark.parametrize("name", PREACT)
def test_preact_resnets_train_as_the_paper_or_as_zhang_et_al(name):
    training = ALL[name].training
    zhang = name.endswith("zhang")
    epochs, drops = (200, (100, 150)) if zhang else (1200, (400, 800))
    if name == "ablation/preact_resnet18_blocked_400_epochs":
        epochs, drops = 400, (133, 267)  # thirds, too
    assert (training.epochs, training.decay, training.drops) == (epochs, "multistep", drops)
    assert (training.lr, training.momentum, training.nesterov) == (0.1, 0.9, not zhang)
    assert (training.weight_decay, training.batch_size) == (1e-4, 128 if zhang else 100)
    assert (training.l1, training.ema) == (0, None)


@pytest.mark.parametrize("name", SEMI)
def test_table_4_trains_for_the_papers_passes_over_unlabelled_images(name):
    config, training = ALL[name], ALL[name].training
    epochs, drops = {"cifar10": (1000, (500, 750, 875)), "svhn": (200, (100, 150, 175))}[config.data.name]
    batches = (TRAIN_IMAGES[config.data.name] - config.data.num_validation) // 100
    assert training.steps == epochs * batches
    assert (training.decay, training.drops) == ("multistep", tuple(drop * batches for drop in drops))
    assert (training.lr, training.momentum, training.nesterov) == (0.1, 0.9, True)
    assert (training.weight_decay, training.l1, training.l1_of, training.ema) == (5e-4, 0.001, "first", None)
    assert training.batch_size == 100
    assert config.semi_supervised is None or config.semi_supervised.batch_size == 100
    assert config.evaluation.every == batches


@each_config
def test_splits_are_the_papers(name):
    sizes = {
        "table4/cifar10": ("cifar10", 45_000, 5_000, 4_000),  # training, validation, labelled
        "table4/svhn": ("svhn", 65_932, 7_325, 1_000),
        "low_data": ("cifar10", 50_000, 0, 4_000),
        "table1": ("cifar10", 50_000, 0, 50_000),
        "table2": ("cifar100", 50_000, 0, 50_000),
        "table7": ("cifar100", 50_000, 0, 50_000),
        "ablation": ("cifar10", 50_000, 0, 50_000),
    }
    data = ALL[name].data
    training = TRAIN_IMAGES[data.name] - data.num_validation
    labelled = training if data.labels_per_class is None else 10 * data.labels_per_class
    expected = next(size for start, size in sizes.items() if name.startswith(start))
    assert (data.name, training, data.num_validation, labelled) == expected


@each_config
def test_images_are_changed_as_by_the_source_of_the_row(name):
    data = ALL[name].data
    found = (data.crop_padding, data.padding, data.flip, data.prepare, data.noise)
    by_source = {  # Oliver et al., whom the text names; the authors' code
        ("cifar10", True): (2, "reflect", True, "zca", 0.15),
        ("svhn", True): (2, "reflect", False, None, 0),
        ("cifar10", False): (2, "black", True, "zca_only", 0),
        ("svhn", False): (2, "black", False, None, 0),
    }
    assert found == (by_source[data.name, name in TEXT] if name in SEMI else (4, "black", True, "channels", 0))
    assert (data.dequantise, data.resolution, data.num_images) == (False, None, None)


@each_config
def test_the_network_is_the_rows(name):
    network = ALL[name].network
    if name in SEMI:
        assert (network.name, network.depth, network.width) == ("wide_resnet", 28, 2)
        assert (network.slope, network.dropout) == ((0.1, 0.0) if name in TEXT else (0.01, 0.3))
    else:
        depth = int(re.search(r"resnet(\d+)", name)[1])
        assert (network.name, network.depth, network.width) == ("preact_resnet", depth, 64)
        assert ALL[name].paper.row.startswith(f"PreActResNet{depth}, ")


@each_config
def test_the_network_that_is_reported_was_not_chosen_by_test_images(name):
    config = ALL[name]
    assert config.evaluation.select == ("validation" if name in SEMI else "last")
    assert (config.loss.name, config.loss.label_smoothing) == ("cross_entropy", 0)


@each_config
def test_comments_name_the_row_and_give_a_command_that_trains_it(name):
    text = FILES[name].read_text()
    comments = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))
    config = ALL[name]
    assert f" python train_classifier.py configs/classifier/{name}.yaml" in comments
    assert config.run.dir == f"runs/classifier/{name}"
    if name in TEXT:
        row = ALL[name.removesuffix("_text")].paper.row
        assert f"'{row}', as the text describes it. It carries no number of the paper" in comments
        return
    assert config.paper.table.startswith("Section") or f"'{config.paper.row}'" in comments
    for score, value in config.paper.values.items():
        printed = {
            "accuracy": rf"accuracy (of )?{value}0? %",
            "nll": rf"NLL {value}0?\b",
            "FGSM": rf"{value}0? % under FGSM",
        }
        assert score in TABLE_7 or re.search(printed[score], comments), score
