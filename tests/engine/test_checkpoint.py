import errno
import hashlib
import os
import resource
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint, write_atomically
from ganmix.engine.old_run_folder import RunFolder, append_line, forget_after, read_lines
from ganmix.errors import UserError


class CreatesFile:
    """Pickled, it is a call that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@contextmanager
def no_space_beyond_4_kb():
    """Makes the system refuse writes beyond 4 KB, with a real OSError as of a full disk.

    Around the write alone: the limit is the whole process's, and pytest's own output may be a longer file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_saved_is_loaded(tmp_path):
    state = {"tensor": torch.randn(3, 2), "nested": {"list": [1, 2.5, None, "text"]}}
    save_checkpoint(tmp_path / "new_folder" / "c.pt", state)
    loaded = load_checkpoint(tmp_path / "new_folder" / "c.pt")
    assert torch.equal(loaded["tensor"], state["tensor"])
    assert loaded["nested"] == state["nested"]
    assert [path.name for path in (tmp_path / "new_folder").iterdir()] == ["c.pt"]


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "c.pt"
    network = torch.nn.Sequential(torch.nn.Linear(20, 10), torch.nn.BatchNorm1d(10))
    state = {"network": network.state_dict(), "random": torch.Generator().get_state(), "step": 3}
    save_checkpoint(path, state)
    whole = path.read_bytes()
    draw = torch.Generator().manual_seed(0)
    anywhere = torch.randint(len(whole), (150,), generator=draw).tolist()
    for place in {*anywhere, *range(len(whole) - 75, len(whole), 3)}:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"c\.pt: not a readable checkpoint"):
            load_checkpoint(path)
    path.write_bytes(whole)
    loaded = load_checkpoint(path)
    torch.testing.assert_close(loaded, state, rtol=0, atol=0)


def test_other_tools_read_the_file_too(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"tensor": torch.arange(5), "step": 3})
    for loaded in (torch.load(path, weights_only=True), torch.load(path, weights_only=True, mmap=True)):
        torch.testing.assert_close(loaded, {"tensor": torch.arange(5), "step": 3})
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        digest = archive.comment
    assert digest == b"sha256 " + hashlib.sha256(path.read_bytes()[: -len(digest)]).hexdigest().encode()


def test_a_file_without_a_digest_is_refused_in_one_line(tmp_path):
    path = tmp_path / "c.pt"
    torch.save({"step": 3}, path)
    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    assert str(error.value) == (
        f"{path}: not a readable checkpoint "
        "(it does not end with a digest: cut short, or of another program or version)"
    )


def test_failing_sync_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"step": 1})
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(path, {"step": 2})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]
    save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path) == {"step": 2}


def test_failing_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"step": 1})
    with pytest.raises(OSError, match="too large"), no_space_beyond_4_kb():
        save_checkpoint(path, {"step": 2, "tensor": torch.zeros(10_000)})
    assert load_checkpoint(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]


def test_file_is_synced_before_it_takes_the_name(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((path.read_bytes(), os.fstat(descriptor).st_size)))
    write_atomically(path, b"newer")
    assert seen == [(b"old", 5)]
    assert path.read_bytes() == b"newer"


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_truncated_file_is_named(share, tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"tensor": torch.randn(1000)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    (problem,) = error.value.problems
    assert problem.startswith(f"{path}: not a readable checkpoint (")
    assert "\n" not in problem


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.pt: not a readable checkpoint .*No such file"):
        load_checkpoint(tmp_path / "none.pt")


def test_code_in_a_file_does_not_run(tmp_path):
    path, witness = tmp_path / "c.pt", tmp_path / "witness"
    save_checkpoint(path, {"step": CreatesFile(witness)})
    with pytest.raises(UserError, match=r"not a readable checkpoint \(it holds more than tensors and plain Python\)"):
        load_checkpoint(path)
    assert not witness.exists()
    torch.load(path, weights_only=False)  # it would have run
    assert witness.exists()


@pytest.mark.parametrize("hard_links", [True, False])
def test_previous_is_what_latest_was(hard_links, tmp_path, monkeypatch):
    if not hard_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError("no hard links here")))
    latest, previous = tmp_path / "latest.pt", tmp_path / "previous.pt"
    for step in (1, 2, 3):
        save_checkpoint(latest, {"step": step}, previous)
    assert load_checkpoint(latest) == {"step": 3}
    assert load_checkpoint(previous) == {"step": 2}
    assert {file.name for file in tmp_path.iterdir()} == {"latest.pt", "previous.pt"}


