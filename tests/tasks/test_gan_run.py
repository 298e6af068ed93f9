import os
import runpy
import shutil
import signal
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from read_scores import read_scores
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ganmix.commands import train_gan
from ganmix.config.gan import GanConfig
from ganmix.config.reader import read_config
from ganmix.data import load_images
from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint
from ganmix.engine.files import read_lines
from ganmix.engine.run_folder import RunFolder
from ganmix.evaluation.gan.extractors import get_extractor
from ganmix.evaluation.gan.reference import images_digest
from ganmix.losses import GAN_LOSSES, GanLoss
from ganmix.tasks import gan as runs_gan

ROOT = Path(__file__).parents[2]
CONFIG = """\
data: {name: digits}
generator: {name: conv, z: 8, width: 4}
discriminator: {name: conv, width: 4}
loss: {name: hinge}
penalties: [{name: zero_centred_real, weight: 0.1}]
mixup: {alpha: 0.2, stages: [0, 1]}
training: {steps: 6, batch_size: 16, n_dis: 2, lr: 2.0e-3, ema: 0.9}
logging: {scalars_every: 2, images_every: 3, checkpoint_every: 2}
evaluation: {extractor: digits, num_fake: 64, every: 3, at_start: true}
device: {name: cpu}
"""
STEPS = 6
SCALARS = {
    *("loss_D/real", "loss_D/fake", "loss_D/FR", "loss_D/FF", "loss_D/penalty", "loss_G"),
    *("logit/real", "logit/fake", "logit/FR", "logit/FF", "accuracy_D", "mix/stage"),
    *("gradient_norm/D", "gradient_norm/G", "learning_rate", "images_per_second"),
}


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory):
    """A folder with config.yaml to be in; it keeps what scores cache."""
    folder = tmp_path_factory.mktemp("gan_run")
    (folder / "config.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def train(*overrides):
    return train_gan(["config.yaml", *overrides])


@pytest.fixture(scope="module")
def finished(workplace):
    """The folder of a finished run; tests copy it rather than go on in it."""
    assert train() == 0
    return workplace / "runs" / "config"


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


def weights(state):
    """G's, their average and D's, of an algorithm's state."""
    return [state["generator"]["network"], state["generator"]["ema"], state["discriminator"]["network"]]


def algorithm(folder, name="latest.pt"):
    return load_checkpoint(folder / "checkpoints" / name)["algorithm"]


def events(folder):
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "histograms": 0}).Reload()


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def errors(capsys):
    """The lines on stderr, each of which must be an error."""
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith("error: ")] == []
    return lines


def test_run_folder_holds_what_it_should(finished):
    files = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    samples = [*(f"fakes_00000{step}.png" for step in (0, 3, 6)), "mixes_000003.png", "mixes_000006.png", "reals.png"]
    checkpoints = ("latest.pt", "previous.pt", "best.pt")
    event_files = {file for file in files if file.startswith("events.out.tfevents.")}
    assert event_files
    assert files - event_files == {
        *("config.yaml", "metrics.jsonl", "scores.jsonl", "sessions.jsonl", "format", ".lock", ".logs.lock"),
        *(f"samples/{name}" for name in samples),
        *(f"checkpoints/{name}" for name in checkpoints),
    }


def test_run_folders_config_is_the_one_it_ran(finished):
    assert read_config(GanConfig, finished / "config.yaml") == read_config(GanConfig, Path("config.yaml"))


def test_checkpoints_are_of_the_last_step_and_the_save_before(finished):
    assert algorithm(finished)["steps_done"] == STEPS
    assert algorithm(finished, "previous.pt")["steps_done"] == 4


def test_metrics_name_every_scalar_at_increasing_steps(finished):
    lines = read_lines(finished / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 6]
    for line in lines:
        assert line.keys() - {"step"} == SCALARS
        assert 0 <= line["accuracy_D"] <= 1
        assert 0 <= line["mix/stage"] <= 1
        assert line["learning_rate"] == 2e-3
        assert min(line[name] for name in ("loss_D/penalty", "gradient_norm/D", "gradient_norm/G")) > 0


