import hashlib
import re

import pytest
import torch
from torch import Tensor

from ganmix.data import ImageData, Split, check_labels, split_images

SVHN_COUNTS = [4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659]  # of its 73,257 training images


def shuffled(counts: list[int]) -> Tensor:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


def counts(labels: Tensor, indices: Tensor) -> list[int]:
    return labels[indices].bincount(minlength=10).tolist()


def parts(split: Split) -> list[list[int]]:
    return [part.tolist() for part in (split.train, split.labelled, split.validation)]


def made_data(labels: Tensor | None) -> ImageData:
    num = 4 if labels is None else len(labels)
    return ImageData(torch.zeros(num, 1, 2, 2, dtype=torch.uint8), labels, "cifar10", "train")


def the_error(labels: Tensor, num_classes: int, **options) -> str:
    with pytest.raises(ValueError, match="class") as error:
        split_images(labels, num_classes, seed=0, **options)
    return str(error.value)


def test_split_of_cifar_is_balanced():
    labels = shuffled([5000] * 10)
    split = split_images(labels, 10, seed=0, labels_per_class=400, num_validation=5000)
    assert counts(labels, split.validation) == [500] * 10
    assert counts(labels, split.labelled) == [400] * 10
    assert counts(labels, split.train) == [4500] * 10


def test_validation_classes_of_svhn_differ_by_at_most_one_image():
    labels = shuffled(SVHN_COUNTS)
    split = split_images(labels, 10, seed=0, labels_per_class=100, num_validation=7325)
    assert len(split.validation) == 7325
    assert counts(labels, split.validation) == [733] * 5 + [732] * 5
    assert counts(labels, split.labelled) == [100] * 10
    assert len(split.train) == 65_932  # as the paper has it


@pytest.mark.parametrize("labels_per_class", [None, 3])
@pytest.mark.parametrize("num_validation", [0, 1, 17, 50])
def test_train_and_validation_are_all_images_and_labelled_ones_are_of_train(labels_per_class, num_validation):
    labels = shuffled([20, 30, 25])
    split = split_images(labels, 3, seed=0, labels_per_class=labels_per_class, num_validation=num_validation)
    train, labelled, validation = parts(split)
    assert sorted(train + validation) == list(range(75))
    assert len(validation) == num_validation
    assert set(labelled) <= set(train)
    assert len(set(labelled)) == len(labelled)
    assert all(part == sorted(part) for part in (train, labelled, validation))
    assert all(part.dtype == torch.int64 for part in (split.train, split.labelled, split.validation))
    if labels_per_class is None:
        assert labelled == train


def test_split_is_that_of_sha_256_on_any_machine():
    labels, seed = torch.arange(12) % 3, 5

    def drawn(k: int) -> list[int]:
        return sorted(range(k, 12, 3), key=lambda index: int(hashlib.sha256(b"%d/%d" % (seed, index)).hexdigest(), 16))

    found = parts(split_images(labels, 3, seed=seed, labels_per_class=1, num_validation=4))
    validation = drawn(0)[:2] + drawn(1)[:1] + drawn(2)[:1]
    labelled = [drawn(0)[2], drawn(1)[1], drawn(2)[1]]
    assert found[1:] == [sorted(labelled), sorted(validation)]
    assert found[1:] == [[1, 6, 8], [0, 2, 7, 9]]


def test_seed_alone_decides_the_split():
    def split(seed: int) -> list[list[int]]:
        torch.rand(1)  # the global generator has no part in it
        return parts(split_images(shuffled([30] * 3), 3, seed=seed, labels_per_class=5, num_validation=20))

    first, other = split(1), split(2)
    assert split(1) == first
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_images_are_drawn_from_the_whole_data_set():
    labels = torch.arange(6000) % 10
    split = split_images(labels, 10, seed=0, labels_per_class=100, num_validation=1000)
    for part in (split.labelled, split.validation):
        # the mean of 1,000 numbers that are uniform in [0, 1), within four standard deviations
        assert part.double().mean().item() / 6000 == pytest.approx(0.5, abs=4 / (12 * 1000) ** 0.5)


def test_more_labels_include_the_fewer():
    labels = shuffled([50] * 3)
    few, many = (
        split_images(labels, 3, seed=0, labels_per_class=num, num_validation=20).labelled.tolist() for num in (5, 20)
    )
    assert set(few) < set(many)


def test_images_that_suffice_exactly_are_taken():
    labels = shuffled([4, 5])
    split = split_images(labels, 2, seed=0, labels_per_class=2, num_validation=4)
    assert counts(labels, split.labelled)[:2] == [2, 2]
    assert counts(labels, split.validation)[:2] == [2, 2]


def test_labels_beyond_a_class_are_refused():
    message = "class 1 has 4 training images, fewer than 3 for num_validation and 2 for labels_per_class"
    assert the_error(shuffled([5, 4]), 2, labels_per_class=2, num_validation=6) == message


def test_validation_that_leaves_a_class_nothing_to_train_on_is_refused():
    message = "class 0 has 3 training images, fewer than 3 for num_validation and 1 for training"
    assert the_error(shuffled([3, 9]), 2, num_validation=5) == message


def test_class_without_images_is_no_matter_where_none_of_it_are_asked_for():
    split = split_images(torch.tensor([0, 2, 2]), 3, seed=0)
    assert parts(split) == [[0, 1, 2], [0, 1, 2], []]
    message = "class 1 has 0 training images, fewer than 0 for num_validation and 1 for labels_per_class"
    assert the_error(torch.tensor([0, 2, 2]), 3, labels_per_class=1) == message


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "cifar10 has no labels"),
        (
            torch.tensor([0, 1, 3, 2, 5]),
            "cifar10 train has labels outside its 3 classes 0..2: image 2 has 3 (2 such images)",
        ),
        (
            torch.tensor([0, 1, 2, -1]),
            "cifar10 train has labels outside its 3 classes 0..2: image 3 has -1 (1 such images)",
        ),
        (torch.tensor([2, 2, 2]), "cifar10 train has no image of class 0, 1"),
        (torch.tensor([0, 1]), "cifar10 train has no image of class 2"),
    ],
)
def test_labels_that_no_classifier_can_learn_from_are_refused(labels: Tensor | None, message: str):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_labels(made_data(labels), 3)


def test_labels_of_each_class_are_accepted():
    check_labels(made_data(torch.tensor([2, 0, 1, 2])), 3)
