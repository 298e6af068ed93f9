import json
from functools import partial
from pathlib import Path

import pytest
import torch

from ganmix.commands import train_classifier, train_gan
from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import Evaluation, GanConfig
from ganmix.config.help import json_schema, schema_tree
from ganmix.config.method import differences
from ganmix.config.reader import read_config
from ganmix.data import DATASETS
from ganmix.evaluation.gan.extractors import SHIPPED
from ganmix.losses import CLASSIFICATION_LOSSES, GAN_LOSSES, PENALTIES
from ganmix.mixup import PAIRS
from ganmix.networks.classifier import CLASSIFIERS, PREPARATIONS
from ganmix.networks.gan import DISCRIMINATORS, GENERATORS
from ganmix.tasks.gan import build_network
from ganmix.tasks.gan_scores import parts_of

CONFIGS = Path(__file__).parent.parent / "configs"
TABLE_6 = {  # Inception score and FID, in the paper's order
    "gan_gp": (7.30, 30.2),
    "gan_gp_fr": (7.34, 28.0),
    "gan_gp_fr_ff": (7.55, 25.6),
    "sn_gan": (7.94, 21.7),
    "sn_gan_fr": (8.00, 21.5),
    "sn_gan_fr_ff": (8.13, 20.6),
    "sn_gan_hinge": (7.97, 22.2),
    "sn_gan_hinge_fr": (7.92, 22.6),
    "gan_manifold_mixup_fr": (8.05, 20.7),
    "wgan_gp": (7.86, None),
    "sn_gan_hinge_miyato": (8.22, 21.7),
}
QUOTED = ("wgan_gp", "sn_gan_hinge_miyato")  # by the paper, from others, whose settings they have
SMALLEST = {  # of each network, for a step
    "conv": "network.width=4",
    "preact_resnet": "network.width=8",
    "wide_resnet": "network.depth=10",
    "bottleneck_mlp": "network.hidden=8",
}
KINDS = {"gan": GanConfig, "classifier": ClassifierConfig}
FILES = [(path, KINDS[kind]) for kind in KINDS for path in sorted((CONFIGS / kind).rglob("*.yaml"))]
GAN_FILES = [path for path, model in FILES if model is GanConfig]
CLASSIFIER_FILES = [path for path, model in FILES if model is ClassifierConfig]


def name_of(value):
    return str(value.relative_to(CONFIGS)) if isinstance(value, Path) else ""


def last_line(path):
    return json.loads(path.read_text().splitlines()[-1])


@pytest.mark.parametrize("path", GAN_FILES, ids=name_of)
def test_every_gan_config_takes_a_step(path, made_data, monkeypatch, tmp_path):
    monkeypatch.setattr("ganmix.tasks.gan.read_data", made_data)
    monkeypatch.setattr("ganmix.tasks.gan.Recorder.grid", lambda *_: None)  # most of the time, for PNGs of noise
    shrunk = ["generator.width=8", "discriminator.width=8", "training.batch_size=4"]
    once = [f"run.dir={tmp_path}", "training.steps=1", "evaluation=null", "device.name=cpu", "data.num_images=20"]
    assert train_gan([str(path), *shrunk, *once]) == 0
    line = last_line(tmp_path / "metrics.jsonl")
    config = read_config(GanConfig, path)
    mixes = config.mixup.pairs if config.mixup else ()
    penalty = ["penalty"] if config.penalties else []
    assert line["step"] == 1
    assert [key for key in line if key.startswith("loss_D/")] == [
        f"loss_D/{term}" for term in ("real", "fake", *mixes, *penalty)
    ]


@pytest.mark.parametrize("path", CLASSIFIER_FILES, ids=name_of)
def test_every_classifier_config_takes_a_step(path, made_data, monkeypatch, tmp_path):
    config = read_config(ClassifierConfig, path)
    num_classes = DATASETS[config.data.name].num_classes
    monkeypatch.setattr("ganmix.tasks.classifier.read_data", partial(made_data, num=2 * num_classes))
    shrunk = [SMALLEST[config.network.name], "training.batch_size=4", "data.prepare=null", "device.name=cpu"]
    shrunk += ["data.labels_per_class=1"] if config.data.labels_per_class else []
    shrunk += [f"data.num_validation={num_classes}"] if config.data.num_validation else []
    shrunk += ["semi_supervised.batch_size=4"] if config.semi_supervised else []
    once = [f"run.dir={tmp_path}", "training.steps=1", "training.epochs=null", "evaluation.every=null"]
    once += ["training.decay=constant", "training.drops=[]"]  # drops lie past the first step
    assert train_classifier([str(path), *shrunk, *once]) == 0
    line = last_line(tmp_path / "metrics.jsonl")
    assert line["step"] == 1
    assert ("loss/consistency" in line) == (config.semi_supervised is not None)
    assert ("accuracy" in line) == (not (config.mixup or config.cutmix or config.semi_supervised))
    assert (tmp_path / "classifier.safetensors").is_file()


