import json

import numpy as np
import pytest
import torch
from PIL import Image

from ganmix.commands import neighbours
from ganmix.commands.neighbours import write_neighbours
from ganmix.commands.sample import sample
from ganmix.config.gan import GanConfig
from ganmix.config.reader import read_config
from ganmix.data import load_images, to_uint8
from ganmix.engine.checkpoint import save_checkpoint
from ganmix.engine.identity import identity_of
from ganmix.engine.run_folder import RunFolder
from ganmix.errors import UserError
from ganmix.evaluation.gan.latent import draw_latents
from ganmix.evaluation.gan.sampling import draw_noise, generate
from ganmix.tasks.gan import build_network

CONFIG = """\
data: {name: digits}
generator: {name: conv, z: 8, width: 4}
discriminator: {name: conv, width: 4}
loss: {name: hinge}
training: {steps: 6, batch_size: 16}
evaluation: {protocol: small}
device: {name: cpu}
"""
COLOUR = CONFIG.replace("name: digits", "name: cifar10, flip: true").replace("evaluation: {protocol: small}\n", "")
ALL = {"samples.json", "grid.png", "interpolation.png", "interpolation.gif", "neighbours.png", "neighbours.json"}
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory):
    """A folder to be in; it keeps what scores cache."""
    folder = tmp_path_factory.mktemp("sample_run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def make_run(folder, text):
    """The run of a generator that was never trained, whose batch norms yet have statistics; its network too."""
    with RunFolder(folder).held():
        (folder / "config.yaml").write_text(text)
    config = read_config(GanConfig, folder / "config.yaml")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network("generator", config)
        network.train()
        for _ in range(50):
            network(torch.randn(64, 8))
    network.eval()
    identity = identity_of(config).state_dict()
    state = {"identity": identity, "algorithm": {"generator": {"network": network.state_dict(), "steps_done": 6}}}
    save_checkpoint(folder / "checkpoints" / "latest.pt", state)
    return folder, network


@pytest.fixture(scope="module")
def grey(workplace):
    return make_run(workplace / "grey", CONFIG)


@pytest.fixture
def colour(tmp_path, monkeypatch, made_data):
    """A run of colour images, of which there are 24 to train on, and the same ones held out."""
    monkeypatch.setattr(neighbours, "read_data", made_data)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))  # where Inception is not
    return make_run(tmp_path / "colour", COLOUR)


@pytest.fixture(scope="module")
def sampled(grey):
    """What is made of a run if nothing else is said."""
    run_sample(grey[0])
    return grey[0] / "generated"


def pixels(path):
    return np.array(Image.open(path))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read_json(path):
    return json.loads(path.read_text())


def run_sample(run, **arguments):
    """Run the verb; raise its errors, which it would print."""
    words = [f"--{name}" if value is True else f"--{name}={value}" for name, value in arguments.items()]
    sample.__wrapped__([str(run), *words])


def plain(run, output, **arguments):
    """Sample without all that takes long."""
    run_sample(run, output=output, **{"interpolations": 0, "neighbours": 0, **arguments})


def test_folder_holds_what_it_should(sampled):
    assert contents(sampled).keys() == ALL | {f"images/{i:06d}.png" for i in range(64)}


def test_images_are_the_generators_of_the_seeds_noise(grey, sampled):
    expected = to_uint8(generate(grey[1], draw_noise(64, 8, 0)))
    found = np.stack([pixels(sampled / "images" / f"{i:06d}.png") for i in range(64)])
    np.testing.assert_array_equal(found, expected[:, 0])
    assert found.std() > 1


def test_samples_json_says_what_they_come_from(grey, sampled):
    assert read_json(sampled / "samples.json") == {
        "run": str(grey[0]),
        "checkpoint": str(grey[0] / "checkpoints" / "latest.pt"),
        "step": 6,
        "ema": False,
        "seed": 0,
        "truncation": None,
        "batch_norm": "running",
        "num": 64,
    }


def test_same_arguments_write_the_same_bytes(grey, sampled, tmp_path):
    run_sample(grey[0], output=tmp_path)
    assert contents(tmp_path) == contents(sampled)


@pytest.mark.parametrize("num", [1, 70])
def test_another_number_changes_none_of_the_images_both_have(grey, sampled, tmp_path, num):
    plain(grey[0], tmp_path, num=num)
    few, many = sorted([contents(tmp_path / "images"), contents(sampled / "images")], key=len)
    assert (len(few), len(many)) == tuple(sorted([num, 64]))
    assert few.items() <= many.items()


