import contextlib
import math

import numpy as np
import pytest
import torch
from score_values import values_of
from sklearn.metrics import log_loss
from torch import nn
from torchmetrics.classification import MulticlassCalibrationError

from ganmix.data import ImageData, to_float
from ganmix.evaluation.classifier import accuracy
from ganmix.evaluation.classifier.accuracy import calibration_scores, clean_scores, percent_correct
from ganmix.networks.modes import evaluating

CPU = torch.device("cpu")


def random_data(num=1203, classes=4):
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num, 1, 2, 2), dtype=torch.uint8, generator=draw)
    return ImageData(images, torch.randint(classes, (num,), generator=draw), "made", "test")


def random_logits(num=5000, classes=7, scale=2.0):
    draw = torch.Generator().manual_seed(1)
    logits = scale * torch.randn(num, classes, generator=draw)
    # Labels that the logits know something of, so that confidence and accuracy differ by bin.
    labels = torch.multinomial((logits / 3).softmax(1), 1, generator=draw).squeeze(1)
    return logits, labels


def certain_of(p, num, classes=3):
    """Logits [num, classes] that give class 0 probability p and share the rest."""
    rest = (1 - p) / (classes - 1)
    return torch.tensor([[p, *[rest] * (classes - 1)]], dtype=torch.float64).log().repeat(num, 1)


def test_nll_is_that_of_scikit_learn():
    logits, labels = random_logits()
    found = values_of(calibration_scores(logits, labels))["nll"]
    assert found == pytest.approx(log_loss(labels.numpy(), logits.double().softmax(1).numpy()), rel=1e-9)


def test_calibration_error_is_that_of_torchmetrics():
    for scale in (0.3, 2.0, 8.0):
        logits, labels = random_logits(scale=scale)
        metric = MulticlassCalibrationError(num_classes=7, n_bins=15, norm="l1", validate_args=False)
        expected = metric(logits.softmax(1), labels).item()
        assert values_of(calibration_scores(logits, labels))["ece"] == pytest.approx(expected, rel=1e-4)


def test_brier_score_is_the_squared_distance_from_the_one_hot_label():
    logits, labels = random_logits(num=50)
    p = logits.double().softmax(1).numpy()
    expected = np.mean([sum((p[n, k] - (k == labels[n].item())) ** 2 for k in range(7)) for n in range(50)])
    assert values_of(calibration_scores(logits, labels))["brier"] == pytest.approx(expected, rel=1e-9)


def test_a_classifier_right_three_times_in_five_is_calibrated_at_that_confidence():
    labels = torch.tensor([0, 0, 0, 1, 2])
    assert values_of(calibration_scores(certain_of(0.6, 5), labels))["ece"] == pytest.approx(0, abs=1e-12)
    found = values_of(calibration_scores(certain_of(0.9, 5), labels))
    assert found["ece"] == pytest.approx(0.3)
    assert found["nll"] == pytest.approx(-(3 * math.log(0.9) + 2 * math.log(0.05)) / 5)
    assert found["brier"] == pytest.approx((3 * (0.01 + 2 * 0.0025) + 2 * (0.81 + 0.9025 + 0.0025)) / 5)


def test_errors_of_one_bin_cancel_and_those_of_two_do_not():
    right, wrong = torch.tensor([0]), torch.tensor([1])
    one_bin = values_of(
        calibration_scores(torch.cat([certain_of(0.61, 1), certain_of(0.66, 1)]), torch.cat([right, wrong]))
    )
    assert one_bin["ece"] == pytest.approx((0.66 + 0.61 - 1) / 2)
    two_bins = values_of(
        calibration_scores(torch.cat([certain_of(0.61, 1), certain_of(0.71, 1)]), torch.cat([right, wrong]))
    )
    assert two_bins["ece"] == pytest.approx((0.39 + 0.71) / 2)
    last_bins = values_of(
        calibration_scores(torch.cat([certain_of(0.92, 1), certain_of(0.95, 1)]), torch.cat([wrong, right]))
    )
    assert last_bins["ece"] == pytest.approx((0.92 + 0.05) / 2)
    # 0.8 is the upper end of bin 12 and belongs to it, as in Guo et al.
    ends = torch.log(torch.tensor([[0.8, 0.2], [0.75, 0.25]], dtype=torch.float64))
    assert values_of(calibration_scores(ends, torch.tensor([0, 1])))["ece"] == pytest.approx((0.8 + 0.75 - 1) / 2)


def test_scores_of_a_certain_classifier_are_finite_and_exact():
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0]])
    assert values_of(calibration_scores(logits, torch.tensor([0, 0]))) == pytest.approx(
        {"nll": 0, "ece": 0, "brier": 0}
    )
    assert values_of(calibration_scores(logits, torch.tensor([1, 1]))) == pytest.approx(
        {"nll": 200, "ece": 1, "brier": 2}
    )
    assert values_of(calibration_scores(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1])))["nll"] == pytest.approx(
        math.log(2)
    )


def test_clean_scores_are_those_of_all_logits_at_once():
    data = random_data()
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))

    def predict(images):
        return images.flatten(1) @ weight

    logits = predict(to_float(data.images))
    found = values_of(clean_scores(predict, data, CPU))
    assert list(found) == ["accuracy", "nll", "ece", "brier"]
    assert found["accuracy"] == pytest.approx(100 * np.mean(logits.argmax(1).numpy() == data.labels.numpy()))
    assert {k: v for k, v in found.items() if k != "accuracy"} == pytest.approx(
        values_of(calibration_scores(logits, data.labels))
    )


def test_accuracy_on_changed_images_pairs_every_image_with_its_label():
    data = random_data()
    seen = []

    def change(images, labels):
        seen.append((images, labels))
        return labels.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)  # an image that shows its label

    def predict(images):
        return -(images[:, 0, 0, :1] - torch.tensor([0.0, 1.0, 2.0, 7.0])).abs()  # never says 3

    expected = 100 * (data.labels != 3).float().mean().item()
    assert percent_correct(predict, data, CPU, change) == pytest.approx(expected)
    assert [len(images) for images, _ in seen] == [accuracy.BATCH, accuracy.BATCH, 203]
    assert torch.equal(torch.cat([images for images, _ in seen]), to_float(data.images))
    assert torch.equal(torch.cat([labels for _, labels in seen]), data.labels)


def test_autocast_around_the_caller_changes_no_score():
    data = random_data()
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    expected = values_of(clean_scores(network, data, CPU))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert values_of(clean_scores(network, data, CPU)) == expected
    assert network[1].weight.grad is None


def test_every_module_has_its_own_mode_again_after_evaluating():
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Dropout()))
    network[1][0].eval()
    modes = [module.training for module in network.modules()]
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == modes
    with contextlib.suppress(KeyError), evaluating(network):
        raise KeyError
    assert [module.training for module in network.modules()] == modes
