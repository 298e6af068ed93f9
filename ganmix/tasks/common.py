"""What every run does around its algorithm: its folder, its data, its seeds."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from ganmix.config.base import Section
from ganmix.config.common import Data, Device, FolderData
from ganmix.config.reader import dump_config
from ganmix.data import SHAPES, BatchOrder, ImageBatches, ImageData, load_images, read_folder
from ganmix.engine.checkpoint import write_atomically
from ganmix.engine.device import check_compiler, find_device, hardware, has_fast_bf16, keep_freed_memory
from ganmix.engine.old_run_folder import RunFolder, append_line
from ganmix.engine.versions import library_versions
from ganmix.errors import UserError

AUGMENTATION = {"flip", "dequantise", "crop_padding", "padding"}  # the keys of `data` that it takes, where it has them


def write_config(folder: RunFolder, config: Section) -> None:
    """Write the resolved config into the run's folder."""
    write_atomically(folder.config, dump_config(config).encode())


def prepare_device(settings: Device) -> torch.device:
    """Return the config's device, ready to compute.

    Raises:
        UserError: it is not there, or cannot compile where the config wants it to.
    """
    device = find_device(settings.name)
    if settings.compile:
        check_compiler(device)
    keep_freed_memory()
    return device


def read_data(data: Data | FolderData, split: str) -> ImageData:
    """Read the images that a config names; a folder has one split."""
    if isinstance(data, FolderData):
        return read_folder(data.path, resolution=data.resolution, channels=data.channels, skip_broken=data.skip_broken)
    return load_images(data.name, split, root=data.root, resolution=data.resolution)


def image_shape(data: Data | FolderData) -> tuple[int, int]:
    """Return channels and resolution of the images that a config names, without reading them."""
    if isinstance(data, FolderData):
        return data.channels, data.resolution
    channels, resolution = SHAPES[data.name]
    return channels, data.resolution or resolution


def training_images(data: ImageData, settings: Data | FolderData, seed: int) -> ImageData:
    """Return what a run trains on: `data`, or `settings.num_images` of it, drawn by the run's seed.

    Raises:
        UserError: there are fewer.
    """
    num = settings.num_images
    if num is None:
        return data
    if num > data.num_images:
        raise UserError(f"data.num_images: {data.name} has {data.num_images} images, fewer than {num}")
    draw = torch.Generator().manual_seed(child_seeds(seed, 5)[4])  # a stream that no trainer uses
    return data.subset(torch.randperm(data.num_images, generator=draw)[:num])


def build_batches(
    data: ImageData,
    labels: Tensor | None,
    settings: Data | FolderData,
    *,
    batch_size: int,
    seed: int,
    generator: torch.Generator,
) -> ImageBatches:
    """Return training batches of `data`, which lie on the generator's device; `seed` is of their order."""
    device = generator.device
    return ImageBatches(
        data.images.to(device),
        None if labels is None else labels.to(device),
        BatchOrder(data.num_images, batch_size, seed, device),
        generator=generator,
        **settings.model_dump(include=AUGMENTATION),
    )


def memory_format(settings: Device) -> torch.memory_format:
    """Return the layout that networks get."""
    return torch.channels_last if settings.channels_last else torch.contiguous_format


def run_path(run_dir: str | None, config_path: Path) -> Path:
    """Return the run's folder: the config's, or runs/ and the config file's name.

    Raises:
        UserError: it begins with ~ and a name that nobody has.
    """
    if not run_dir:
        return Path("runs") / config_path.stem
    try:
        return Path(run_dir).expanduser()
    except RuntimeError as error:
        raise UserError(f"run.dir: {run_dir!r} is in the home of a user unknown here") from error


def child_seeds(seed: int, num: int) -> list[int]:
    """Return seeds for `num` independent random streams of one run."""
    return torch.randint(2**62, (num,), generator=torch.Generator().manual_seed(seed)).tolist()


def record_session(folder: RunFolder, device: torch.device, step: int, total_steps: int) -> None:
    """Append to sessions.jsonl when, from which step, on what and with which libraries training starts or goes on.

    Args:
        total_steps: of the whole training, which a config that counts in epochs does not tell.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    session = {"step": step, "total_steps": total_steps, "started": started}
    append_line(folder.sessions, {**session, "hardware": hardware(device), "versions": library_versions()})


def introduce(
    data: ImageData,
    parts: Mapping[str, str],
    settings: Device,
    device: torch.device,
    folder: RunFolder,
    step: int,
) -> None:
    """Say what is about to be trained, on what and where."""
    size = f"{data.resolution}x{data.resolution}, {data.channels} channel{'s' if data.channels > 1 else ''}"
    resumed = f", resumed at step {step}" if step else ""
    lines = {
        "data": f"{data.name} {data.split}: {data.num_images} images, {size}",
        **parts,
        "device": f"{hardware(device)}, {'bfloat16 autocast' if settings.bf16 else 'float32'}",
        "run": f"{folder.path}{resumed}",
    }
    for name, text in lines.items():
        say(f"{name:<12} {text}")
    if settings.bf16 and not has_fast_bf16(device):
        say("warning: this device emulates bfloat16; device.bf16=false is faster on it")


def say(text: str) -> None:
    """Print a line for the person at the terminal; stdout stays free."""
    print(text, file=sys.stderr)
