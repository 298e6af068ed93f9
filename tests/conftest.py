"""One thread, since the networks of the tests are small; made images in place of data sets; quick processes."""

import multiprocessing
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch

from ganmix.data import DATASETS, ImageData


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made_data() -> Callable[..., ImageData]:
    """What `runs.common.read_data` returns, with noise for images: of the shape the config's data set has."""

    def make(data, split="train", num=24):
        known = DATASETS.get(data.name)
        side = data.resolution or known.resolution
        shape = (num, known.channels if known else data.channels, side, side)
        images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        num_classes = known.num_classes if known else 10
        return ImageData(images, torch.arange(num) % num_classes, data.name, split)

    return make


@pytest.fixture(scope="session")
def forks() -> ForkServerContext:
    """Starts processes from one that has imported everything already, which takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pytest", "ganmix.commands", "ganmix.config.gan", "ganmix.tasks.gan", "sklearn.datasets"]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parent.parent)  # where it finds ganmix
        forkserver.ensure_running()
    return context
