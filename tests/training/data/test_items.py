"""Which scans a recipe has, whose they are, and the split of their patients."""

import os
import shutil

import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.conftest import XRAYS, small_images
from tests.training.scan_files import write_dicom, write_scan
from training.data.items import stamp
from training.data.prepare import prepare, store_path
from training.data.store import Store
from training.run.recipe import Recipe
from training.targets import load_target


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
    with pytest.raises(InvalidInputError, match=r"called 'a': .*a\.nii\.gz and .*a\.nrrd"):
        prepare(recipe(), progress=False)


def test_a_row_that_may_be_of_two_folders(recipe, source, tmp_path):
    for patient in ("0012", "0013"):
        write_dicom(source / patient / "SE 1")
    split = tmp_path / "split.csv"
    split.write_text("patient,split\na,train\nSE 1,train\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"has 'SE 1', which 0012/SE 1 and 0013/SE 1 are called"):
        prepare(recipe(f"split={split}"), progress=False)
    split.write_text("patient,split\na,train\nb,train\n0012/SE 1,train\n0013_SE 1,test\n", encoding="utf-8")
    prepare(recipe(f"split={split}"), progress=False)
    assert {p.name: p.split for p in Store.open(store_path(recipe())).patients if "SE" in p.name} == {
        "0012_SE 1": "train",
        "0013_SE 1": "test",
    }


def test_a_dicom_folder_and_a_header_change_with_their_files(tmp_path):
    write_dicom(tmp_path / "dicom")
    header = write_scan(tmp_path / "a.mhd")
    for path, changed in ((tmp_path / "dicom", tmp_path / "dicom" / "slice3.dcm"), (header, tmp_path / "a.raw")):
        before = stamp(path)
        assert stamp(path) == before != ""
        os.utime(changed, ns=(1, 1))
        assert stamp(path) != before


def test_whose_an_image_is_must_be_said(tmp_path):
    settings = small_images(tmp_path / "run").model_dump() | {"patient": None}
    with pytest.raises(InvalidInputError, match="whose an image is"):
        prepare(Recipe.model_validate(settings), progress=False)


def test_the_patients_of_the_recipes_are_those_of_the_target(trained_images):
    targets = {item.patient for item in load_target("dxc", [f"root={fake_chestxray14(trained_images)}"]).find().items}
    assert targets == set(Store.open(store_path(small_images(trained_images))).persons("train")) & targets != set()


def fake_chestxray14(run):
    """ChestX-ray14 as it is downloaded, of the sample images."""
    root = run.parent / "ChestX-ray14"
    images = root / "images_001" / "images"
    images.mkdir(parents=True, exist_ok=True)
    names = [p.name + ".png" for p in Store.open(store_path(small_images(run))).patients if p.split == "train"]
    for name in names:
        shutil.copy(XRAYS / name, images)
    lines = ["Image Index,Finding Labels,Follow-up #,Patient ID", *(f"{n},Mass,0,{int(n[:8])}" for n in names)]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "train_val_list.txt").write_text("\n".join(names[1:]) + "\n", encoding="utf-8")
    (root / "test_list.txt").write_text(names[0] + "\n", encoding="utf-8")
    return root


def test_images_whose_patient_cannot_be_told_are_skipped(tmp_path):
    with pytest.raises(ReadError, match="does not match its path"):
        prepare(small_images(tmp_path / "run", "patient=(patient[0-9]+)/"), progress=False)


def test_a_pattern_that_finds_nothing_does_not_match(tmp_path):
    """Its group may be of no letters, which is nobody's name."""
    for name in ("a_1", "12_1", "13_1"):
        shutil.copy(next(XRAYS.glob("*.png")), tmp_path / f"{name}.png")
    recipe = small_images(tmp_path / "run", f"source={tmp_path}", "patient=([0-9]*)_")
    assert "does not match its path" in prepare(recipe, progress=False).skipped["a_1.png"]
    assert {item.patient for item in Store.open(store_path(recipe)).items} == {"12", "13"}


def test_no_images(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="no images below"):
        prepare(small_images(tmp_path / "run", f"source={tmp_path}/empty"), progress=False)


def test_several_scans_of_one_patient(recipe, source):
    for number in range(2):
        for patient in "ghi":
            write_scan(source / f"{patient}_{number}.nii.gz", seed=ord(patient) + number)
    asked = recipe("patient=([a-z])(_[01])?[.]")
    assert "12 scans of 9 patients" in str(prepare(asked, progress=False))
    store = Store.open(store_path(asked))
    assert {item.name: item.patient for item in store.items} == {name: name[0] for name in store.names()}
    assert store.persons("train") + store.persons("validation") == sorted(
        "abcdefghi", key=lambda one: (one in store.persons("validation"), one)
    )
    assert Store.open(store_path(asked)).fingerprint == store.fingerprint


def test_several_scans_of_one_patient_by_a_csv(recipe, source, tmp_path):
    write_scan(source / "a2.nii.gz")
    rows = ["image,patient,split", "a,one,train", "a2,one,train", "b,two,validation", "c,three,test"]
    table = tmp_path / "split.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    prepare(recipe(f"split={table}"), progress=False)
    store = Store.open(store_path(recipe()))
    assert [(item.name, item.patient) for item in store.items] == [
        ("a", "one"),
        ("a2", "one"),
        ("b", "two"),
        ("c", "three"),
    ]
    table.write_text("\n".join(rows).replace("a2,one,train", "a2,one,test") + "\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="patients are split, not their scans or images"):
        prepare(recipe(f"split={table}"), progress=False)
    table.write_text("\n".join([*rows, "a,other,train"]) + "\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="image 'a' that it is of 'one' and of 'other'"):
        prepare(recipe(f"split={table}"), progress=False)
