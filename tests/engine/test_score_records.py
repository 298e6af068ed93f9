import pytest

from ganmix.engine.scores import Measurement, Score, digest_of, in_words


def test_a_label_names_the_extractor_where_it_is_not_the_literatures():
    assert Score("FID", 0.4, extractor="digits").label == "digits-FID"
    assert Score("FID", 0.4, extractor="inception").label == "FID"
    assert Score("accuracy", 97.0).label == "accuracy"
    assert Score("rotation", 91.5, at="20").label == "rotation 20"
    assert Score("a-b", 1.0, at="block-1", extractor="c-d").label == "c-d-a-b block-1"


def test_protocols_are_one_where_all_but_the_name_is_equal():
    protocol = {"name": "small", "num_fake": 64, "reference": {"split": "train", "num": 10}}
    same = {"reference": {"num": 10, "split": "train"}, "name": "mine", "num_fake": 64}
    assert digest_of(protocol) == digest_of(same)
    assert digest_of(protocol) != digest_of({**protocol, "num_fake": 65})
    assert digest_of(protocol) != digest_of({**protocol, "reference": {"split": "train", "num": 11}})


@pytest.mark.parametrize(("value", "finite"), [(1.0, True), (float("nan"), False), (float("inf"), False)])
def test_a_measurement_is_finite_where_all_its_scores_are(value, finite):
    assert Measurement(1, 1, [Score("FID", 2.0), Score("KID", value)], {}, {}).finite == finite


def test_what_a_score_lacks_is_not_written():
    line = Measurement(4, 2, [Score("FID", 0.5, extractor="digits")], {"name": "small"}, {}).to_line()
    assert line["scores"] == [{"metric": "FID", "value": 0.5, "extractor": "digits"}]
    assert "curves" not in line
    assert (line["step"], line["checkpoint"]) == (4, 2)


def test_scores_are_said_with_their_spread():
    assert (
        in_words([Score("IS", 7.08123, 0.1, "digits"), Score("FID", 0.42241)])
        == "digits-IS 7.081 \u00b1 0.1, FID 0.4224"
    )
