"""Which scans a recipe has, whose they are, and the split of their patients."""

import os
import shutil
import unicodedata
from pathlib import Path

import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.scan_files import recipe_of, write_dicom, write_scan, write_source, write_split
from training.data import sources
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
        before = sources.stamp(path)
        assert sources.stamp(path) == before != ""
        os.utime(changed, ns=(1, 1))
        assert sources.stamp(path) != before


def test_split_of_a_csv(recipe, tmp_path, source, capsys):
    rows = {"a": "tr", "b": "tr", "c": "va", "d": "te", "e": "spare", "ghost": "tr"}
    path = write_split(tmp_path / "split.csv", rows, encoding="utf-8-sig")
    with_csv = recipe(f"split={path}", 'split_names={tr = "train", va = "validation", te = "test"}')
    summary = prepare(with_csv, progress=False)
    store = Store.open(store_path(with_csv))
    assert {p.name: p.split for p in store.patients} == {
        "a": "train",
        "b": "train",
        "c": "validation",
        "d": "test",
    }
    assert summary.skipped["e.nii.gz"] == "its split 'spare' is none of split_names (tr, va, te)"
    assert summary.skipped["f.nii.gz"] == f"patient 'f' is not in {path}"
    assert summary.absent == ["ghost"]
    assert "1 patients of the split have no scan: ghost" in capsys.readouterr().out


def test_a_dicom_folder_is_named_by_its_path_too(recipe, tmp_path, source):
    write_dicom(source / "p1" / "study")
    path = write_split(tmp_path / "split.csv", {"p1/study": "test", "a": "train"})
    prepare(recipe(f"split={path}"), progress=False)
    assert Store.open(store_path(recipe())).names("test") == ["p1_study"]


def test_bad_splits(recipe, tmp_path):
    path = tmp_path / "split.csv"
    with pytest.raises(ReadError, match="cannot be read"):
        prepare(recipe(f"split={path}"), progress=False)
    path.write_text("name,fold\na,1\n", encoding="utf-8")
    with pytest.raises(ReadError, match="columns patient and split"):
        prepare(recipe(f"split={path}"), progress=False)
    path.write_text("patient,split\na,train\na,test\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="patient 'a' in 'train' and in 'test'"):
        prepare(recipe(f"split={path}"), progress=False)


def test_drawn_validation(recipe, tmp_path, source):
    def drawn(*overrides: str) -> list[str]:
        prepare(recipe(*overrides), progress=False)
        return Store.open(store_path(recipe())).names("validation")

    assert len(drawn("validation_share=0.0")) == 0
    half = drawn("validation_share=0.5")
    assert len(half) == 3
    assert drawn("validation_share=0.5") == half
    others = {tuple(drawn("validation_share=0.5", f"seed={seed}")) for seed in range(5)}
    assert len(others) > 1, "the seed draws"


def test_validation_is_drawn_among_readable_scans(recipe, source):
    prepare(recipe(), progress=False)
    (drawn,) = Store.open(store_path(recipe())).names("validation")
    (source / f"{drawn}.nii.gz").write_bytes(b"")
    prepare(recipe(), progress=False)
    assert len(Store.open(store_path(recipe())).names("validation")) == 1


def test_a_single_patient_stays_for_training(recipe, source):
    for name in "bcdef":
        (source / f"{name}.nii.gz").unlink()
    prepare(recipe(), progress=False)
    assert Store.open(store_path(recipe())).names("train") == ["a"]


def test_a_name_in_another_composition_is_the_same_name(recipe, tmp_path, source):
    write_scan(source / (unicodedata.normalize("NFD", "Müller") + ".nii.gz"))
    path = write_split(tmp_path / "split.csv", {unicodedata.normalize("NFC", "Müller"): "test", "a": "train"})
    prepare(recipe(f"split={path}"), progress=False)
    assert Store.open(store_path(recipe())).names("test") == [unicodedata.normalize("NFC", "Müller")]
