import os

import pytest
from full_disk import no_space_beyond_4_kb

from ganmix.engine.files import append_line, read_lines, write_atomically


def test_file_is_synced_before_it_takes_the_name(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((path.read_bytes(), os.fstat(descriptor).st_size)))
    write_atomically(path, b"newer")
    assert seen == [(b"old", 5)]
    assert path.read_bytes() == b"newer"


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
