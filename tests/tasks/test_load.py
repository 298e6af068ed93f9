import copy

import pytest
import torch

from ganmix.config.gan import GanConfig
from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint
from ganmix.engine.identity import identity_of
from ganmix.errors import UserError
from ganmix.evaluation.gan.sampling import draw_noise, generate
from ganmix.tasks.gan import build_trainer, load_generator

CPU = torch.device("cpu")
SECTIONS = {
    "data": {"name": "digits"},
    "generator": {"name": "conv", "z": 8, "width": 4},
    "discriminator": {"name": "conv", "width": 4},
    "loss": {"name": "hinge"},
    "training": {"steps": 3, "batch_size": 8, "lr": 0.01, "ema": 0.5},
    "device": {"name": "cpu"},
}
CLASSIFIER = "data: {name: digits}\nnetwork: {name: conv, width: 4}\ntraining: {steps: 1, batch_size: 4}\n"


def config_with(section=None, **keys):
    sections = copy.deepcopy(SECTIONS)
    if section:
        sections[section].update(keys)
    return GanConfig.model_validate(sections)


@pytest.fixture(scope="module")
def trained(made_data):
    """A config, and its trainer after three steps."""
    return train(config_with(), made_data)


def train(config, made_data):
    trainer = build_trainer(config, made_data(config.data), CPU)
    for _ in range(3):
        trainer.step()
    return config, trainer


def save(config, trainer, path):
    identity = identity_of(config).state_dict()
    save_checkpoint(path, {"identity": identity, "algorithm": trainer.state_dict(), "recorder": {}})
    return path


@pytest.fixture
def checkpoint(trained, tmp_path):
    return save(*trained, tmp_path / "latest.pt")


def assert_same_weights(found, expected):
    torch.testing.assert_close(dict(found.state_dict()), dict(expected.state_dict()), rtol=0, atol=0)


def test_a_loaded_generator_makes_what_the_trained_one_makes(trained, checkpoint):
    config, trainer = trained
    noise = draw_noise(70, 8, seed=0)
    images = {}
    for ema, expected in ((True, trainer.shown_generator), (False, trainer.generator)):
        found = load_generator(config, checkpoint, device=CPU, ema=ema)
        assert (found.ema, found.step, found.checkpoint) == (ema, 3, checkpoint)
        assert_same_weights(found.network, expected)
        images[ema] = generate(found.network, noise)
        assert torch.equal(images[ema], generate(expected, noise))
    assert not torch.equal(images[True], images[False])


def test_the_moving_average_is_taken_where_there_is_one(trained, checkpoint, made_data, tmp_path):
    assert load_generator(trained[0], checkpoint, device=CPU).ema
    config, trainer = train(config_with("training", ema=None), made_data)
    path = save(config, trainer, tmp_path / "plain.pt")
    found = load_generator(config, path, device=CPU)
    assert not found.ema
    assert_same_weights(found.network, trainer.generator)
    with pytest.raises(UserError, match=r"plain\.pt has no moving average: training\.ema was not set"):
        load_generator(config, path, device=CPU, ema=True)


def test_a_loaded_generator_is_to_be_looked_at_not_trained(trained, checkpoint):
    network = load_generator(trained[0], checkpoint, device=CPU).network
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_loaded_generator_has_the_layout_of_its_training(made_data, tmp_path, channels_last):
    config, trainer = train(config_with("device", channels_last=channels_last), made_data)
    network = load_generator(config, save(config, trainer, tmp_path / "latest.pt"), device=CPU).network
    strides = {name: tensor.stride() for name, tensor in network.named_parameters()}
    assert strides == {name: tensor.stride() for name, tensor in trainer.generator.named_parameters()}
    assert network._memory_format == trainer.generator._memory_format


def test_loading_leaves_the_random_state(trained, checkpoint):
    random_state = torch.get_rng_state()
    load_generator(trained[0], checkpoint, device=CPU)
    assert torch.equal(torch.get_rng_state(), random_state)


UNUSABLE = {
    "nobody's": lambda path, trainer: save_checkpoint(path, {"algorithm": trainer.state_dict()}),
    "another tool's": lambda path, trainer: torch.save({"state_dict": {}, "epoch": 3}, path),
    "weights alone": lambda path, trainer: save_checkpoint(path, trainer.generator.state_dict()),
    "a tensor": lambda path, trainer: save_checkpoint(path, torch.zeros(3)),
    "a list": lambda path, trainer: save_checkpoint(path, [1, 2]),
    "empty": lambda path, trainer: save_checkpoint(path, {"identity": identity_of(config_with()).state_dict()}),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_file_that_is_no_gans_checkpoint_is_named_in_one_line(trained, tmp_path, case):
    path = tmp_path / "other.pt"
    UNUSABLE[case](path, trained[1])
    with pytest.raises(UserError, match=r"other\.pt(: not a readable| is not a) checkpoint") as raised:
        load_generator(trained[0], path, device=CPU)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ema", [True, False])
@pytest.mark.parametrize(
    ("section", "key", "value", "old"),
    [
        ("generator", "width", 8, 4),
        ("generator", "spectral_norm", True, False),
        ("loss", "name", "wasserstein", "'hinge'"),  # whose networks are of the same shapes
    ],
)
def test_another_configs_checkpoint_is_refused_and_the_key_named(checkpoint, section, key, value, old, ema):
    with pytest.raises(UserError) as raised:
        load_generator(config_with(section, **{key: value}), checkpoint, device=CPU, ema=ema)
    difference = f"its {section}.{key} is {old}, not {value!r}"
    assert raised.value.problems == [f"{checkpoint} is not a checkpoint of this run: {difference}"]


def test_what_may_change_during_a_run_makes_no_other_checkpoint(checkpoint):
    config = config_with("training", steps=30).model_copy(update={"evaluation": None})
    assert load_generator(config, checkpoint, device=CPU).step == 3


@pytest.mark.parametrize("ema", [True, False])
def test_weights_of_other_shapes_are_named_in_one_line(checkpoint, ema):
    state = load_checkpoint(checkpoint)
    other = config_with("generator", width=8)
    save_checkpoint(checkpoint, {**state, "identity": identity_of(other).state_dict()})
    with pytest.raises(UserError, match=r"latest\.pt is not a checkpoint of this run's generator \(.+\)") as raised:
        load_generator(other, checkpoint, device=CPU, ema=ema)
    assert "\n" not in str(raised.value)


def test_a_damaged_checkpoint_is_named(trained, checkpoint):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"latest\.pt: not a readable checkpoint"):
        load_generator(trained[0], checkpoint, device=CPU)