def test_npz_has_the_same_images_under_the_name_evaluation_suites_read(grey, tmp_path):
    plain(grey[0], tmp_path, num=70)
    plain(grey[0], tmp_path, num=70, npz=True)
    with np.load(tmp_path / "samples.npz") as file:
        assert file.files == ["arr_0"]
        images = file["arr_0"]
    assert (images.shape, images.dtype) == ((70, 8, 8, 1), np.uint8)
    for i, image in enumerate(images):
        np.testing.assert_array_equal(pixels(tmp_path / "images" / f"{i:06d}.png"), image[:, :, 0])
    assert not list(tmp_path.glob("*.tmp"))


def test_colour_images_are_colour_in_every_file(colour, tmp_path):
    run, network = colour
    run_sample(run, output=tmp_path / "out", num=5)
    run_sample(run, output=tmp_path / "out", num=5, npz=True)
    expected = to_uint8(generate(network, draw_noise(5, 8, 0))).permute(0, 2, 3, 1)
    with np.load(tmp_path / "out" / "samples.npz") as file:
        np.testing.assert_array_equal(file["arr_0"], expected)
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "images" / "000004.png"), expected[4])
    for name in ("grid.png", "interpolation.png", "neighbours.png", "interpolation.gif"):
        with Image.open(tmp_path / "out" / name) as image:
            red, green, blue = np.moveaxis(np.array(image.convert("RGB"), dtype=int), 2, 0)
        assert max(abs(red - green).max(), abs(green - blue).max()) > 10


def test_strip_goes_from_each_sample_to_the_next(sampled):
    strip = pixels(sampled / "interpolation.png")
    found = strip[6:, 6:].reshape(6, 102, 10, 102, 3)[:, :96, :, :96, 0].swapaxes(1, 2)
    images = [torch.from_numpy(pixels(sampled / "images" / f"{i:06d}.png")) for i in range(12)]
    expected = torch.nn.functional.interpolate(torch.stack(images)[:, None].float(), scale_factor=12.0, mode="bicubic")
    expected = expected.round().clamp(0, 255).numpy()[:, 0]
    np.testing.assert_allclose(found[:, 0].astype(float), expected[::2], atol=1)
    np.testing.assert_allclose(found[:, 9].astype(float), expected[1::2], atol=1)
    steps = np.abs(np.diff(found.astype(float), axis=1)).mean((2, 3))
    ends = np.abs(found[:, 9].astype(float) - found[:, 0]).mean((1, 2))
    assert (steps.max(1) < 0.5 * ends).all()


def test_animation_is_four_seconds_that_close(sampled):
    with Image.open(sampled / "interpolation.gif") as animation:
        assert (animation.n_frames, animation.info["duration"], animation.info["loop"]) == (80, 50, 0)
        frames = []
        for i in range(80):
            animation.seek(i)
            frames.append(np.array(animation.convert("L"), dtype=float))
    first = pixels(sampled / "images" / "000000.png")
    assert abs(frames[0][6 + 6 :: 12, 6 + 6 :: 12][:8, :8] - first).mean() < 12  # enlarged twelvefold, smoothly
    steps = [np.abs(frame - before).mean() for before, frame in zip(frames, frames[1:] + frames[:1], strict=True)]
    assert 0 < max(steps) < 0.3 * np.abs(frames[20] - frames[0]).mean()
    assert steps[-1] < max(steps)


def test_truncated_noise_makes_tamer_images_of_the_usual_brightness(grey, tmp_path):
    for name, arguments in (("None", {}), ("0.3", {"truncation": 0.3})):
        plain(grey[0], tmp_path / name, npz=True, num=500, **arguments)
    usual, tame = (np.load(tmp_path / name / "samples.npz")["arr_0"].astype(float) for name in ("None", "0.3"))
    assert tame.mean() == pytest.approx(usual.mean(), rel=0.1)
    assert read_json(tmp_path / "0.3" / "samples.json")["batch_norm"] == "standing"
    dim = to_uint8(generate(grey[1], draw_latents(64, 8, 0, 0.3))).float()
    assert dim.std(0).mean() < 0.7 * tame.std(0).mean()