def test_failing_write_leaves_latest_and_previous_and_names_the_file(tmp_path):
    latest, previous = tmp_path / "latest.pt", tmp_path / "previous.pt"
    for step in (1, 2):
        save_checkpoint(latest, {"step": step}, previous)
    with pytest.raises(OSError, match="too large") as error, no_space_beyond_4_kb():
        save_checkpoint(latest, {"step": 3, "tensor": torch.zeros(10_000)}, previous)
    assert error.value.filename == str(latest)
    assert load_checkpoint(latest) == {"step": 2}
    assert load_checkpoint(previous) == {"step": 1}


def test_forgetting_drops_later_lines_and_one_cut_short(tmp_path):
    log = tmp_path / "log.jsonl"
    for step in (2, 4, 6):
        append_line(log, {"step": step, "loss": 1 / 3})
    whole = log.read_text()
    log.write_text(whole + '{"step": 4, "lo')
    forget_after(log, 4)
    assert log.read_text() == "".join(whole.splitlines(keepends=True)[:2])
    append_line(log, {"step": 5})
    assert [line["step"] for line in read_lines(log)] == [2, 4, 5]


def test_forgetting_everything_leaves_an_empty_log_and_no_log_stays_none(tmp_path):
    log = tmp_path / "log.jsonl"
    append_line(log, {"step": 1})
    forget_after(log, 0)
    assert log.read_text() == ""
    forget_after(tmp_path / "other.jsonl", 0)
    assert not (tmp_path / "other.jsonl").exists()
    assert read_lines(tmp_path / "other.jsonl") == []


def test_a_line_is_appended_in_place_of_one_cut_short(tmp_path):
    log = tmp_path / "log.jsonl"
    append_line(log, {"step": 1})
    whole = log.read_text()
    for torn in ('{"st', '{"step": 3}', "\N{SNOWMAN}"):
        log.write_text(whole + torn)
        append_line(log, {"step": 2})
        assert log.read_text() == whole + '{"step": 2}\n'
    log.write_text('{"st')
    append_line(log, {"step": 2})
    assert read_lines(log) == [{"step": 2}]


def test_a_line_that_does_not_fit_on_the_disk_leaves_the_log_as_it_was(tmp_path):
    log = tmp_path / "log.jsonl"
    append_line(log, {"step": 1, "text": "x" * 4000})
    before = log.read_bytes()
    with pytest.raises(OSError, match="too large") as error, no_space_beyond_4_kb():
        append_line(log, {"step": 2, "text": "y" * 1000})
    assert error.value.filename == str(log)
    assert log.read_bytes() == before
    append_line(log, {"step": 3})
    assert [line["step"] for line in read_lines(log)] == [1, 3]


@pytest.mark.parametrize("line", ['{"step": 2, "lo', '{"loss": 1}', "[1, 2]", '{"step": "2"}', "\xff\xfe", "[" * 10**5])
def test_a_damaged_line_is_named(line, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"step": 1}\n' + line.encode("latin-1") + b'\n{"step": 3}\n')
    before = log.read_bytes()
    for work in (read_lines, lambda log: forget_after(log, 1)):
        with pytest.raises(UserError) as error:
            work(log)
        (problem,) = error.value.problems
        assert problem.startswith(f"{log}:2: expected a JSON object with a step, got '")
        assert "\n" not in problem
    assert log.read_bytes() == before


def test_a_line_that_is_appended_while_others_are_forgotten_is_not_lost(tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    for step in (1, 2):
        append_line(log, {"step": step})
    appending = threading.Thread(target=append_line, args=(log, {"step": 3}))

    def write_meanwhile(path, content):
        appending.start()
        appending.join(0.2)  # it waits for longer
        write_atomically(path, content)

    monkeypatch.setattr("ganmix.engine.old_run_folder.write_atomically", write_meanwhile)
    forget_after(log, 1)
    appending.join()
    assert [line["step"] for line in read_lines(log)] == [1, 3]


def test_a_lock_that_is_a_link_leaves_its_target(tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(target)
    with RunFolder(tmp_path / "run"):
        assert target.read_text() == "precious"


def _write_often(path, content):
    for _ in range(100):
        write_atomically(path, content, shared=True)


def test_processes_that_write_the_same_file_do_not_disturb_each_other(tmp_path, forks):
    path = tmp_path / "cache" / "file"
    contents = [bytes([i]) * 100_000 for i in range(3)]
    processes = [forks.Process(target=_write_often, args=(path, content)) for content in contents]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert path.read_bytes() in contents
    assert [*path.parent.iterdir()] == [path]
