"""Hashes of what is in files."""

import json
import os

import pytest

from training.trials.task.content_hashes import ContentHashes


def test_hashes_are_remembered_until_a_file_changes(tmp_path, monkeypatch):
    file, store = tmp_path / "a.bin", tmp_path / "hashes.json"
    file.write_bytes(b"one")
    hashes = ContentHashes(store)
    first = hashes.of(str(file))
    hashes.save()
    monkeypatch.setattr("training.trials.task.content_hashes.content_hash", lambda _: pytest.fail("hashed twice"))
    assert ContentHashes(store).of(str(file)) == first
    monkeypatch.undo()
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert ContentHashes(store).of(str(file)) != first
    assert ContentHashes(store).of(str(tmp_path / "nothing")) == ""


def test_hashes_of_folders_and_headers_see_every_file(tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").write_bytes(b"slice")
    (tmp_path / "scan.mhd").write_bytes(b"ElementDataFile = scan.raw\n")
    (tmp_path / "scan.raw").write_bytes(b"voxels")
    before = [ContentHashes(tmp_path / "no").of(str(tmp_path / name)) for name in ("series", "scan.mhd")]
    (tmp_path / "series" / "2.dcm").write_bytes(b"slice")
    (tmp_path / "scan.raw").write_bytes(b"VOXELS")
    after = [ContentHashes(tmp_path / "no").of(str(tmp_path / name)) for name in ("series", "scan.mhd")]
    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    ("name", "header"), [("scan.mhd", "ElementDataFile = other.raw"), ("scan.nhdr", "data file: other.raw")]
)
def test_the_voxels_that_a_header_names_are_hashed(tmp_path, name, header):
    (tmp_path / name).write_text(f"NRRD0004\n{header}\n", encoding="utf-8")
    (tmp_path / "other.raw").write_bytes(b"voxels")
    before = ContentHashes(tmp_path / "no").of(str(tmp_path / name))
    (tmp_path / "other.raw").write_bytes(b"VOXELS")
    assert ContentHashes(tmp_path / "no").of(str(tmp_path / name)) != before


@pytest.mark.parametrize("text", ["7", "null", '[["a"]]', '{"a": 3}', "[" * 100_000, "{"])
def test_a_damaged_file_of_hashes_is_made_anew(tmp_path, text):
    file, store = tmp_path / "a.bin", tmp_path / "hashes.json"
    file.write_bytes(b"one")
    expected = ContentHashes(tmp_path / "other.json").of(str(file))
    store.write_text(text, encoding="utf-8")
    hashes = ContentHashes(store)
    assert hashes.of(str(file)) == expected
    hashes.save()
    assert list(json.loads(store.read_text(encoding="utf-8"))) == [str(file)]
