import json
import subprocess
import sys
from pathlib import Path

import pytest

from ganmix.commands import VERBS, main, train_classifier, train_gan
from ganmix.config.classifier import ClassifierConfig
from ganmix.config.gan import GanConfig
from ganmix.config.reader import read_config

ROOT = Path(__file__).parents[2]
GAN = """\
data: {name: digits}
generator: {name: conv, width: 4}
discriminator: {name: conv, width: 4}
loss: {name: hinge}
mixup: {alpha: 0.2}
training: {steps: 1, batch_size: 4, n_dis: 2}
"""
CLASSIFIER = """\
data: {name: digits}
network: {name: conv, width: 4}
training: {steps: 1, batch_size: 4}
"""


@pytest.fixture
def gan(tmp_path):
    path = tmp_path / "gan.yaml"
    path.write_text(GAN)
    return path


@pytest.fixture
def classifier(tmp_path):
    path = tmp_path / "classifier.yaml"
    path.write_text(CLASSIFIER)
    return path


@pytest.fixture(params=["gan", "classifier"])
def program(request, gan, classifier):
    """The function of a program, the model of its config and such a config."""
    if request.param == "gan":
        return train_gan, GanConfig, gan
    return train_classifier, ClassifierConfig, classifier


def refused(arguments, capsys, train=train_gan):
    """What follows `error: ` on each line of stderr; there are no other lines, and nothing on stdout."""
    assert train(list(map(str, arguments))) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert lines
    assert [line for line in lines if not line.startswith("error: ")] == []
    return [line.removeprefix("error: ") for line in lines]


def usage_error(function, arguments, capsys):
    """The last line of what argparse says before it exits with status 2."""
    with pytest.raises(SystemExit) as stop:
        function(arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("mixup.alhpa=1", "mixup.alhpa: unknown key; did you mean 'alpha'?"),
        ("loss.name=hing", "got 'hing'; did you mean 'hinge'?"),
        ("training.lr=fast", "training.lr: expected a number, got 'fast'"),
        ("training.steps=true", "training.steps: expected a whole number, got true"),
        ("training.steps=0", "training.steps: expected a number greater than 0, got 0"),
        ("generator.name=stylegan", "generator.name: expected 'sngan', 'authors' or 'conv', got 'stylegan'"),
        ("data.name=mnits", "did you mean 'mnist'?"),
        ("mixup.pairs=[RR]", "mixup.pairs.0: expected 'FR' or 'FF', got 'RR'"),
    ],
)
def test_bad_override_is_one_line_that_names_it(override, problem, gan, capsys):
    (line,) = refused([gan, override], capsys)
    assert line.startswith(f"command line {override!r}: ")
    assert line.endswith(problem)


def test_every_problem_of_a_file_has_a_line_with_its_place(gan, capsys):
    gan.write_text(GAN.replace("alpha: 0.2", "alpha: -1").replace("n_dis: 2", "n_dsi: 2"))
    assert refused([gan], capsys) == [
        f"{gan}:5: mixup.alpha: expected a number greater than 0, got -1",
        f"{gan}:6: training.n_dsi: unknown key; did you mean 'n_dis'?",
    ]


@pytest.mark.parametrize(("stages", "named"), [("[9]", "9"), ("[inptu]", "'inptu'")])
def test_unknown_stage_is_named_with_the_known_ones(stages, named, gan, capsys, tmp_path):
    (line,) = refused([gan, f"run.dir={tmp_path / 'run'}", f"mixup.stages={stages}"], capsys)
    assert line == f"mixup.stages: stage {named} is not one of this network's: 0 (input), 1 (down1), 2 (flat)"
    assert not (tmp_path / "run").exists()


def test_missing_config_file_is_named(tmp_path, capsys):
    path = tmp_path / "none.yaml"
    assert refused([path], capsys) == [f"{path}: No such file or directory"]


def test_config_of_the_other_program_is_refused(gan, classifier, capsys):
    assert any("missing key 'generator'" in line for line in refused([classifier], capsys))
    assert any("missing key 'network'" in line for line in refused([gan], capsys, train_classifier))


def test_missing_argument_unknown_option_and_unknown_verb_are_named(gan, capsys):
    assert usage_error(train_gan, [], capsys) == "train_gan.py: error: a config is needed"
    assert "--faster" in usage_error(train_gan, [str(gan), "--faster"], capsys)
    assert "invalid choice: 'train-gna'" in usage_error(main, ["train-gna"], capsys)
    assert "VERB" in usage_error(main, [], capsys)


def test_override_without_a_value_is_refused(gan, capsys):
    assert refused([gan, "training.steps"], capsys) == ["command line 'training.steps': expected section.key=value"]


