import json
from dataclasses import fields

import pytest
import torch
from torch import nn

from ganmix.config.gan import Evaluation
from ganmix.data import DATASETS
from ganmix.engine.scores import digest_of
from ganmix.evaluation.gan.extractors import SHIPPED, classifier_extractor
from ganmix.evaluation.gan.protocol import PROTOCOLS, Parts, choose_parts, describe_protocol
from ganmix.evaluation.gan.reference import Reference

EXTRACTOR = classifier_extractor(nn.Linear(2, 2), "linear")


def make_reference(num=20_000):
    identity = {"dataset": "made", "split": "train", "num": num, "digest": "d" * 64}
    return Reference(identity, torch.zeros(2).double(), torch.eye(2).double(), None)


def describe(num_fake=50_000, num_real=20_000, *, name="small", ema=True, **parts):
    return describe_protocol(
        name, Parts("linear", num_fake, "train", **parts), EXTRACTOR, make_reference(num_real), ema=ema
    )


def test_the_named_protocols_are_these():
    inception = {"extractor": "inception", "num_real": None, "batch_norm": "running"}
    assert {name: vars(parts) for name, parts in PROTOCOLS.items()} == {
        "modern": {**inception, "num_fake": 50_000, "reference": "train", "quantisation": "round"},
        "paper": {**inception, "num_fake": 50_000, "reference": "train", "quantisation": "truncate"},
        "paper_test": {**inception, "num_fake": 50_000, "reference": "test", "quantisation": "truncate"},
        "miyato": {**inception, "num_fake": 5_000, "reference": "test", "quantisation": "round"},
        "small": {**inception, "extractor": None, "num_fake": 10_000, "reference": "train", "quantisation": "round"},
    }


def test_the_config_knows_the_protocols_and_their_parts():
    annotation = Evaluation.model_fields["protocol"].annotation
    assert annotation.__args__ == tuple(PROTOCOLS)
    part_names = {field.name for field in fields(Parts)}
    assert part_names <= set(Evaluation.model_fields)
    assert all(Evaluation.model_fields[name].default is None for name in part_names)  # the protocol's


def test_small_takes_the_classifier_shipped_for_the_data_set_or_inception():
    found = {dataset: choose_parts("small", dataset, {})[1].extractor for dataset in [*DATASETS, "folder"]}
    assert found == {
        **dict.fromkeys([*DATASETS, "folder"], "inception"),
        "digits": "digits",
        "fashion_mnist": "fashion_mnist",
    }
    assert {name for name in found.values() if name != "inception"} == {file.stem for file in SHIPPED.iterdir()}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_is_not_replaced_is_the_protocols(name):
    nothing = dict.fromkeys(field.name for field in fields(Parts))
    found_name, parts = choose_parts(name, "cifar10", nothing)
    assert found_name == name
    assert {**vars(parts), "extractor": None} == {**vars(PROTOCOLS[name]), "extractor": None}
    assert parts.extractor == "inception"


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("extractor", "mine.safetensors"),
        ("num_fake", 500),
        ("reference", "test"),
        ("num_real", 700),
        ("quantisation", "truncate"),
        ("batch_norm", "standing"),
    ],
)
def test_a_replaced_part_shows_in_the_name(part, value):
    name, parts = choose_parts("small", "digits", {part: value})
    assert name == f"small with {part} {value}"
    assert vars(parts) == {**vars(choose_parts("small", "digits", {})[1]), part: value}


def test_a_part_replaced_by_itself_does_not_show():
    replaced = {"extractor": "digits", "num_fake": 10_000, "reference": "train", "quantisation": "round"}
    assert choose_parts("small", "digits", replaced) == choose_parts("small", "digits", {})
    name, _ = choose_parts("small", "digits", {**replaced, "num_fake": 9, "batch_norm": "batch"})
    assert name == "small with num_fake 9, batch_norm batch"


def test_a_protocol_survives_json_and_holds_all_that_a_score_depends_on():
    found = describe(400, 300, batch_norm="batch", quantisation="truncate", ema=False)
    assert json.loads(json.dumps(found)) == found
    assert found == {
        "name": "small",
        "extractor": "linear",
        "extractor_digest": EXTRACTOR.digest,
        "reference": make_reference(300).identity,
        "num_fake": 400,
        "few_images": True,
        "quantisation": "truncate",
        "batch_norm": "batch",
        "ema": False,
        "is_splits": 10,
        "kid_subset_size": 300,
        "neighbours": 3,
        "seed": 2020,
    }


def test_kid_subsets_have_a_thousand_images_or_the_smaller_set():
    sizes = {
        (num_fake, num_real): describe(num_fake, num_real)["kid_subset_size"]
        for num_fake, num_real in [(5000, 5000), (300, 5000), (5000, 300), (300, None)]
    }
    assert sizes == {(5000, 5000): 1000, (300, 5000): 300, (5000, 300): 300, (300, None): 300}


def test_sets_under_ten_thousand_images_are_marked():
    assert describe(50_000, 9_999)["few_images"]
    assert describe(9_999, 50_000)["few_images"]
    assert describe(9_999, None)["few_images"]
    assert not describe(10_000, 10_000)["few_images"]
    assert not describe(10_000, None)["few_images"]


@pytest.mark.parametrize(("num_fake", "num_real", "fewest"), [(9, 50, 9), (50, 4, 4), (9, 4, 4), (9, None, 9)])
def test_fewer_images_than_splits_of_is_are_refused(num_fake, num_real, fewest):
    with pytest.raises(ValueError, match=f"at least 10 images are needed on either side, got {fewest}"):
        describe(num_fake, num_real)
    describe(10, 10)


def test_protocols_are_the_same_whatever_they_are_called():
    first = describe()
    assert digest_of(first) == digest_of(describe(name="modern with num_fake 50000"))
    assert digest_of(first) == digest_of(json.loads(json.dumps(first)))


@pytest.mark.parametrize("key", sorted(describe().keys() - {"name"}))
def test_protocols_that_differ_in_anything_else_are_not_the_same(key):
    first = describe()
    assert digest_of(first) != digest_of({**first, key: "another"})
    assert digest_of(first) != digest_of({name: value for name, value in first.items() if name != key})
    assert digest_of(first) != digest_of({**first, "something new": 1})
