import errno
import hashlib
import os
import zipfile
from pathlib import Path

import pytest
import torch
from full_disk import no_space_beyond_4_kb

from ganmix.engine.checkpoint import load_checkpoint, save_checkpoint
from ganmix.errors import UserError


class CreatesFile:
    """Pickled, it is a call that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


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