def test_neighbours_of_samples_are_in_the_json_with_both_medians(sampled):
    found = read_json(sampled / "neighbours.json")
    assert found["training_images"] == {"dataset": "digits", "split": "train", "num": 1438}
    assert found["held_out"] == {"split": "test", "num": 359}
    assert found["measures"].keys() == {"pixels", "digits"}
    train = load_images("digits", "train").images.flatten(1).double().numpy()
    test = load_images("digits", "test").images.flatten(1).double().numpy()
    nearest = [np.sqrt(((image - train) ** 2).mean(1)).min() for image in test]
    pixel = found["measures"]["pixels"]
    assert pixel["held_out"] == pytest.approx({"num": 359, "median": np.median(nearest), "least": min(nearest)})
    assert pixel["ratio"] == pytest.approx(pixel["samples"]["median"] / pixel["held_out"]["median"])
    assert [row["sample"] for row in found["shown"][:4]] == [0, 1, 2, 3]
    sample = pixels(sampled / "images" / "000002.png").flatten().astype(float)
    distances = np.sqrt(((sample - train) ** 2).mean(1))
    assert [x["distance"] for x in found["shown"][2]["pixels"]] == pytest.approx(np.sort(distances)[:5].tolist())
    assert [distances[x["image"]] for x in found["shown"][2]["pixels"]] == pytest.approx(
        np.sort(distances)[:5].tolist()
    )
    least = [row["pixels"][0]["distance"] for row in found["shown"][4:]]
    assert least == sorted(least)
    assert least[0] == pixel["samples"]["least"]


def written(folder, text):
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def judge(text, samples, folder, extractor=None, num_rows=4):
    config = read_config(GanConfig, written(folder, text))
    write_neighbours(config, samples, extractor, CPU, num_rows, folder, {"run": "runs/x", "step": 6})
    return read_json(folder / "neighbours.json")


def test_copies_are_at_distance_zero_by_every_measure(tmp_path, capsys):
    train = load_images("digits", "train").images
    config = read_config(GanConfig, written(tmp_path, CONFIG))
    found = judge(CONFIG, train[100:140], tmp_path, neighbours.choose_extractor(config, None))
    for measure in ("pixels", "digits"):
        assert found["measures"][measure]["samples"] == {"num": 40, "median": 0, "least": 0}
        assert found["measures"][measure]["ratio"] == 0
        assert [row[measure][0]["distance"] for row in found["shown"]] == [0] * 4
    assert [row["pixels"][0]["image"] for row in found["shown"][:2]] == [100, 101]
    words = capsys.readouterr().err.splitlines()[-1].split(": ", 1)[1]
    assert words.startswith("by pixels 0.00 (held-out 33.")
    assert ", by features of digits 0.00 (held-out 1." in words


def test_held_out_images_as_samples_are_no_nearer_than_held_out_images(tmp_path):
    found = judge(CONFIG, load_images("digits", "test").images, tmp_path)
    assert found["measures"]["pixels"]["ratio"] == 1


def test_only_the_images_that_were_trained_on_count(tmp_path):
    train = load_images("digits", "train").images
    found = judge(CONFIG.replace("digits", "digits, num_images: 20"), train, tmp_path)
    assert found["training_images"]["num"] == 20
    assert found["measures"]["pixels"]["samples"]["median"] > 0
    assert max(x["image"] for row in found["shown"] for x in row["pixels"]) < 20


def test_a_mirrored_copy_is_one_where_training_mirrors(tmp_path):
    train = load_images("digits", "train").images
    mirrored = train[7:9].flip(3)
    assert judge(CONFIG, mirrored, tmp_path)["measures"]["pixels"]["samples"]["median"] > 0
    found = judge(CONFIG.replace("digits", "digits, flip: true"), mirrored, tmp_path)
    assert found["shown"][0]["pixels"][0] == {"image": 7, "mirrored": True, "distance": 0}
    assert found["measures"]["pixels"]["samples"]["median"] == 0


def test_folder_has_nothing_held_out(tmp_path, monkeypatch, made_data, capsys):
    monkeypatch.setattr(neighbours, "read_data", made_data)
    text = CONFIG.replace("name: digits", "name: folder, path: images, resolution: 8, channels: 1")
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    found = judge(text, images, tmp_path)
    assert found["held_out"] is None
    assert found["measures"]["pixels"]["ratio"] is None
    assert "held-out" not in capsys.readouterr().err


def test_fewer_training_images_than_columns_are_enough(tmp_path):
    found = judge(
        CONFIG.replace("digits", "digits, num_images: 2"), load_images("digits", "train").images[:3], tmp_path
    )
    assert [len(row["pixels"]) for row in found["shown"]] == [2] * len(found["shown"])


@pytest.mark.parametrize(("num_rows", "shown"), [(1, [0]), (3, [0, 1, 2]), (10, [0, 1, 2, 2, 1, 0])])
def test_rows_are_half_the_first_samples_half_the_nearest(tmp_path, num_rows, shown):
    train = load_images("digits", "train").images
    samples = train[:3].clone()
    samples[0, 0, 0, 0] += 9
    samples[1, 0, 0, 0] += 5
    found = judge(CONFIG, samples, tmp_path, num_rows=num_rows)
    assert [row["sample"] for row in found["shown"]] == shown