def test_scores_carry_their_protocol_and_versions(finished):
    extractor = get_extractor("digits")
    lines = read_lines(finished / "scores.jsonl")
    assert [line["step"] for line in lines] == [0, 3, 6]
    for line in lines:
        assert line.keys() == {"step", "checkpoint", "protocol_digest", "scores", "protocol", "versions"}
        assert [score["metric"] for score in line["scores"]] == ["IS", "FID", "KID"]
        assert [score["extractor"] for score in line["scores"]] == ["digits"] * 3
        assert ["spread" in score for score in line["scores"]] == [True, False, True]
        assert line["versions"]["torch"] == torch.__version__.partition("+")[0]
        assert line["versions"].keys() == {"torch", "torchvision", "torch_fidelity", "numpy"}
        assert line["protocol"] == {
            "name": "modern with extractor digits, num_fake 64",
            "extractor": "digits",
            "extractor_digest": extractor.digest,
            "reference": {
                "dataset": "digits",
                "split": "train",
                "num": 1438,
                "digest": images_digest(load_images("digits", "train").images),
            },
            "num_fake": 64,
            "few_images": True,
            "quantisation": "round",
            "batch_norm": "running",
            "ema": True,
            "is_splits": 10,
            "kid_subset_size": 64,
            "neighbours": 3,
            "seed": 2020,
        }


def test_scores_are_of_the_moving_average_unless_the_weights_are_asked_for(finished, tmp_path):
    assert train(f"run.dir={tmp_path}", "evaluation.ema=false") == 0
    of_average, of_weights = (read_scores(folder) for folder in (finished, tmp_path))
    assert [line["protocol"]["ema"] for line in of_weights] == [False] * 3
    assert of_weights[0]["scores"] == of_average[0]["scores"]  # before the first step they are one
    assert of_weights[2]["scores"] != of_average[2]["scores"]


def test_sessions_say_when_on_what_and_from_which_step_the_run_trained(copy):
    (first,) = read_lines(copy / "sessions.jsonl")
    assert train(f"run.dir={copy}") == 0  # there was nothing to do
    assert read_lines(copy / "sessions.jsonl") == [first]
    assert train(f"run.dir={copy}", "training.steps=7", "evaluation=null") == 0
    before, second = read_lines(copy / "sessions.jsonl")
    assert before == first
    assert [(line["step"], line["total_steps"]) for line in (first, second)] == [(0, 6), (6, 7)]
    for line in (first, second):
        assert line.keys() == {"step", "total_steps", "started", "hardware", "versions"}
        assert datetime.fromisoformat(line["started"]).utcoffset() == timedelta(0)
        assert line["hardware"].endswith(", 1 threads")
        assert line["versions"] == RunFolder(copy).measurements[0].versions
    assert first["started"] <= second["started"]


def test_an_earlier_steps_score_is_not_shown_as_the_result(copy):
    before = events(copy).Scalars("final/digits-FID")
    assert len(before) == 1
    assert train(f"run.dir={copy}", "training.steps=7", "evaluation=null") == 0
    assert events(copy).Scalars("final/digits-FID") == before


def test_kept_checkpoints_are_of_their_steps(tmp_path):
    assert train(f"run.dir={tmp_path}", "logging.keep_every=2", "evaluation=null", "training.steps=5") == 0
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"latest.pt", "previous.pt", "step_000002.pt", "step_000004.pt"}
    for step in (2, 4):
        assert algorithm(tmp_path, f"step_00000{step}.pt")["steps_done"] == step
    kept = (tmp_path / "checkpoints" / "step_000002.pt").read_bytes()
    assert train(f"run.dir={tmp_path}", "logging.keep_every=2", "evaluation=null", "training.steps=6") == 0
    assert algorithm(tmp_path, "step_000006.pt")["steps_done"] == 6
    assert (tmp_path / "checkpoints" / "step_000002.pt").read_bytes() == kept


@pytest.fixture
def trained_on(monkeypatch):
    """The image sets that trainings, of no steps here, were given."""
    given = []
    build_trainer = runs_gan.build_trainer

    def note(config, data, device):
        given.append(data.images)
        return build_trainer(config, data, device)

    monkeypatch.setattr(runs_gan, "build_trainer", note)
    monkeypatch.setattr("ganmix.engine.train.train", lambda *_, **__: None)
    return given


def as_set(images):
    return {image.numpy().tobytes() for image in images}


def test_fewer_images_are_drawn_by_the_seed(trained_on, tmp_path):
    seeds = (0, 0, 1)
    for index, seed in enumerate(seeds):
        few = ["data.num_images=100", f"run.seed={seed}", f"run.dir={tmp_path / str(index)}", "evaluation=null"]
        assert train(*few, "training.steps=1") == 0
    all_images = load_images("digits", "train").images
    assert train(f"run.dir={tmp_path / 'all'}", "evaluation=null") == 0
    first, same, other, whole = trained_on
    assert torch.equal(whole, all_images)
    assert first.shape == (100, 1, 8, 8)
    assert as_set(first) < as_set(all_images)
    assert len(as_set(first)) == 100
    assert torch.equal(first, same)
    assert len(as_set(first) & as_set(other)) < 30  # 7 are to be expected
    assert not torch.equal(first, all_images[:100])


