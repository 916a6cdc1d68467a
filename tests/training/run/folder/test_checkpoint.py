"""Checkpoints: whole or refused, and the one before is there."""

import errno
import shutil

import numpy as np
import pytest
import torch

from sg_hub.errors import ReadError
from sg_hub.io import files
from training.run.folder import checkpoint
from training.run.folder.checkpoint import load_checkpoint, previous_checkpoint, remove_checkpoint, save_checkpoint


def state_of(step: int) -> dict:
    values = torch.randn(50, generator=torch.Generator().manual_seed(step))
    return {"determined_by": "this", "weights": values, "at": {"step": step}}


def equal(state: dict | None, step: int) -> bool:
    expected = state_of(step)
    return state is not None and torch.equal(state["weights"], expected["weights"]) and state["at"] == expected["at"]


@pytest.fixture
def path(tmp_path):
    """Two checkpoints, of the steps 1 and 2."""
    for step in (1, 2):
        save_checkpoint(tmp_path / "checkpoint.pt", state_of(step))
    return tmp_path / "checkpoint.pt"


def test_the_newest_and_the_one_before(path):
    assert sorted(p.name for p in path.parent.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]
    assert equal(load_checkpoint(path, "this"), 2)
    assert equal(torch.load(path, weights_only=True), 2), "it is a file of torch.save"
    assert equal(load_checkpoint(previous_checkpoint(path), "this"), 1)
    assert load_checkpoint(path.with_name("none.pt"), "this") is None
    remove_checkpoint(path)
    assert not list(path.parent.iterdir())


def test_of_another_recipe(path):
    with pytest.raises(ReadError, match=r"checkpoint\.pt was written with another recipe"):
        load_checkpoint(path, "that")


def test_every_flipped_bit_is_seen(path, capsys):
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    for position in draw.integers(0, 8 * len(whole), 200):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        assert equal(load_checkpoint(path, "this"), 1), position
        assert "going on from the checkpoint before" in capsys.readouterr().err
        assert equal(load_checkpoint(path, "this"), 1)
        assert capsys.readouterr().err == "", "it stands in the place of the damaged one"


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 64, b"x" * 5000])
def test_what_is_no_checkpoint(path, data):
    path.write_bytes(data)
    previous_checkpoint(path).unlink()
    with pytest.raises(ReadError, match=r"checkpoint\.pt is damaged .*remove it to start afresh"):
        load_checkpoint(path, "this")


def test_both_are_damaged(path):
    for place in (path, previous_checkpoint(path)):
        place.write_bytes(place.read_bytes()[:-7])
    with pytest.raises(ReadError, match=r"checkpoint\.pt is damaged .*so is the one before"):
        load_checkpoint(path, "this")


@pytest.mark.parametrize("state", [{"step": 1}, [1, 2], {"determined_by": 3}])
def test_a_state_of_something_else(tmp_path, state):
    save_checkpoint(tmp_path / "checkpoint.pt", state)
    with pytest.raises(ReadError, match=r"checkpoint\.pt is no checkpoint of a run"):
        load_checkpoint(tmp_path / "checkpoint.pt", "this")


def test_a_full_disk_leaves_the_older_ones(path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ReadError, match=r"cannot be written .*No space left"):
        save_checkpoint(path, state_of(3))
    monkeypatch.undo()
    assert equal(load_checkpoint(path, "this"), 2)
    assert equal(load_checkpoint(previous_checkpoint(path), "this"), 1)
    assert len(list(path.parent.iterdir())) == 2


def test_killed_between_the_two(path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_atomic", kill)
        with pytest.raises(Killed):
            save_checkpoint(path, state_of(3))
    assert equal(load_checkpoint(path, "this"), 2)
    assert equal(load_checkpoint(previous_checkpoint(path), "this"), 2)


def test_where_files_have_one_name_only(path, monkeypatch):
    def none(*arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(checkpoint.os, "link", none)
    save_checkpoint(path, state_of(3))
    assert equal(load_checkpoint(path, "this"), 3)
    assert equal(load_checkpoint(previous_checkpoint(path), "this"), 2)


def test_a_folder_that_may_not_be_read(path):
    shutil.rmtree(path.parent)
    path.mkdir(parents=True)
    assert load_checkpoint(path, "this") is None
