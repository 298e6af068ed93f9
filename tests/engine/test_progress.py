import sys

from ganmix.engine import progress as module
from ganmix.engine.progress import TrainingProgress, bar, say


def become_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def test_without_a_terminal_the_last_step_is_a_plain_line(capsys):
    progress = TrainingProgress(0, 3, 4)
    progress.show(1)
    progress.show(2)
    assert capsys.readouterr().err == ""
    progress.losses = {"loss": 2.0}
    progress.show(3)
    line = capsys.readouterr().err
    assert line.startswith("step 3/3  ")
    assert line.endswith("  0:00 left  loss 2.000\n")
    assert "\r" not in line


def test_without_a_terminal_a_line_comes_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    progress = TrainingProgress(100, 1000, 4)
    for step in range(101, 201):
        now[0] += 0.5
        progress.show(step)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["121/1000", "142/1000", "163/1000", "184/1000"]
    assert lines[0] == "step 121/1000  8 images/s  7:20 left"  # 2 steps a second of 4 images; 879 steps


def test_on_a_terminal_a_training_is_a_bar_that_lines_do_not_break(capsys, monkeypatch):
    become_terminal(monkeypatch)
    progress = TrainingProgress(4, 10, 4)
    say("in between")
    progress.show(10)
    progress.close()
    shown = capsys.readouterr().err
    assert "\rin between\n" in shown
    assert "10/10" in shown
    assert "step 10/10" not in shown


def test_bar_hands_on_every_item_and_counts_images(capsys, monkeypatch):
    become_terminal(monkeypatch)
    assert list(bar(["a", "b", "c"], "sampling", 64)) == ["a", "b", "c"]
    shown = capsys.readouterr().err
    assert "sampling" in shown
    assert "/192" in shown


def test_without_a_terminal_there_is_no_bar(capsys):
    assert bar(items := [1, 2], "sampling") is items
    assert capsys.readouterr().err == ""