def test_dry_run_prints_a_config_that_reads_back_equal_and_runs_nothing(program, capsys, tmp_path, monkeypatch):
    train, model, path = program
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert train([str(path), "training.lr=1e-3", "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert set(tmp_path.iterdir()) == before
    printed = tmp_path / "printed.yaml"
    printed.write_text(captured.out)
    config = read_config(model, printed)
    assert config == read_config(model, path, ["training.lr=1e-3"])
    assert config.training.lr == 1e-3


def test_schema_is_printed_without_a_config(program, capsys):
    train, model, _ = program
    assert train(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == model.model_json_schema()


def test_verbs_are_the_programs(gan, classifier, capsys):
    for verb, train, path in (("train-gan", train_gan, gan), ("train-classifier", train_classifier, classifier)):
        arguments = [str(path), "training.lr=1", "--dry-run"]
        assert main([verb, *arguments]) == 0
        by_verb = capsys.readouterr().out
        assert train(arguments) == 0
        assert capsys.readouterr().out == by_verb != ""


def test_help_lists_the_keys_without_waiting_for_torch(gan):
    calls = ["train_gan(['--help'])", f"train_gan(['--dry-run', {str(gan)!r}])", "train_gan(['--schema'])"]
    calls += [f"main([{verb!r}, '--help'])" for verb in VERBS]
    for call in calls:
        program = f"""
import sys
from ganmix.commands import main, train_gan
try:
    {call}
except SystemExit as stop:
    assert stop.code == 0
slow = {{"torch", "torchvision", "sklearn", "numpy", "tensorboard"}} & sys.modules.keys()
print("slow:", *sorted(slow))
"""
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "slow:", call
        if call == calls[0]:
            for key in ("run.seed", "generator.width", "training.n_dis", "penalties.N.weight", "evaluation.num_fake"):
                assert f"\n{key} " in done.stdout


def test_script_prints_a_line_and_no_traceback(gan):
    command = [sys.executable, ROOT / "train_gan.py", gan, "training.stesp=5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    expected = "error: command line 'training.stesp=5': training.stesp: unknown key; did you mean 'steps'?\n"
    assert done.stderr == expected


@pytest.mark.parametrize("run_dir", ["/dev/null/run", "{file}", "{file}/run"])
def test_run_folder_that_cannot_be_made_is_named(run_dir, gan, capsys):
    run_dir = run_dir.format(file=gan)
    (line,) = refused([gan, f"run.dir={run_dir}"], capsys)
    assert line.startswith(f"run.dir: cannot write to {run_dir} (")


def test_run_folder_of_a_training_process_is_refused_until_that_ends(gan, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    program = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held'); input()"
    command = [sys.executable, "-uc", program, folder / ".lock"]
    arguments = [str(gan), f"run.dir={folder}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert refused(arguments, capsys) == [f"run.dir: another process is training in {folder}"]
        other.communicate("\n", timeout=30)
    assert not (folder / "metrics.jsonl").exists()
    assert train_gan(arguments) == 0
    assert (folder / "metrics.jsonl").exists()


def test_data_that_cannot_be_had_is_one_line(gan, tmp_path, capsys):
    data = "data={name: folder, path: nowhere, resolution: 32}"
    (line,) = refused([gan, data, f"run.dir={tmp_path / 'run'}"], capsys)
    assert "nowhere" in line
    assert not (tmp_path / "run").exists()


PAPER = {
    "gan": "paper: {table: Table 6, row: A row, values: {IS: 8}}\n",
    "classifier": "paper: {table: Table 1, row: A row, values: {accuracy: 95}}\n",
}


@pytest.fixture
def paper(program):
    """The function of a program, the model of its config and a config that repeats a row of the paper."""
    train, model, path = program
    path.write_text(path.read_text() + PAPER[path.stem])
    return train, model, path


def resolved(train, model, path, *overrides, capsys):
    """The config that --dry-run prints, and the lines of stderr."""
    assert train([str(path), *overrides, "--dry-run"]) == 0
    captured = capsys.readouterr()
    printed = path.with_name("printed.yaml")
    printed.write_text(captured.out)
    return read_config(model, printed), captured.err.splitlines()


def test_override_of_the_method_drops_the_papers_row_and_says_so(paper, capsys):
    config, (line,) = resolved(*paper, "training.lr=1", "training.batch_size=5", capsys=capsys)
    assert config.paper is None
    assert (config.training.batch_size, config.training.lr) == (5, 1)
    expected = f"note: training.batch_size differs from {paper[2]}, so this run does not repeat the paper's row"
    assert line == f"{expected}; it has paper=null"


@pytest.mark.parametrize("override", ["run.seed=1", "device.name=cpu", "logging.scalars_every=1", "data.root=there"])
def test_override_of_the_surroundings_keeps_the_papers_row(override, paper, capsys):
    config, lines = resolved(*paper, override, capsys=capsys)
    assert config.paper.row == "A row"
    assert lines == []


def test_papers_row_that_is_given_is_kept(paper, capsys):
    config, lines = resolved(*paper, "training.lr=1", "paper.row=Another", capsys=capsys)
    assert config.paper.row == "Another"
    assert lines == []


@pytest.mark.parametrize(("overrides", "dropped"), [(["training.lr=1"], True), (["logging.scalars_every=1"], False)])
def test_every_seed_drops_the_papers_row_where_the_first_line_said_so(
    overrides, dropped, paper, capsys, tmp_path, monkeypatch
):
    calls = []
    monkeypatch.setattr("ganmix.commands.seeds.run_seeds", lambda *arguments: calls.append(arguments) or 0)
    train, _, path = paper
    assert train([str(path), *overrides, f"run.dir={tmp_path}", "--seeds", "0", "1"]) == 0
    ((_, _, passed, folder, seeds, _),) = calls
    assert passed == [*overrides, f"run.dir={tmp_path}", *(["paper=null"] if dropped else [])]
    assert (folder, seeds) == (tmp_path, [0, 1])
    assert len(capsys.readouterr().err.splitlines()) == dropped


def test_runs_folder_has_no_row_that_its_method_lacks(gan, tmp_path, capsys):
    gan.write_text(GAN + PAPER["gan"])
    for override, row in (("training.lr=1e-3", None), ("logging.scalars_every=1", "A row")):
        folder = tmp_path / (row or "none")
        assert train_gan([str(gan), override, f"run.dir={folder}", "device.name=cpu"]) == 0
        config = read_config(GanConfig, folder / "config.yaml")
        assert (config.paper and config.paper.row) == row
