"""What a GAN's run says of its config before it starts, or refuses once the network is known."""

import pytest

from ganmix.commands import train_gan

CONFIG = """\
data: {name: digits}
generator: {name: conv, z: 4, width: 4}
discriminator: {name: conv, width: 4, spectral_norm: false}
loss: {name: non_saturating}
training: {steps: 1, batch_size: 4}
device: {name: cpu}
"""
SOFT = "mixup={labels: soft, pairs: [FR]}"
EQUATION_1 = "mixup={labels: soft, pairs: [FR], generator_sees_mixes: true}"
PENALTY = "penalties=[{name: interpolate, weight: 10}]"
CLAMPED, BOTH = "note: mixup.clamp keeps lambda at most 1/2", "note: the penalty and discriminator.spectral_norm both"


@pytest.fixture
def train(tmp_path, made_data, monkeypatch):
    path = tmp_path / "gan.yaml"
    path.write_text(CONFIG)
    monkeypatch.setattr("ganmix.tasks.gan.read_data", made_data)
    monkeypatch.setattr("ganmix.engine.recorder.Recorder.grid", lambda *_: None)
    return lambda *overrides: train_gan([str(path), f"run.dir={tmp_path / 'run'}", *overrides])


@pytest.mark.parametrize(
    ("overrides", "start"),
    [
        ([SOFT], CLAMPED),
        ([EQUATION_1], CLAMPED),
        ([SOFT, "mixup.clamp=false"], None),
        (["mixup={}"], None),
        ([PENALTY, "discriminator.spectral_norm=true"], BOTH),
        ([PENALTY], None),
        (["discriminator.spectral_norm=true"], None),
    ],
)
def test_start_notes_what_a_config_may_not_mean(overrides, start, train, capsys):
    assert train(*overrides) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert [line.startswith(start or "") for line in notes] == ([] if start is None else [True])


def test_stage_by_number_and_by_name_is_a_repeat(train, capsys):
    assert train("mixup.stages=[1, down1]") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: mixup.stages: [1, 'down1'] names a stage twice, of 0 (input), 1 (down1)")