def test_fewer_images_are_a_matter_of_the_data_alone(trained_on, tmp_path):
    """Of two settings and a seed, the same images: a comparison is of the methods."""
    for index, override in enumerate(["mixup=null", "training.n_dis=1", "generator.width=8"]):
        assert train("data.num_images=50", override, f"run.dir={tmp_path / str(index)}", "evaluation=null") == 0
    assert all(torch.equal(images, trained_on[0]) for images in trained_on)


def test_a_run_on_fewer_images_is_scored_against_all(tmp_path, capsys):
    assert train("data.num_images=100", f"run.dir={tmp_path}", "training.steps=1") == 0
    assert read_scores(tmp_path)[0]["protocol"]["reference"]["num"] == 1438
    assert "digits train: 100 images" in capsys.readouterr().err
    assert train("data.num_images=200", f"run.dir={tmp_path}") == 2
    assert "was started with data.num_images = 100, and now it is 200" in capsys.readouterr().err


def test_best_is_the_checkpoint_of_the_lowest_fid(finished):
    best = min(RunFolder(finished).measurements, key=lambda each: each.value("FID"))
    state = load_checkpoint(finished / "checkpoints" / "best.pt")
    assert state["algorithm"]["steps_done"] == best.step
    assert state["measurements"] == [best.to_line()]


def test_samples_are_pictures(finished):
    pictures = {path.name: np.array(Image.open(path)) for path in (finished / "samples").iterdir()}
    assert {picture.shape for name, picture in pictures.items() if "mixes" not in name} == {(530, 530, 3)}
    assert all(picture.std() > 1 for picture in pictures.values())
    assert not np.array_equal(pictures["fakes_000000.png"], pictures["fakes_000006.png"])


def test_events_are_readable(finished):
    read = events(finished)
    tags = read.Tags()
    assert {tag for tag in tags["scalars"] if not tag.startswith(("score/", "final/"))} == SCALARS
    assert [event.step for event in read.Scalars("loss_G")] == [2, 4, 6]
    assert [event.step for event in read.Scalars("score/digits-FID")] == [0, 3, 6]
    lines = read_lines(finished / "metrics.jsonl")
    assert [event.value for event in read.Scalars("loss_G")] == pytest.approx([line["loss_G"] for line in lines])
    assert {"fakes", "mixes", "reals"} <= set(tags["images"])
    assert [event.step for event in read.Images("fakes")] == [0, 3, 6]
    assert tags["distributions"] == ["mix/lambda"]
    text = read.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "name: zero_centred_real" in text


def test_only_a_run_with_a_penalty_or_mixup_records_them(tmp_path):
    assert train(f"run.dir={tmp_path}", "penalties=[]", "mixup=null", "evaluation=null", "training.steps=2") == 0
    (line,) = read_lines(tmp_path / "metrics.jsonl")
    absent = {"loss_D/penalty", "loss_D/FR", "loss_D/FF", "logit/FR", "logit/FF", "mix/stage"}
    assert line.keys() - {"step"} == SCALARS - absent
    assert not list((tmp_path / "samples").glob("mixes*"))
    assert not (tmp_path / "scores.jsonl").exists()


def test_watching_and_scoring_change_nothing(finished, tmp_path):
    seldom = ["evaluation=null", "logging.images_every=1000", "logging.scalars_every=1000"]
    assert train(f"run.dir={tmp_path}", *seldom, "logging.checkpoint_every=1000") == 0
    assert not (tmp_path / "scores.jsonl").exists()
    watched, alone = algorithm(finished), algorithm(tmp_path)
    for of_watched, of_alone in zip(weights(watched), weights(alone), strict=True):
        assert of_watched.keys() == of_alone.keys()
        assert [name for name in of_alone if not torch.equal(of_watched[name], of_alone[name])] == []
    for part in ("noise_generator", "plan_generator"):
        assert torch.equal(watched[part], alone[part])