@pytest.mark.parametrize("path", GAN_FILES, ids=name_of)
def test_every_protocols_extractor_is_inception_or_shipped(path):
    config = read_config(GanConfig, path)
    evaluation = config.evaluation or Evaluation()  # by which `evaluate` scores a run that has none
    _, found = parts_of(evaluation, config.data.name)
    assert found.extractor == "inception" or (SHIPPED / f"{found.extractor}.safetensors").is_file()


@pytest.mark.parametrize("folder", ["table6", "small", "small_1000"])
def test_configs_to_be_compared_have_one_protocol_and_the_same_data(folder):
    files = [path for path in GAN_FILES if path.parent.name == folder and path.stem not in QUOTED]
    configs = [read_config(GanConfig, path) for path in files]
    assert len(configs) > 1
    evaluations = {config.evaluation.model_copy(update={"every": None}) for config in configs}
    assert {evaluation.protocol for evaluation in evaluations} == {"paper" if folder == "table6" else "small"}
    assert len(evaluations) == 1
    assert len({config.data for config in configs}) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_schema_file_is_the_models(kind):
    expected = json_schema(KINDS[kind])
    file = CONFIGS / f"{kind}.schema.json"
    assert file.read_text() == expected, f"python train_{kind}.py --schema > configs/{file.name}"


@pytest.mark.parametrize(("path", "model"), FILES, ids=name_of)
def test_first_line_points_to_the_schema(path, model):
    start, equals, place = path.read_text().splitlines()[0].partition("=")
    assert start + equals == "# yaml-language-server: $schema="
    assert not Path(place).is_absolute()
    assert KINDS[(path.parent / place).resolve(strict=True).name.removesuffix(".schema.json")] is model


def test_table_6_configs_carry_the_papers_scores():
    papers = {path.stem: read_config(GanConfig, path).paper for path in GAN_FILES if path.parent.name == "table6"}
    assert {name: (paper.values["IS"], paper.values.get("FID")) for name, paper in papers.items()} == TABLE_6
    assert {(paper.table, *paper.spreads) for paper in papers.values()} == {("Table 6", "IS")}
    assert len({paper.row for paper in papers.values()}) == len(TABLE_6)


@pytest.mark.parametrize("name", [name for name in TABLE_6 if name not in QUOTED])
def test_table_6_discriminators_are_as_large_as_in_the_authors_scripts(name):
    network = build_network("discriminator", read_config(GanConfig, CONFIGS / "gan" / "table6" / f"{name}.yaml"))
    expected = {"gan_gp": 1_053_825, "sn_gan": 1_086_849, "gan_manifold": 1_103_937}
    size = next(size for start, size in expected.items() if name.startswith(start))
    assert sum(parameter.numel() for parameter in network.parameters()) == size


def test_miyatos_row_is_the_benchmarks_training_scored_their_way():
    files = (CONFIGS / "gan" / name for name in ("sngan_cifar10.yaml", "table6/sn_gan_hinge_miyato.yaml"))
    keys = {key for key, _, _ in differences(*(read_config(GanConfig, path).model_dump() for path in files))}
    assert keys == {"evaluation.protocol", "paper"}


def test_names_in_the_gan_config_are_the_tables_keys():
    keys = schema_tree(GanConfig)["properties"]
    assert [*keys["generator"]["discriminator"]["mapping"]] == [*GENERATORS]
    assert [*keys["discriminator"]["discriminator"]["mapping"]] == [*DISCRIMINATORS]
    assert keys["loss"]["properties"]["name"]["enum"] == [*GAN_LOSSES]
    assert [*keys["penalties"]["items"]["discriminator"]["mapping"]] == [*PENALTIES]
    mixup, _ = keys["mixup"]["anyOf"]
    assert mixup["properties"]["pairs"]["items"]["enum"] == [*PAIRS]
    assert {*keys["data"]["discriminator"]["mapping"]} == {*DATASETS, "folder"}


def test_names_in_the_classifier_config_are_the_tables_keys():
    keys = schema_tree(ClassifierConfig)["properties"]
    assert [*keys["network"]["discriminator"]["mapping"]] == [*CLASSIFIERS]
    assert {*keys["loss"]["properties"]["name"]["enum"]} == {*CLASSIFICATION_LOSSES}
    prepare, _ = keys["data"]["properties"]["prepare"]["anyOf"]
    assert prepare["enum"] == [*PREPARATIONS]
    assert {*keys["data"]["properties"]["name"]["enum"]} == {*DATASETS}


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("discriminator", DISCRIMINATORS)
def test_every_pair_of_networks_is_built_from_its_section(generator, discriminator, made_data):
    from ganmix.tasks.gan import build_trainer

    sections = {
        "data": {"name": "cifar10"},
        "generator": {"name": generator, "width": 8},
        "discriminator": {"name": discriminator, "width": 8},
        "loss": {"name": "hinge"},
        "training": {"steps": 1, "batch_size": 4},
    }
    config = GanConfig.model_validate(sections)
    trainer = build_trainer(config, made_data(config.data), torch.device("cpu"))
    fakes = trainer.generator(torch.randn(2, config.generator.z, generator=torch.Generator().manual_seed(0)))
    assert fakes.shape == (2, 3, 32, 32)
    assert trainer.discriminator(fakes).shape == (2,)
