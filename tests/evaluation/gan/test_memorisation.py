import numpy as np
import pytest
import torch

from ganmix.evaluation.gan import memorisation
from ganmix.evaluation.gan.memorisation import nearest


def brute_force(queries, references, num):
    queries, references = (np.asarray(tensor, dtype=np.float64) for tensor in (queries, references))
    distances = np.sqrt(((queries[:, None] - references[None]) ** 2).sum(2))
    indices = distances.argsort(axis=1, kind="stable")[:, :num]
    return np.take_along_axis(distances, indices, axis=1), indices


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize("num", [1, 5, 100])
def test_nearest_are_those_of_all_distances_sorted(monkeypatch, chunk, num):
    monkeypatch.setattr(memorisation, "CHUNK", chunk)
    draw = torch.Generator().manual_seed(0)
    queries, references = torch.randn(9, 6, generator=draw), torch.randn(100, 6, generator=draw)
    distances, indices = nearest(queries, references, num)
    expected_distances, expected_indices = brute_force(queries, references, num)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-12)
    np.testing.assert_array_equal(indices, expected_indices)


def test_bytes_are_compared_without_an_error():
    draw = torch.Generator().manual_seed(0)
    queries, references = (torch.randint(256, (num, 3072), dtype=torch.uint8, generator=draw) for num in (5, 60))
    references[17], references[3] = queries[2], queries[2]
    references[3, 5] ^= 1  # one grey level in one place
    distances, indices = nearest(queries, references, 3)
    np.testing.assert_array_equal(distances, brute_force(queries, references, 3)[0])
    assert indices[2, :2].tolist() == [17, 3]
    assert distances[2, :2].tolist() == [0, 1]


def test_copies_far_from_the_origin_have_distance_zero_and_neighbours_their_own():
    references = 1e4 + torch.arange(20.0).unsqueeze(1).repeat(1, 50) / 64
    distances, indices = nearest(references, references, 2)
    assert indices[:, 0].tolist() == list(range(20))
    assert distances[:, 0].tolist() == [0.0] * 20
    torch.testing.assert_close(distances[:, 1], torch.full((20,), 50**0.5 / 64, dtype=torch.float64))


@pytest.mark.parametrize("num", [0, 4])
def test_a_number_of_neighbours_that_there_cannot_be_is_refused(num):
    with pytest.raises(AssertionError, match=rf"num must lie in 1\.\.3, got {num}"):
        nearest(torch.zeros(2, 5), torch.zeros(3, 5), num)