def test_finished_run_says_so_and_does_nothing(finished, capsys):
    latest = finished / "checkpoints" / "latest.pt"
    before, time_before = snapshot(finished), latest.stat().st_mtime_ns
    assert train() == 0
    assert capsys.readouterr().err == "runs/config is finished (6 steps); training.steps=12 would go on\n"
    assert snapshot(finished) == before
    assert latest.stat().st_mtime_ns == time_before


@pytest.mark.parametrize(
    ("override", "change"),
    [
        ("training.lr=1e-3", "training.lr = 0.002, and now it is 0.001"),
        ("run.seed=1", "run.seed = 0, and now it is 1"),
        ("training.decay=linear", "training.decay = 'constant', and now it is 'linear'"),
        ("mixup.alpha=1", "mixup.alpha = 0.2, and now it is 1.0"),
    ],
)
def test_change_that_makes_another_run_is_refused_by_name(copy, capsys, override, change):
    before = (copy / "config.yaml").read_text(), (copy / "checkpoints" / "latest.pt").read_bytes()
    assert train(f"run.dir={copy}", override) == 2
    problem, advice = errors(capsys)
    assert problem == f"error: {copy} was started with {change}"
    assert "another run.dir" in advice
    assert ((copy / "config.yaml").read_text(), (copy / "checkpoints" / "latest.pt").read_bytes()) == before


def test_steps_logging_and_evaluation_may_change(copy):
    changes = ["training.steps=8", "logging.scalars_every=1", "evaluation.num_fake=80", "evaluation.every=null"]
    assert train(f"run.dir={copy}", *changes) == 0
    assert [line["step"] for line in read_lines(copy / "metrics.jsonl")] == [2, 4, 6, 7, 8]
    scores = read_scores(copy)
    assert [(line["step"], line["protocol"]["num_fake"]) for line in scores] == [(0, 64), (3, 64), (6, 64), (8, 80)]
    assert read_config(GanConfig, copy / "config.yaml").training.steps == 8


def test_finished_run_is_scored_by_a_changed_protocol(copy):
    assert train(f"run.dir={copy}", "evaluation.num_fake=80") == 0
    last = read_scores(copy)[-1]
    assert (last["step"], last["protocol"]["num_fake"]) == (STEPS, 80)
    assert algorithm(copy)["steps_done"] == STEPS
    assert algorithm(copy, "previous.pt")["steps_done"] == 4


def test_steps_are_fixed_where_the_learning_rate_falls_over_them(tmp_path, capsys):
    linear = [f"run.dir={tmp_path}", "training.decay=linear", "evaluation=null"]
    assert train(*linear, "training.steps=4") == 0
    rates = [line["learning_rate"] for line in read_lines(tmp_path / "metrics.jsonl")]
    assert rates == pytest.approx([1e-3, 0])  # of the next step, after 2 and 4 of 4
    capsys.readouterr()
    assert train(*linear, "training.steps=4") == 0
    assert capsys.readouterr().err == f"{tmp_path} is finished (4 steps)\n"
    assert train(*linear, "training.steps=8") == 2
    assert errors(capsys)[0].endswith("was started with training.steps = 4, and now it is 8")


def with_nan_at_step(step):
    """The hinge loss, whose generator term is not a number in one step."""
    calls = []

    def generator(logits):
        calls.append(None)
        return -logits["fake"] * (torch.nan if len(calls) == step else 1)

    return GanLoss(GAN_LOSSES["hinge"].discriminator, generator)


def test_divergence_names_term_step_and_last_good_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(GAN_LOSSES, "hinge", with_nan_at_step(3))
    assert train(f"run.dir={tmp_path}", "evaluation=null") == 3
    latest = tmp_path / "checkpoints" / "latest.pt"
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"diverged: loss_G is nan at step 3; the last good checkpoint is {latest}"
    state = algorithm(tmp_path)
    assert state["steps_done"] == 2
    assert all(tensor.isfinite().all() for tensor in state["generator"]["network"].values())
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [2]


def test_no_step_is_in_the_events_twice_after_a_resume(tmp_path, monkeypatch):
    every = ["evaluation=null", "logging.scalars_every=1", "logging.images_every=1", "logging.checkpoint_every=4"]
    with monkeypatch.context() as patch:
        patch.setitem(GAN_LOSSES, "hinge", with_nan_at_step(6))
        assert train(f"run.dir={tmp_path}", *every) == 3
    assert [event.step for event in events(tmp_path).Scalars("loss_G")] == [1, 2, 3, 4, 5]
    assert algorithm(tmp_path)["steps_done"] == 4
    time.sleep(1)  # TensorBoard reads event files in the order of the second in their name
    assert train(f"run.dir={tmp_path}", *every) == 0
    read = events(tmp_path)
    for tag in SCALARS:
        assert [event.step for event in read.Scalars(tag)] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in read.Histograms("mix/lambda")] == [1, 2, 3, 4, 5, 6]
    assert sorted({event.step for event in read.Images("fakes")}) == [0, 1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6]


