"""The user's whole way on real digits: two seeds with and without mixup are trained, evaluated and reported."""

import csv
import json
import statistics
from pathlib import Path

import pytest

from ganmix.commands import main, train_classifier, train_gan

GAN = """\
data: {name: digits}
generator: {name: conv, z: 8, width: 8}
discriminator: {name: conv, width: 8, spectral_norm: false}
loss: {name: non_saturating}
penalties: [{name: zero_centred_real, weight: 0.1}]
mixup: {stages: [input]}
training: {steps: 6, batch_size: 16, ema: 0.5}
evaluation: {protocol: small, num_fake: 64, every: 3}
device: {name: cpu}
"""
CLASSIFIER = """\
data: {name: digits, num_validation: 100, prepare: channels}
network: {name: conv, width: 4}
mixup: {stages: [input, conv1]}
training: {steps: 20, batch_size: 32}
evaluation: {every: 10, select: validation, num_test: 50, attacks: {pgd_steps: 2}}
device: {name: cpu}
"""
WAYS = {
    "gan": (GAN, train_gan, ["evaluation.num_fake=80"], "digits-FID", {"num_fake": 80}),
    "classifier": (CLASSIFIER, train_classifier, ["--what", "clean,attacks"], "PGD", {"what": "attacks"}),
}


def logged(run: Path, label: str, protocol: dict) -> float:
    """Return a score as its line of scores.jsonl has it, read without the program's own reader."""
    lines = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    (line,) = [line for line in lines if line["protocol"].items() >= protocol.items()]
    return next(score["value"] for score in line["scores"] if label in (score["metric"], f"digits-{score['metric']}"))


@pytest.mark.parametrize("kind", WAYS)
def test_what_seeds_scored_is_what_the_report_says(kind, tmp_path, monkeypatch):
    text, train, evaluation, label, protocol = WAYS[kind]
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(text)
    for group, overrides in {"mixed": [], "plain": ["mixup=null"]}.items():
        for seed in (0, 1):
            assert train(["config.yaml", *overrides, f"run.dir=runs/{group}/seed-{seed}", f"run.seed={seed}"]) == 0
    assert main(["evaluate", "runs", *evaluation]) == 0
    assert main(["report", "runs"]) == 0
    rows = list(csv.DictReader(Path("runs/report.csv").read_text().splitlines()))
    found = {
        row["group"]: row
        for row in rows
        if row["score"] == label and not row["protocol"].startswith("small with num_fake 64")
    }
    assert found.keys() == {"mixed", "plain"}
    values = {group: [logged(Path(f"runs/{group}/seed-{seed}"), label, protocol) for seed in (0, 1)] for group in found}
    for group, row in found.items():
        assert float(row["mean"]) == pytest.approx(statistics.mean(values[group]), rel=1e-12)
        assert float(row["std_over_seeds"]) == pytest.approx(statistics.stdev(values[group]), rel=1e-9)
    difference = statistics.mean(ours - plain for ours, plain in zip(values["mixed"], values["plain"], strict=True))
    assert float(found["mixed"]["difference"]) == pytest.approx(difference, rel=1e-9)
    assert (found["mixed"]["baseline"], found["mixed"]["n_pairs"]) == ("plain", "2")
    page = Path("runs/report.html").read_text()
    assert "range of 2 seeds" in page
    assert "http" not in page.replace("http://www.w3.org", "")
