"""What a step leaves behind: by its record it is done."""

import errno

import pytest

from sg_hub.errors import ReadError
from sg_hub.io import files
from tests.training.conftest import small_recipe
from training.run.folder.record import read_json, record, recorded


def test_a_record_says_what_determined_the_result(tmp_path):
    recipe = small_recipe(tmp_path / "run")
    assert recorded(recipe, "pretrain") == {}
    value = record(recipe, "pretrain", epochs=3)
    assert recorded(recipe, "pretrain") == value
    assert {"recipe", "versions", "machine", "commit", "written"} <= value.keys()
    assert (value["epochs"], value["step"], value["recipe"]["name"]) == (3, "pretrain", "demo")


@pytest.mark.parametrize("data", [b"{", b"[1]", b"3", b"\xff", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_a_damaged_record_is_named(tmp_path, data):
    path = tmp_path / "pretrain.json"
    path.write_bytes(data)
    with pytest.raises(ReadError, match=r"pretrain\.json is damaged .*run `sg-hub pretrain` again"):
        read_json(path, "pretrain")
    assert recorded(small_recipe(tmp_path), "pretrain") == {}


def test_a_missing_record_names_the_step(tmp_path):
    with pytest.raises(ReadError, match=r"is not there yet: run `sg-hub discover` first"):
        read_json(tmp_path / "discover.json", "discover")


def test_a_full_disk_leaves_the_older_record(tmp_path, monkeypatch):
    recipe = small_recipe(tmp_path)
    record(recipe, "pretrain", epochs=3)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ReadError, match=r"pretrain\.json cannot be written \(No space left"):
        record(recipe, "pretrain", epochs=4)
    assert recorded(recipe, "pretrain")["epochs"] == 3