UNSAVED = ["evaluation=null", "logging.checkpoint_every=1000000"]


def script(folder, arguments, stderr):
    """Be `python train_gan.py`, in a process of its own."""
    with stderr.open("w") as file:
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    torch.set_num_threads(1)
    sys.argv = ["train_gan.py", *arguments]
    runpy.run_path(str(ROOT / "train_gan.py"), run_name="__main__")


@pytest.fixture
def start(forks, workplace, tmp_path):
    """Starts train_gan.py, its stderr going into a file; what still runs at the end of the test is killed."""
    started = []

    def start(*overrides):
        arguments = ["config.yaml", f"run.dir={tmp_path / 'run'}", *overrides]
        process = forks.Process(target=script, args=(workplace, arguments, tmp_path / "stderr"))
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()
        process.close()


def wait_until(happened, process):
    deadline = time.monotonic() + 120
    while not happened():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_the_run_goes_on(start, tmp_path, signum, status):
    folder = tmp_path / "run"
    process = start("training.steps=1000000", *UNSAVED)
    wait_until(lambda: read_lines(folder / "metrics.jsonl"), process)
    assert not (folder / "checkpoints" / "latest.pt").exists()
    os.kill(process.pid, signum)
    process.join(60)
    assert process.exitcode == status
    said = (tmp_path / "stderr").read_text()
    assert said.endswith(f"stopped by {signal.Signals(signum).name}; the same command goes on from here\n")
    assert "Traceback" not in said
    stopped_at = algorithm(folder)["steps_done"]
    assert 2 <= stopped_at < 1000000
    end = stopped_at + 3
    assert train(f"run.dir={folder}", f"training.steps={end}", *UNSAVED) == 0
    assert algorithm(folder)["steps_done"] == end
    assert [line["step"] for line in read_lines(folder / "metrics.jsonl")] == [*range(2, end, 2), end]


def test_second_signal_ends_at_once(start, tmp_path):
    folder, said = tmp_path / "run", tmp_path / "stderr"
    process = start("training.n_dis=1000000", *UNSAVED)
    # From the grid of step 0 on, the loop is there to notice signals.
    wait_until((folder / "samples" / "fakes_000000.png").exists, process)
    os.kill(process.pid, signal.SIGINT)
    wait_until(lambda: "once more to stop at once" in said.read_text(), process)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 130
    assert said.read_text().endswith("\nstopped at once; a training resumes from its last checkpoint\n")
    assert not (folder / "checkpoints" / "latest.pt").exists()


