"""A run killed in the middle of a step and started again is the uninterrupted run, bit for bit."""

import os
import signal
from pathlib import Path

import pytest
import torch

from ganmix.algorithms.gan import GanTrainer
from ganmix.commands import train_gan
from ganmix.data import ImageData
from ganmix.engine.checkpoint import load_checkpoint
from ganmix.engine.files import read_lines
from ganmix.engine.recorder import Recorder

CONFIGS = Path(__file__).parents[2] / "configs" / "gan"
TABLE_6 = sorted(path.stem for path in (CONFIGS / "table6").glob("*.yaml"))
STEPS, CHECKPOINT, KILLED = 6, 4, 6  # the last is the step that the kill falls into
SHORT = [
    *("generator.width=8", "discriminator.width=8", "training.batch_size=4", f"training.steps={STEPS}"),
    # A line of metrics.jsonl, and means over steps, on either side of the checkpoint.
    *("logging.scalars_every=5", "logging.images_every=3", f"logging.checkpoint_every={CHECKPOINT}"),
    *("training.ema=0.9", "evaluation=null", "device.name=cpu"),
]
MORE = {
    "interpolate and hinge": ["loss.name=hinge", "penalties=[{name: interpolate, weight: 10}]"],
    "decay, dequantisation and flip": ["training.decay=linear", "data.dequantise=true", "data.flip=true"],
    "wasserstein and mixes at all depths": [
        "loss.name=wasserstein",
        "penalties=[{name: interpolate, weight: 10, own_step: true}]",
        "mixup={stages: [0, 1, 2, 3, 4], lam_per: batch, labels: soft, clamp: false}",
    ],
}
RUNS = {name: [str(CONFIGS / "table6" / f"{name}.yaml")] for name in TABLE_6} | {
    name: [str(CONFIGS / "table6" / "sn_gan_fr_ff.yaml"), *options] for name, options in MORE.items()
}
PARTS = {"steps_done", "noise_generator", "plan_generator", "batches", "generator", "discriminator"}
DESCENT = {"steps_done", "network", "optimizer"}
OF_DESCENTS = {f"generator/{part}" for part in DESCENT | {"ema"}} | {f"discriminator/{part}" for part in DESCENT}


def child(arguments, log, killed_in_step):
    """Call `train_gan`; `killed_in_step` dies in that step, after its D steps and before its G step."""
    torch.set_num_threads(1)
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 2)
    images = torch.randint(256, (50, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    patch = pytest.MonkeyPatch()  # the process ends with it
    patch.setattr("ganmix.tasks.gan.read_data", lambda data, split: ImageData(images, None, data.name, split))
    patch.setattr("ganmix.tasks.gan.GRID", 4)
    patch.setattr(Recorder, "grid", lambda *_: None)  # most of the time, for PNGs of noise
    generator_step = GanTrainer.generator_step

    def generator_step_or_death(trainer, real):
        if trainer.steps_done + 1 == killed_in_step:
            os.kill(os.getpid(), signal.SIGKILL)
        return generator_step(trainer, real)

    patch.setattr(GanTrainer, "generator_step", generator_step_or_death)
    os._exit(train_gan(arguments))


def run_in_child(forks, folder, arguments, killed_in_step=None):
    """Return the exit status of `train_gan`, minus the signal's number where one ended it."""
    log = f"{folder}.stderr"
    process = forks.Process(target=child, args=([*arguments, f"run.dir={folder}"], log, killed_in_step))
    process.start()
    process.join(60)
    print(Path(log).read_text())  # pytest shows it where the test fails
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def without_speed(lines):
    assert all(line.pop("images_per_second") > 0 for line in lines)
    return lines


def leaves(state, path=""):
    """The path and the value of everything in nested dicts and lists."""
    if isinstance(state, dict | list | tuple):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from leaves(value, f"{path}/{key}")
    else:
        yield path, state


def differing(first, second):
    """The paths under which two checkpoints differ in a value, or in its type or dtype."""
    first, second = dict(leaves(first)), dict(leaves(second))
    assert first.keys() == second.keys()
    return [path for path in first if not equal(first[path], second[path])]


def equal(first, second):
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    return type(first) is type(second) and first == second


@pytest.mark.parametrize("name", RUNS)
def test_killed_and_resumed_run_equals_an_uninterrupted_one(name, forks, tmp_path):
    arguments = [*RUNS[name][:1], *SHORT, *RUNS[name][1:]]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_in_child(forks, whole, arguments) == 0
    assert run_in_child(forks, killed, arguments, KILLED) == -signal.SIGKILL
    after_kill = load_checkpoint(killed / "checkpoints" / "latest.pt")
    assert after_kill["algorithm"]["steps_done"] == CHECKPOINT
    assert [line["step"] for line in read_lines(killed / "metrics.jsonl")] == [5]
    assert run_in_child(forks, killed, arguments) == 0

    expected, found = (load_checkpoint(folder / "checkpoints" / "latest.pt") for folder in (whole, killed))
    assert found["algorithm"].keys() == PARTS
    descents = {name: found["algorithm"][name] for name in ("generator", "discriminator")}
    assert {f"{name}/{part}" for name, parts in descents.items() for part in parts} == OF_DESCENTS
    assert found["algorithm"]["steps_done"] == STEPS
    assert differing(found, expected) == []
    lines = without_speed(read_lines(whole / "metrics.jsonl"))
    assert [line["step"] for line in lines] == [5, 6]
    assert without_speed(read_lines(killed / "metrics.jsonl")) == lines

    # Resuming had all of this to restore, since the last steps changed it.
    changed = differing(after_kill["algorithm"], expected["algorithm"])
    parts = (PARTS | OF_DESCENTS) - descents.keys()
    assert {part for part in parts if not any(path.startswith(f"/{part}") for path in changed)} <= {"plan_generator"}
    spectral_norm = "spectral_norm: true" in Path(arguments[0]).read_text()
    assert any(path.startswith("/discriminator/network/") and path.endswith("_u") for path in changed) == spectral_norm
