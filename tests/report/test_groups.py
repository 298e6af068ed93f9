import pytest
from made_runs import FR, FR_FF, make_classifier_run, make_run, paper

from ganmix.errors import UserError
from ganmix.report.groups import group_runs
from ganmix.report.runs import read_runs


def groups_of(*paths, baseline=None):
    return group_runs(read_runs(paths), baseline)


def names(*paths, **options):
    return [group.name for group in groups_of(*paths, **options)]


def test_runs_that_differ_by_seed_and_surroundings_are_one_group(tmp_path):
    others = [
        "logging.scalars_every=7",
        "evaluation={extractor: digits}",
        "device={name: cpu, bf16: true}",
        "data.root=elsewhere",
        f"run.dir={tmp_path}",
    ]
    for seed, override in enumerate(others):
        make_run(tmp_path / "x" / f"seed-{seed}", override, seed=seed)
    (group,) = groups_of(tmp_path)
    assert [run.seed for run in group.runs] == list(range(len(others)))


@pytest.mark.parametrize("override", ["training.lr=1e-3", "loss.name=wasserstein", "training.steps=2000", FR])
def test_runs_that_differ_in_method_are_two_groups(tmp_path, override):
    make_run(tmp_path / "a" / "seed-0")
    make_run(tmp_path / "b" / "seed-1", override, seed=1)
    assert names(tmp_path) == ["a", "b"]


def test_group_is_named_by_the_folder_above_its_seeds_or_its_own(tmp_path):
    make_run(tmp_path / "with_seeds" / "seed-12")
    make_run(tmp_path / "alone", FR)
    assert sorted(names(tmp_path)) == ["alone", "with_seeds"]


def test_groups_of_one_name_get_their_parents(tmp_path):
    make_run(tmp_path / "long" / "gan" / "seed-0")
    make_run(tmp_path / "short" / "gan" / "seed-0", "training.steps=10")
    make_run(tmp_path / "short" / "other" / "seed-0", FR)
    assert sorted(names(tmp_path)) == ["long/gan", "other", "short/gan"]


def test_two_configs_in_one_folder_are_named_by_their_runs(tmp_path):
    make_run(tmp_path / "gan" / "seed-0")
    make_run(tmp_path / "gan" / "seed-1", "training.steps=10", seed=1)
    assert names(tmp_path) == ["seed-0", "seed-1"]


def test_one_seed_twice_is_an_error_naming_both(tmp_path):
    first, second = (make_run(tmp_path / name).path for name in ("a", "b"))
    with pytest.raises(UserError) as error:
        groups_of(tmp_path)
    assert str(first) in error.value.problems[0]
    assert str(second) in error.value.problems[0]


def test_run_given_twice_counts_once(tmp_path):
    run = make_run(tmp_path / "gan" / "seed-0").path
    (group,) = groups_of(run, tmp_path, tmp_path / "gan" / ".." / "gan")
    assert len(group.runs) == 1


def test_baseline_of_a_mixup_group_equals_it_but_for_the_mixup(tmp_path):
    make_run(tmp_path / "a_fr", FR)
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", "loss.name=wasserstein")
    make_run(tmp_path / "b_fr", "loss.name=wasserstein", FR_FF)
    make_run(tmp_path / "c_fr", "training.lr=1e-3", FR)
    bases = {group.name: group.baseline and group.baseline.name for group in groups_of(tmp_path)}
    assert bases == {"a": None, "a_fr": "a", "b": None, "b_fr": "b", "c_fr": None}


def test_families_keep_the_order_given_with_the_baseline_first(tmp_path):
    runs = [
        make_run(tmp_path / "z_fr", FR),
        make_run(tmp_path / "other", "loss.name=wasserstein"),
        make_run(tmp_path / "base"),
        make_run(tmp_path / "a_fr_ff", FR_FF),
    ]
    assert names(*(run.path for run in runs)) == ["base", "z_fr", "a_fr_ff", "other"]


def test_named_baseline_is_everyones(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "a_fr", FR)
    make_run(tmp_path / "b", "loss.name=wasserstein")
    groups = groups_of(tmp_path, baseline="a_fr")
    assert [group.name for group in groups] == ["a_fr", "a", "b"]
    assert [group.baseline for group in groups] == [None, groups[0], groups[0]]


def test_unknown_baseline_is_an_error_naming_the_nearest(tmp_path):
    make_run(tmp_path / "gan_gp")
    with pytest.raises(UserError, match="did you mean 'gan_gp'"):
        groups_of(tmp_path, baseline="gan_pg")


def test_label_is_the_papers_row_and_title_tells_equal_labels_apart(tmp_path):
    row = paper("GAN (x = 1)", IS=7.3, FID=30.2)
    make_run(tmp_path / "a", row)
    make_run(tmp_path / "b", row, FR)
    make_run(tmp_path / "c", FR_FF)
    found = [(group.label, group.title) for group in groups_of(tmp_path)]
    assert found == [("GAN (x = 1)", "GAN (x = 1) [a]"), ("GAN (x = 1)", "GAN (x = 1) [b]"), ("c", "c")]


def test_method_says_what_is_mixed_where(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", FR_FF)
    soft = "mixup={alpha: 1, stages: [0, 2, down1], pairs: [FR], labels: soft}"
    make_run(tmp_path / "c", soft, "loss.name=non_saturating")
    methods = ["no mixup", "FR+FF at input, alpha 0.2", "FR at input, stage 2, down1, alpha 1, labels soft"]
    assert [group.words.method for group in groups_of(tmp_path)] == methods


def test_kinds_of_runs_are_told_apart(tmp_path):
    make_classifier_run(tmp_path / "classifier")
    make_run(tmp_path / "gan")
    assert [(run.path.name, run.words.kind) for run in read_runs([tmp_path])] == [
        ("classifier", "classifier"),
        ("gan", "GAN"),
    ]


def test_unreadable_configs_logs_and_formats_are_errors_by_name(tmp_path):
    first, second, third, fourth = (make_run(tmp_path / name, samples=False) for name in "abcd")
    with (first.path / "scores.jsonl").open("a") as log:
        log.write('{"step": 3000, "scores": {"FID": 1.0}, "protocol": {}}\n')
    with (second.path / "metrics.jsonl").open("w") as log:
        log.write("{}\nnot json\n")
    third.config.write_text("data: {name: digits}\n")
    (fourth.path / "format").write_text("0\n")
    with pytest.raises(UserError) as error:
        read_runs([tmp_path])
    places = [first.path / "scores.jsonl:1", second.path / "metrics.jsonl:1", third.config, fourth.path]
    for place in places:
        assert any(problem.startswith(str(place)) for problem in error.value.problems)


def test_training_time_is_steps_over_speed(tmp_path):
    run = make_run(tmp_path / "gan", speed=400.0, steps_done=1000)
    run.add_metrics(1100, {"images_per_second": 100.0})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1200, "images_pe')  # cut short by a kill
    (read,) = read_runs([run.path])
    # 1000 steps of 2 D batches of 50 at 400 images/s, then 100 steps at 100.
    assert read.training_seconds == pytest.approx(1000 * 100 / 400 + 100 * 100 / 100)
    assert read.steps_done == 1100