def test_unusable_settings_are_named_before_a_folder_is_made(capsys, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not a network")
    cases = {
        f"evaluation.extractor={damaged}": f"{damaged} is not a classifier's file (",
        "mixup.stages=[7]": "mixup.stages",
        "mixup.stages=[inptu]": "mixup.stages",
        "training.batch_size=5000": "training.batch_size",
        "evaluation.num_fake=5": "evaluation",
        "data.num_images=1439": "data.num_images: digits has 1438 images, fewer than 1439",
        "evaluation.extractor=digit": "did you mean 'digits'",
        "data.resolution=10": "data.resolution",
        "device.name=gpu": "device.name",
    }
    for override, expected in cases.items():
        assert train(f"run.dir={tmp_path / 'run'}", override) == 2
        (problem,) = errors(capsys)
        assert expected in problem
    assert not (tmp_path / "run").exists()


@pytest.fixture
def pictures(tmp_path):
    """Makes folders of images of one brightness, as overrides that train on them."""

    def make(name, brightness):
        folder = tmp_path / name
        folder.mkdir()
        for index in range(20):
            Image.new("L", (8, 8), brightness + index).save(folder / f"{index}.png")
        return f"data={{name: folder, path: {folder}, resolution: 8, channels: 1}}"

    return make


def test_a_run_goes_on_with_the_images_it_began_with_wherever_they_are(pictures, tmp_path, capsys):
    options = [f"run.dir={tmp_path / 'run'}", "evaluation=null"]
    dark, moved, bright = pictures("dark", 10), pictures("moved", 10), pictures("bright", 200)
    assert train(*options, dark, "training.steps=2") == 0
    assert train(*options, moved, "training.steps=3") == 0
    before = snapshot(tmp_path / "run")
    capsys.readouterr()
    assert train(*options, bright, "training.steps=4") == 2
    (problem,) = errors(capsys)
    assert problem.startswith(f"error: the images at {tmp_path / 'bright'} are not those this run was trained on")
    assert snapshot(tmp_path / "run") == before


def rewrite(path, change):
    """Save again, undamaged, what `change` makes of a checkpoint."""
    save_checkpoint(path, change(load_checkpoint(path)))


def with_algorithm(**parts):
    return lambda state: {**state, "algorithm": {**state["algorithm"], **parts}}


FOREIGN = {
    "of another seed": ["run.seed=1"],
    "of another loss": ["loss.name=wasserstein"],
    "of another network": ["generator.width=6"],
}


@pytest.mark.parametrize("case", FOREIGN)
def test_another_runs_checkpoint_is_not_taken(copy, tmp_path, capsys, case):
    assert train(f"run.dir={tmp_path / 'other'}", *FOREIGN[case], "evaluation=null", "mixup=null") == 0
    shutil.copy(tmp_path / "other" / "checkpoints" / "latest.pt", copy / "checkpoints")
    before = snapshot(copy)
    capsys.readouterr()
    assert train(f"run.dir={copy}", "training.steps=8") == 2
    (problem,) = errors(capsys)
    assert problem.startswith(f"error: {copy}/checkpoints/latest.pt is not a checkpoint of this run: its ")
    assert snapshot(copy) == before


def shortened(weights):
    return {name: tensor[:1] for name, tensor in weights.items() if tensor.ndim}


MALFORMED = {
    "a list": lambda state: [1],
    "a short random state": with_algorithm(noise_generator=torch.zeros(3, dtype=torch.uint8)),
    "no discriminator": lambda state: {
        **state,
        "algorithm": {name: part for name, part in state["algorithm"].items() if name != "discriminator"},
    },
    "weights of another shape": lambda state: with_algorithm(
        generator=state["algorithm"]["generator"] | {"network": shortened(state["algorithm"]["generator"]["network"])}
    )(state),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_checkpoint_is_one_line(copy, capsys, case):
    latest = copy / "checkpoints" / "latest.pt"
    rewrite(latest, MALFORMED[case])
    assert train(f"run.dir={copy}", "training.steps=8") == 2
    (problem,) = errors(capsys)
    assert problem.startswith(f"error: {latest} is not a checkpoint of this run")


def test_a_run_with_a_damaged_checkpoint_ends_as_if_it_were_whole(finished, copy, capsys):
    latest = copy / "checkpoints" / "latest.pt"
    content = bytearray(latest.read_bytes())
    content[len(content) // 3] ^= 4
    latest.write_bytes(content)
    capsys.readouterr()
    assert train(f"run.dir={copy}") == 0
    said = capsys.readouterr().err
    assert f"warning: {latest}: not a readable checkpoint (it is damaged" in said
    assert "resumed at step 4" in said
    torch.testing.assert_close(weights(algorithm(copy)), weights(algorithm(finished)), rtol=0, atol=0)
    assert read_scores(copy) == read_scores(finished)
    assert (copy / "checkpoints" / "latest.pt.damaged").read_bytes() == content


def test_a_damaged_line_of_a_log_is_one_line(copy, capsys):
    scores = copy / "scores.jsonl"
    scores.write_text(scores.read_text().replace('{"step": 3', '{"st', 1))
    assert train(f"run.dir={copy}", "training.steps=8") == 2
    (problem,) = errors(capsys)
    assert problem.startswith(f"error: {scores}:2: expected a JSON object with a step")


def test_home_is_the_users(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert train("run.dir=~/here", "evaluation=null", "training.steps=1") == 0
    assert (tmp_path / "here" / "checkpoints" / "latest.pt").exists()
    assert not Path("~").exists()
    capsys.readouterr()
    assert train("run.dir=~nobody-of-this-name/here") == 2
    assert errors(capsys) == ["error: run.dir: '~nobody-of-this-name/here' is in the home of a user unknown here"]


def test_fewer_steps_than_were_done_are_refused_and_nothing_is_written(copy, capsys):
    before = (copy / "config.yaml").read_bytes()
    assert train(f"run.dir={copy}", "training.steps=2") == 2
    assert f"has done {STEPS} already, more than 2" in capsys.readouterr().err
    assert (copy / "config.yaml").read_bytes() == before
