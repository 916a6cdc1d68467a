"""Which scans a recipe has, whose they are, and the split of their patients."""

import os
import shutil
from pathlib import Path

import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.scan_files import recipe_of, write_dicom, write_scan, write_source
from training.data.items import stamp
from training.data.prepare import prepare, store_path
from training.data.store import Store


@pytest.fixture
def source(tmp_path) -> Path:
    return write_source(tmp_path / "ct")


@pytest.fixture
def recipe(tmp_path, source):
    """Makes recipes on the six patients."""
    return lambda *overrides: recipe_of(source, tmp_path / "run", *overrides)


def test_every_format_is_a_patient(recipe, source):
    write_scan(source / "deep" / "m.mha")
    write_scan(source / "deep" / "n.mhd")
    write_scan(source / "o.NRRD".lower())
    write_dicom(source / "p1" / "study")
    (source / "notes.txt").write_text("no scan", encoding="utf-8")
    write_scan(source / ".hidden.nii.gz")
    write_scan(source / ".cache" / "h.nii.gz")
    (source / "again").symlink_to(source)
    prepare(recipe(), progress=False)
    store = Store.open(store_path(recipe()))
    assert store.names() == [*"abcdef", "m", "n", "o", "p1_study"]
    assert {p.name: p.source for p in store.patients}["p1_study"] == "p1/study"


def test_nothing_found(recipe, tmp_path, source):
    shutil.rmtree(source)
    with pytest.raises(ReadError, match="is not a folder: give source=FOLDER"):
        prepare(recipe(), progress=False)
    source.mkdir()
    (source / "notes.txt").write_text("no scan", encoding="utf-8")
    with pytest.raises(ReadError, match=r"no scans below .*\.nii\.gz.*DICOM"):
        prepare(recipe(), progress=False)
    assert not (tmp_path / "run").exists(), "nothing is written for a mistake"


def test_two_scans_of_one_name(recipe, source):
    write_scan(source / "later" / "a.nrrd")
    with pytest.raises(InvalidInputError, match=r"patient 'a': .*a\.nii\.gz and .*a\.nrrd"):
        prepare(recipe(), progress=False)


def test_a_dicom_folder_and_a_header_change_with_their_files(tmp_path):
    write_dicom(tmp_path / "dicom")
    header = write_scan(tmp_path / "a.mhd")
    for path, changed in ((tmp_path / "dicom", tmp_path / "dicom" / "slice3.dcm"), (header, tmp_path / "a.raw")):
        before = stamp(path)
        assert stamp(path) == before != ""
        os.utime(changed, ns=(1, 1))
        assert stamp(path) != before
