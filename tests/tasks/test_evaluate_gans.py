"""`python -m ganmix evaluate` on a finished run of a few steps."""

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from read_scores import read_scores
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from threadpoolctl import threadpool_limits

from ganmix.commands import main, train_gan
from ganmix.config.gan import GanConfig
from ganmix.config.reader import read_config
from ganmix.data import load_images
from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint
from ganmix.engine.identity import identity_of
from ganmix.evaluation.gan.extractors import INCEPTION_FILE, SHIPPED
from ganmix.evaluation.gan.features import extract
from ganmix.evaluation.gan.protocol import SEED
from ganmix.evaluation.gan.reference import draw_images, images_digest
from ganmix.networks.classifier.files import classifier_file, load_classifier
from ganmix.tasks.gan_scores import Scorer

CONFIG = """\
data: {name: digits}
generator: {name: conv, z: 8, width: 4}
discriminator: {name: conv, width: 4}
loss: {name: hinge}
training: {steps: 6, batch_size: 16, lr: 2.0e-3, ema: 0.9}
logging: {scalars_every: 6, images_every: 6, checkpoint_every: 6, keep_every: 2}
evaluation: {protocol: small, num_fake: 70, every: 4}
device: {name: cpu}
"""
CLASSIFIER = "data: {name: digits}\nnetwork: {name: conv, width: 4}\ntraining: {steps: 1, batch_size: 4}\n"


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory):
    """A folder with config.yaml to be in; it keeps what scores cache."""
    folder = tmp_path_factory.mktemp("evaluate_run")
    (folder / "config.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def finished(workplace):
    """The folder of a finished run, kept as it is: tests evaluate copies."""
    assert train_gan(["config.yaml"]) == 0
    return workplace / "runs" / "config"


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def unscored(run):
    (run / "scores.jsonl").unlink()
    return run


@pytest.fixture
def no_scoring(monkeypatch):
    """Call it to make all scoring fail from then on."""

    def refuse(scorer, generator):
        pytest.fail("scored again")

    return lambda: monkeypatch.setattr(Scorer, "__call__", refuse)


def evaluate(*arguments):
    return main(["evaluate", *map(str, arguments)])


def scores_of(run):
    return (run / "scores.jsonl").read_text()


def steps_of(run):
    return [line["step"] for line in read_scores(run)]


def last(run):
    return read_scores(run)[-1]


def refused(capsys, *arguments):
    """What follows `error: ` on each line of stderr; there are no other lines."""
    capsys.readouterr()
    assert evaluate(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith("error: ")] == []
    return [line.removeprefix("error: ") for line in lines]


def test_what_was_scored_in_training_is_known(run, no_scoring, capsys):
    before = scores_of(run)
    assert steps_of(run) == [4, 6]
    no_scoring()
    assert evaluate(run) == 0
    assert scores_of(run) == before
    said = capsys.readouterr()
    assert said.out == ""
    name, line = said.err.splitlines()
    assert name.split() == ["run", str(run)]
    assert line.split()[:2] == ["step", "6"]
    assert line.endswith("(small with num_fake 70: 70 generated, 1438 real; few, so FID is too high, known)")


def test_all_scores_every_kept_checkpoint_once(run, no_scoring):
    before = scores_of(run)
    assert evaluate(run, "--all") == 0
    assert steps_of(run) == [4, 6, 2]  # 4 and 6 were known
    assert scores_of(run).startswith(before)
    after = scores_of(run)
    no_scoring()
    assert evaluate(run, "--all") == 0
    assert scores_of(run) == after


def test_a_score_is_the_one_made_in_training_to_the_last_byte(run, unscored, finished):
    assert evaluate(unscored, "--all") == 0
    first, *others = scores_of(unscored).splitlines()
    assert others == scores_of(finished).splitlines()
    assert json.loads(first)["step"] == 2
    assert json.loads(first)["protocol"] == json.loads(others[0])["protocol"]


def test_checkpoints_are_chosen_by_name_or_path(unscored, finished):
    best = min(read_scores(finished), key=lambda line: line["scores"]["digits-FID"])
    assert evaluate(unscored, "--checkpoint", "best") == 0
    assert last(unscored) == best
    assert evaluate(unscored, "--checkpoint", unscored / "checkpoints" / "step_000002.pt") == 0
    assert last(unscored)["step"] == 2
    assert evaluate(unscored, "--checkpoint", "latest", "evaluation.num_fake=64") == 0
    assert (last(unscored)["step"], last(unscored)["protocol"]["num_fake"]) == (6, 64)


def test_scores_join_the_runs_curves_and_other_protocols_have_their_own(run):
    assert evaluate(run, "--all") == 0
    assert evaluate(run, "evaluation.num_fake=64") == 0
    read = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    assert sorted(event.step for event in read.Scalars("score/digits-FID")) == [2, 4, 6]
    (other,) = read.Scalars("score (small with num_fake 64)/digits-FID")
    assert other.step == 6
    assert other.value == pytest.approx(last(run)["scores"]["digits-FID"])


def test_the_evaluation_section_can_be_replaced_in_parts_or_by_a_protocol(run):
    assert evaluate(run, "evaluation.quantisation=truncate") == 0
    assert last(run)["protocol"]["name"] == "small with num_fake 70, quantisation truncate"
    assert last(run)["protocol"]["quantisation"] == "truncate"
    assert evaluate(run, "--protocol", "miyato", "evaluation.extractor=digits", "evaluation.num_fake=64") == 0
    protocol = last(run)["protocol"]
    assert protocol["name"] == "miyato with extractor digits, num_fake 64"
    assert (protocol["reference"]["split"], protocol["reference"]["num"]) == ("test", 359)
    assert evaluate(run, "--protocol", "small", "evaluation.num_real=100", "evaluation.ema=false") == 0
    protocol = last(run)["protocol"]
    assert (protocol["name"], protocol["num_fake"]) == ("small with num_real 100", 10_000)  # not the run's 70
    assert (protocol["reference"]["num"], protocol["ema"]) == (100, False)
    assert protocol["reference"]["drawn_by_seed"] == SEED
    assert protocol["reference"]["digest"] == images_digest(draw_images(load_images("digits"), 100, SEED).images)
    scores = [line["scores"] for line in read_scores(run)]
    assert len({line["digits-FID"] for line in scores}) == 5


def test_the_weights_themselves_are_scored_where_asked_for(run, tmp_path):
    of_average = last(run)
    assert evaluate(run, "evaluation.ema=false") == 0
    assert train_gan(["config.yaml", f"run.dir={tmp_path / 'weights'}", "evaluation.ema=false"]) == 0
    assert last(run) == last(tmp_path / "weights")
    assert last(run)["scores"] != of_average["scores"]


@pytest.mark.parametrize("mode", ["batch", "standing"])
def test_batch_norms_mode_moves_the_score_and_is_in_the_protocol(run, mode):
    running = last(run)
    assert evaluate(run, f"evaluation.batch_norm={mode}") == 0
    assert last(run)["protocol"] == {
        **running["protocol"],
        "name": f"small with num_fake 70, batch_norm {mode}",
        "batch_norm": mode,
    }
    assert last(run)["scores"]["digits-FID"] != running["scores"]["digits-FID"]


def test_precision_and_recall_are_added_to_what_lacks_them_and_then_known(run, no_scoring):
    before = last(run)
    assert evaluate(run, "evaluation.precision_recall=true") == 0
    found = last(run)
    assert steps_of(run) == [4, 6, 6]
    assert found["scores"] == {**before["scores"], **{key: found["scores"][key] for key in PRECISION_RECALL}}
    no_scoring()
    assert evaluate(run, "evaluation.precision_recall=true") == 0
    assert evaluate(run) == 0
    assert steps_of(run) == [4, 6, 6]


PRECISION_RECALL = ("digits-precision", "digits-recall")


def test_the_generators_first_images_are_what_is_scored_whatever_comes_after(unscored):
    """70 images are two passes of 64, of which the last are left out."""
    seen = {}
    found = Scorer._found

    def note(scorer, parts):
        seen[scorer.protocol["num_fake"]] = torch.cat([part.features for part in parts])
        return found(scorer, parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "_found", note)
        for num in (70, 200):
            assert evaluate(unscored, f"evaluation.num_fake={num}") == 0
    assert {num: len(features) for num, features in seen.items()} == {70: 128, 200: 256}
    assert torch.equal(seen[200][:128], seen[70])


def test_runs_below_a_folder_are_scored_and_see_the_real_images_once(finished, tmp_path, monkeypatch):
    runs = [shutil.copytree(finished, tmp_path / "runs" / name) for name in ("a/seed-0", "a/seed-1", "b")]
    for run in runs:
        (run / "scores.jsonl").unlink()
    monkeypatch.chdir(tmp_path)  # with nothing cached
    seen = []

    def note(images, *arguments):
        seen.append(len(images))
        return extract(images, *arguments)

    monkeypatch.setattr("ganmix.evaluation.gan.reference.extract", note)
    assert evaluate(tmp_path / "runs") == 0
    assert sum(seen) == 1438
    assert len({scores_of(run) for run in runs}) == 1
    assert steps_of(runs[0]) == [6]


def test_a_run_that_cannot_be_scored_keeps_no_other_from_it(finished, tmp_path, capsys):
    runs = [shutil.copytree(finished, tmp_path / name) for name in ("a", "b", "c")]
    for run in runs:
        (run / "scores.jsonl").unlink()
    (runs[0] / "checkpoints" / "latest.pt").unlink()
    (runs[1] / "format").write_text("0")
    assert evaluate(tmp_path) == 2
    problems = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert [str(run) in problem for run, problem in zip(runs, problems, strict=False)] == [True, True]
    assert steps_of(runs[2]) == [6]


# One digit more or less, and these fail.

EVERYTHING = ("--all", "evaluation.precision_recall=true", "evaluation.batch_norm=standing")


@pytest.fixture(scope="module")
def expected(finished, tmp_path_factory):
    """Scores of all checkpoints by one process of one thread, with an empty cache."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("expected") / "run")
    (run / "scores.jsonl").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run.parent)
        assert evaluate(run, *EVERYTHING) == 0
    assert steps_of(run) == [2, 4, 6]
    return scores_of(run)


def test_the_same_checkpoints_get_the_same_digits(unscored, expected):
    assert evaluate(unscored, *EVERYTHING) == 0  # with what earlier tests have cached
    assert scores_of(unscored) == expected


def be_one_of(rank, size, port, folder, arguments):
    """Be one of the processes that torchrun starts."""
    torch.set_num_threads(1)
    with (folder / f"stderr-{rank}").open("w") as file:
        os.dup2(file.fileno(), 2)
    os.chdir(folder)
    # With the agent's store, as torchrun has it, no process has to win a port.
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ.update(place, RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    os._exit(evaluate(*arguments))


@pytest.mark.parametrize("size", [2, 3])  # for 70 images, two passes: one for each, or none for some
def test_several_processes_give_the_same_digits_as_one(size, unscored, expected, forks, tmp_path):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
    arguments = [str(unscored), *EVERYTHING, "--real"]
    processes = [
        forks.Process(target=be_one_of, args=(rank, size, store.port, tmp_path, arguments)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        process.kill()  # one that hangs
    said = [(tmp_path / f"stderr-{rank}").read_text() for rank in range(size)]
    assert [process.exitcode for process in processes] == [0] * size, said
    assert scores_of(unscored) == expected
    assert said[0].splitlines()[0].startswith("real         70 test images of digits: digits-IS ")
    assert said[1:] == [""] * (size - 1)
    assert len(list((tmp_path / ".cache" / "ganmix").iterdir())) == 1


def test_two_threads_give_the_same_digits_as_one(unscored, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # with nothing cached
    with threadpool_limits(2):  # NumPy's
        torch.set_num_threads(2)
        try:
            assert evaluate(unscored) == 0
        finally:
            torch.set_num_threads(1)
    assert last(unscored) == last(finished)


def test_what_surrounds_the_caller_changes_no_digit_and_is_left_as_found(unscored, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(99)
    np.random.seed(99)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].tolist()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert evaluate(unscored, *EVERYTHING) == 0
        assert torch.is_autocast_enabled("cpu")
    assert scores_of(unscored) == expected
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.random.get_state()[1].tolist() == numpy_state


# Caches and references.


@pytest.mark.parametrize("part", ["reference=test", "num_real=1000", "reference=test evaluation.num_real=300"])
def test_another_reference_does_not_meet_what_was_cached(unscored, part, tmp_path, monkeypatch):
    overrides = [f"evaluation.{override}" for override in part.replace("evaluation.", "").split()]
    other = shutil.copytree(unscored, tmp_path / "other")
    assert evaluate(unscored) == 0
    assert evaluate(unscored, *overrides) == 0  # with what was cached
    monkeypatch.chdir(tmp_path)  # with nothing
    assert evaluate(other, *overrides) == 0
    of_all, found = read_scores(unscored)
    assert found == last(other)
    assert found["scores"]["digits-FID"] != of_all["scores"]["digits-FID"]


def test_a_retrained_extractor_of_the_same_name_scores_anew(unscored, tmp_path, monkeypatch):
    path = tmp_path / "mine.safetensors"
    other = shutil.copytree(unscored, tmp_path / "other")
    network = load_classifier(SHIPPED / "digits.safetensors")
    for gain in (1.0, 2.0):
        with torch.no_grad():
            network.stages["conv3"].bn.weight.mul_(gain)
        path.write_bytes(classifier_file(network, {}))
        assert evaluate(unscored, f"evaluation.extractor={path}") == 0
    monkeypatch.chdir(tmp_path)  # with nothing cached
    assert evaluate(other, f"evaluation.extractor={path}") == 0
    first, second = read_scores(unscored)
    assert second == last(other)
    assert first["protocol"]["extractor"] == second["protocol"]["extractor"] == "mine"
    assert first["protocol"]["extractor_digest"] != second["protocol"]["extractor_digest"]
    assert second["scores"]["mine-FID"] > 2 * first["scores"]["mine-FID"]


def test_statistics_saved_and_read_give_the_same_is_and_fid_and_are_then_known(run, tmp_path, no_scoring, capsys):
    path = tmp_path / "stats.npz"
    assert evaluate(run, "--save-reference", path) == 0
    assert f"reference    {path}" in capsys.readouterr().err.splitlines()
    arguments = (run, f"evaluation.reference={path}", "evaluation.precision_recall=true")
    whole = last(run)
    assert evaluate(*arguments) == 0
    by_file = last(run)
    assert by_file["scores"] == {name: whole["scores"][name] for name in ("digits-IS", "digits-FID")}
    assert (by_file["protocol"]["reference"]["file"], by_file["protocol"]["reference"]["num"]) == ("stats.npz", 1438)
    no_scoring()
    assert evaluate(*arguments) == 0  # no precision could be added
    assert last(run) == by_file
    assert evaluate(*arguments, "--save-reference", tmp_path / "again.npz") == 0
    assert (tmp_path / "again.npz").is_file()


def test_real_images_of_the_other_split_say_what_there_is_to_reach(run, capsys):
    assert evaluate(run, "evaluation.num_fake=100", "--real") == 0
    assert evaluate(run, "evaluation.num_fake=2000", "evaluation.reference=test", "--real") == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("real ")]
    assert [line.split(":")[0].split() for line in said] == [
        ["real", "100", "test", "images", "of", "digits"],
        ["real", "1438", "train", "images", "of", "digits"],
    ]
    for line in said:
        fid = float(line.split("digits-FID ")[1].split(",")[0])
        assert 0 < fid < last(run)["scores"]["digits-FID"] / 10


def scorer_of(config):
    return Scorer(config.evaluation, config.data, torch.device("cpu"), noise_size=8, has_average=True)


def fid(scores):
    return next(score.value for score in scores if score.metric == "FID")


def test_scored_images_are_those_given_and_no_more_than_would_be_generated():
    config = read_config(GanConfig, Path("config.yaml"), ["evaluation.num_fake=300", "evaluation.num_real=300"])
    scorer = scorer_of(config)
    drawn, all_images = draw_images(load_images("digits"), 300, SEED).images, load_images("digits").images
    images = torch.cat([drawn, all_images[:100]])
    scores = scorer.score_images(drawn).scores
    assert fid(scores) == pytest.approx(0, abs=1e-5)
    assert scorer.score_images(images[:400]).scores == scores
    assert fid(scorer.score_images(images[:250]).scores) > 1e-3


def test_only_a_part_of_the_real_images_is_said_to_be_drawn():
    identities = []
    for num in ("null", "100", "1438"):  # the last: all there are
        config = read_config(GanConfig, Path("config.yaml"), [f"evaluation.num_real={num}"])
        identities.append(scorer_of(config).protocol["reference"])
    assert ["drawn_by_seed" in identity for identity in identities] == [False, True, False]
    assert identities[0] == identities[2]


# What cannot be done.


def test_overrides_that_make_another_run_are_refused_each_by_name(run, capsys):
    before = scores_of(run)
    bad = ("training.lr=1e-3", "generator.width=8", "run.seed=3", "data.name=mnist", "evaluation=null")
    problems = refused(capsys, run, *bad, "evaluation.num_fake=64", "data.root=data", "device.name=cpu")
    assert [problem.split(": ")[0] for problem in problems] == [f"command line {override!r}" for override in bad]
    for problem in problems:
        assert "evaluation., device., data.root, data.path" in problem
    assert scores_of(run) == before
    assert evaluate(run, "data.root=elsewhere", "device.channels_last=false") == 0


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("evaluation.num_fkae=64", "unknown key; did you mean 'num_fake'?"),
        ("evaluation.num_fake=5", "evaluation: at least 10 images are needed on either side, got 5"),
        ("evaluation.num_real=5", "evaluation: at least 10 images are needed on either side, got 5"),
        ("evaluation.num_real=2000", "evaluation.num_real: digits train has 1438 images, fewer than 2000"),
        ("evaluation.reference=valid", "evaluation.reference: expected train, test or a .npz file, got 'valid'"),
        (
            "evaluation.reference=absent.npz",
            "evaluation.reference: absent.npz is not a .npz of mu and sigma (there is no such file)",
        ),
        ("evaluation.extractor=digit", "evaluation.extractor: unknown extractor 'digit'; did you mean 'digits'?"),
        ("evaluation.weights=w.pth", "evaluation.weights: weights are only for 'inception'"),
        ("evaluation.batch_norm=standin", "did you mean 'standing'?"),
        ("device.name=gpu", "device.name: expected auto, cpu, cuda or cuda:N, got 'gpu'"),
    ],
)
def test_an_unusable_protocol_is_one_line_that_names_it(run, capsys, override, problem):
    before = scores_of(run)
    (line,) = refused(capsys, run, override)
    assert problem in line
    assert scores_of(run) == before


def test_a_folder_may_have_classifiers_runs_beside_gans(run, capsys):
    classifier = run.parent / "classifier"
    classifier.mkdir()
    (classifier / "config.yaml").write_text(CLASSIFIER)
    shutil.copy(run / "format", classifier)
    assert evaluate(run.parent) == 2
    said = capsys.readouterr().err.splitlines()
    assert f"run          {run}" in said
    assert f"error: there is no checkpoint {classifier}/checkpoints/latest.pt (this run has: none yet)" in said


def test_what_is_asked_of_classifiers_is_refused_for_gans(run, capsys):
    assert refused(capsys, run, "--what", "attacks") == ["--what is for classifiers, and all these runs are GANs"]


def test_no_run_and_no_checkpoint_are_named(run, tmp_path, capsys):
    nothing = tmp_path / "nothing"
    assert refused(capsys, nothing) == [f"{nothing}: there is no run here, no folder with a config.yaml"]
    (line,) = refused(capsys, run, "--checkpoint", "absent.pt")
    assert line.startswith("there is no checkpoint absent.pt (this run has: best.pt, latest.pt, previous.pt, step_0000")
    shutil.rmtree(run / "checkpoints")
    (line,) = refused(capsys, run)
    assert line == f"there is no checkpoint {run}/checkpoints/latest.pt (this run has: none yet)"


def test_all_of_a_run_without_checkpoints_is_an_error(run, capsys):
    shutil.rmtree(run / "checkpoints")
    assert evaluate(run, "--all") == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith(f"error: there is no checkpoint {run}/checkpoints/latest.pt")
    )


def test_all_and_a_checkpoint_exclude_each_other(run, capsys):
    with pytest.raises(SystemExit) as stop:
        evaluate(run, "--all", "--checkpoint", "best")
    assert stop.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.fixture
def no_inception(monkeypatch, tmp_path):
    def no_network(url, path, hash_prefix):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def test_without_the_inception_weights_the_error_says_what_to_do(run, capsys, no_inception):
    before = scores_of(run)
    for protocol in ("modern", "paper", "paper_test", "miyato"):
        (line,) = refused(capsys, run, "--protocol", protocol)
        for part in (INCEPTION_FILE, "95.7 MB", "6726825d", "evaluation.weights", "digits", "fashion_mnist"):
            assert part in line
    assert scores_of(run) == before


def test_a_run_without_an_evaluation_section_is_scored_by_the_protocol_named_or_modern(
    run, tmp_path, capsys, no_inception
):
    config = run / "config.yaml"
    text = "".join(line for line in CONFIG.splitlines(keepends=True) if not line.startswith("evaluation"))
    config.write_text(text)
    (line,) = refused(capsys, run)
    assert "Inception weights" in line  # which modern needs
    assert evaluate(run, "--protocol", "small", "evaluation.num_fake=64") == 0
    assert last(run)["protocol"]["name"] == "small with num_fake 64"
    assert evaluate(run, "evaluation.extractor=digits", "evaluation.num_fake=65") == 0
    assert last(run)["protocol"]["name"] == "modern with extractor digits, num_fake 65"
    assert config.read_text() == text


def change_config(run, text):
    """Make a run, and its latest checkpoint, of another config, whose generator is the same."""
    (run / "config.yaml").write_text(text)
    latest = run / "checkpoints" / "latest.pt"
    identity = identity_of(read_config(GanConfig, run / "config.yaml")).state_dict()
    save_checkpoint(latest, {**load_checkpoint(latest), "identity": identity})


def test_a_moving_average_that_is_not_there_is_refused(run, capsys):
    text = (run / "config.yaml").read_text()
    assert "  ema: 0.9\n" in text
    change_config(run, text.replace("  ema: 0.9\n", "  ema: null\n"))
    (line,) = refused(capsys, run, "evaluation.ema=true")
    assert line == "evaluation.ema: the run has no moving average; training.ema was not set"
    assert evaluate(run) == 0
    assert not last(run)["protocol"]["ema"]


def test_a_folder_of_images_has_no_other_split(run, tmp_path, capsys):
    images = load_images("digits").images[:40, 0]
    (tmp_path / "images").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image.numpy()).save(tmp_path / "images" / f"{index:02}.png")
    text = (run / "config.yaml").read_text()
    data = f"data:\n  name: folder\n  path: {tmp_path / 'images'}\n  resolution: 8\n  channels: 1\n"
    after_data = text[text.index("generator:") :]
    change_config(run, data + after_data)
    (line,) = refused(capsys, run, "evaluation.extractor=digits", "evaluation.reference=test")
    assert line == "evaluation.reference: a folder of images has no test split"
    assert evaluate(run, "evaluation.extractor=digits") == 0
    assert last(run)["protocol"]["reference"]["dataset"] == "folder:images"
    assert last(run)["protocol"]["reference"]["num"] == 40
    (line,) = refused(capsys, run, "evaluation.extractor=digits", "--real")
    assert line == "--real: a folder of images has no other split"
