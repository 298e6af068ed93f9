import math

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ganmix.engine import recorder as module
from ganmix.engine.pictures import square_grid
from ganmix.engine.recorder import Recorder
from ganmix.engine.run_folder import RunFolder
from ganmix.errors import DivergedError

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.held():
        yield folder


@pytest.fixture
def start(folder):
    """Makes recorders and closes them."""
    made = []

    def make(step=0, total_steps=10, state=None):
        made.append(Recorder(folder, step, total_steps, 4, state))
        return made[-1]

    yield make
    for recorder in made:
        recorder.close()


def push(recorder, *losses, penalty=0.0):
    for loss in losses:
        recorder.push({"loss": torch.tensor(loss), "penalty": torch.tensor(penalty, dtype=torch.float64)})


def test_line_holds_the_means_since_the_last(start, folder):
    recorder = start()
    push(recorder, 1.0, 2.0, 6.0, penalty=0.5)
    recorder.flush(3, learning_rate=0.25)
    push(recorder, 5.0)
    recorder.flush(4, learning_rate=0.125)
    first, second = folder.metrics
    assert first.pop("images_per_second") > 0
    assert first == {"step": 3, "loss": 3.0, "penalty": 0.5, "learning_rate": 0.25}
    assert (second["step"], second["loss"], second["learning_rate"]) == (4, 5.0, 0.125)


def test_speed_counts_images_since_the_last_line_or_restart(start, folder, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    recorder = start()
    push(recorder, 1.0, 1.0)
    now[0] += 4
    recorder.flush(2)  # 2 steps of 4 images in 4 seconds
    now[0] += 50
    recorder.restart_clock(2)
    push(recorder, 1.0)
    now[0] += 0.5
    recorder.flush(3)
    assert [line["images_per_second"] for line in folder.metrics] == [2, 8]


def test_resumed_recorder_means_over_the_pending_values_too(start, folder):
    push(interrupted := start(), 1.0, 2.0)
    state = interrupted.state_dict()
    resumed = start(step=2, state=state)
    push(resumed, 9.0)
    resumed.flush(3)
    (line,) = folder.metrics
    assert (line["step"], line["loss"]) == (3, 4.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_first_value_that_is_not_finite_is_named_with_its_step(start, folder, bad):
    recorder = start()
    push(recorder, 1.0, 2.0)
    recorder.flush(2)
    push(recorder, 1.0)
    push(recorder, 1.0, penalty=bad)
    push(recorder, bad, bad)
    for look in (recorder.check, recorder.flush):
        with pytest.raises(DivergedError, match=f"^penalty is {bad} at step 4$"):
            look(6)
    assert [line["step"] for line in folder.metrics] == [2]


def test_numbers_and_tensors_of_any_type_are_logged_in_their_order(start, folder):
    recorder = start()
    for i in (1, 2):
        loss = torch.tensor(2.0 * i, requires_grad=True) * 1
        recorder.push({"stage": i, "loss": loss, "rate": 0.5 * i, "right": torch.tensor(i == 1)})
    recorder.flush(2)
    (line,) = folder.metrics
    assert list(line.items())[:5] == [("step", 2), ("stage", 1.5), ("loss", 3.0), ("rate", 0.75), ("right", 0.5)]


@pytest.mark.parametrize("later", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
@pytest.mark.parametrize("first", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_run_may_go_on_on_another_device(start, folder, first, later):
    def values(loss, device):
        return {"stage": 4.0 * loss, "loss": torch.tensor(loss, device=device), "rate": torch.tensor(0.5)}

    (interrupted := start()).push(values(1.0, first))
    resumed = start(step=1, state=interrupted.state_dict())
    resumed.push(values(2.0, later))
    resumed.flush(2)
    (line,) = folder.metrics
    assert (line["stage"], line["loss"], line["rate"]) == (6.0, 1.5, 0.5)


def test_what_lies_on_a_device_is_read_when_it_is_logged(start):
    recorder = start()
    nowhere = torch.empty((), device="meta")  # a device that nothing can be read from
    recorder.push({"loss": nowhere, "stage": 3, "coefficient": torch.tensor(0.5)})
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        recorder.flush(1)


@NEEDS_CUDA
def test_a_step_does_not_wait_for_the_device(start):
    recorder = start()
    loss = torch.tensor(2.0, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        recorder.push({"loss": loss, "stage": 3, "coefficient": torch.tensor(0.5)})
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert recorder.check(1).tolist() == [[2.0, 3.0, 0.5]]


def test_finite_values_pass_the_check(start):
    recorder = start()
    assert recorder.check(0).numel() == 0
    push(recorder, 1.0, 3e38)
    assert recorder.check(2).tolist() == [[1.0, 0.0], [pytest.approx(3e38), 0.0]]


def test_points_of_a_step_are_on_its_curve(start, folder):
    recorder = start()
    push(recorder, 1.0, 3.0)
    recorder.flush(2)
    recorder.scalars(2, {"score/FID": 7.0})
    recorder.close()
    events = EventAccumulator(str(folder.path)).Reload()
    assert {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in ("loss", "score/FID")} == {
        "loss": [(2, 2.0)],
        "score/FID": [(2, 7.0)],
    }


def test_grid_is_a_png_named_by_step(start, folder):
    recorder = start()
    images = torch.full((4, 1, 8, 8), -1.0)
    images[3] = 1.0
    recorder.grid(12, "fakes", images)
    recorder.grid(0, "reals", images, "reals.png")
    assert sorted(file.name for file in folder.samples.iterdir()) == ["fakes_000012.png", "reals.png"]
    with Image.open(folder.samples / "fakes_000012.png") as png:
        assert png.mode == "RGB"
        pixels = torch.from_numpy(np.array(png)).permute(2, 0, 1)
    assert torch.equal(pixels, square_grid(images))
    middles = [pixels.shape[1] // 4, 3 * pixels.shape[1] // 4]
    assert pixels[0, middles][:, middles].tolist() == [[0, 0], [0, 255]]


def test_progress_without_a_terminal_is_a_plain_last_line(start, capsys):
    recorder = start(total_steps=3)
    push(recorder, 1.0, 2.0, 3.0)
    for step in (1, 2):
        recorder.progress(step)
    assert capsys.readouterr().err == ""
    recorder.flush(3)
    recorder.progress(3)
    line = capsys.readouterr().err
    assert line.startswith("step 3/3  ")
    assert line.endswith("  0:00 left  loss 2.000\n")
    assert "\r" not in line