def test_data_out_of_reach_costs_the_neighbours_alone(grey, sampled, tmp_path, monkeypatch, capsys):
    def no_data(data, split):
        raise UserError("data set digits is not here")

    monkeypatch.setattr(neighbours, "read_data", no_data)
    run_sample(grey[0], output=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == ALL - {"neighbours.png", "neighbours.json"} | {"images"}
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "neighbours   left out, as the training images cannot be read: data set digits is not here"


def test_without_a_test_split_nothing_is_compared_with_it(tmp_path, monkeypatch, made_data, capsys):
    def no_test(data, split):
        if split == "test":
            raise UserError("damaged")
        return made_data(data, split)

    monkeypatch.setattr(neighbours, "read_data", no_test)
    assert judge(CONFIG, torch.zeros(3, 1, 8, 8, dtype=torch.uint8), tmp_path)["held_out"] is None
    assert "note: no held-out images to compare with: damaged" in capsys.readouterr().err


def test_extractor_is_what_the_run_is_scored_by_or_what_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))  # where Inception is not

    def chosen(text, name=None):
        found = neighbours.choose_extractor(read_config(GanConfig, written(tmp_path, text)), name)
        return found and found.name

    scored = "evaluation: {protocol: small}"
    assert chosen(CONFIG) == "digits"
    assert chosen(CONFIG.replace(scored, "evaluation: {extractor: fashion_mnist}")) == "fashion_mnist"
    assert chosen(CONFIG.replace(scored + "\n", "")) == "digits"
    assert chosen(CONFIG, "none") is None
    assert chosen(CONFIG, "fashion_mnist") == "fashion_mnist"
    assert capsys.readouterr().err == ""
    assert chosen(COLOUR) is None
    assert "only by pixels: the Inception weights are not here" in capsys.readouterr().err
    missing = tmp_path / "none.pth"
    assert chosen(CONFIG.replace(scored, f"evaluation: {{extractor: inception, weights: {missing}}}")) is None
    assert f"note: neighbours only by pixels: evaluation.weights: there is no file {missing}" in capsys.readouterr().err
    with pytest.raises(UserError, match="did you mean 'digits'"):
        chosen(CONFIG, "digit")


def test_earlier_images_that_were_not_replaced_are_mentioned(grey, tmp_path, capsys):
    plain(grey[0], tmp_path, num=5)
    plain(grey[0], tmp_path, num=3)
    assert "images (3; 2 older ones remain, such as 000003.png)" in capsys.readouterr().err
    assert len(list((tmp_path / "images").iterdir())) == 5


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"num": 0}, "--num must be at least 1, got 0"),
        ({"seed": -1}, "--seed must be at least 0 and below 2^63, got -1"),
        ({"truncation": 0.0}, "--truncation must be a finite number greater than 0, got 0"),
        ({"truncation": float("nan")}, "--truncation must be a finite number greater than 0, got nan"),
        ({"interpolations": -1}, "--interpolations must be at least 0, got -1"),
        ({"neighbours": -1}, "--neighbours must lie in 0..200, got -1"),
        ({"neighbours": 201}, "--neighbours must lie in 0..200, got 201"),
        ({"checkpoint": "best"}, "this run has: latest.pt"),
        ({"extractor": "digit"}, "did you mean 'digits'"),
        ({"device": "gpu"}, "expected auto, cpu, cuda or cuda:N, got 'gpu'"),
    ],
)
def test_unusable_arguments_are_named_before_anything_is_written(grey, tmp_path, arguments, problem):
    with pytest.raises(UserError) as error:
        run_sample(grey[0], output=tmp_path / "out", **arguments)
    assert problem in str(error.value)
    assert not (tmp_path / "out").exists()


def test_no_run_and_a_folder_that_cannot_be_made_are_named(grey, tmp_path, capsys):
    with pytest.raises(UserError, match="there is no run here"):
        run_sample(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    assert sample([str(grey[0]), "--output", str(file)]) == 2
    assert capsys.readouterr().err == f"error: {file}: File exists\n"


def test_interrupted_sampling_leaves_no_account_of_images_it_did_not_write(grey, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ganmix.engine.pictures.write_pngs", interrupted)
    assert sample([str(grey[0]), "--output", str(tmp_path), "--neighbours", "0"]) == 130
    assert not (tmp_path / "samples.json").exists()
