"""Images and label maps of a folder of one's own: found under whatever name a table or a case folder gives them."""

import shutil

import numpy as np
import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.sg_hub.io.formats.dicom.dicom_files import write_series
from tests.training.targets.target_folders import write_scan
from training.targets.readers.folder import Folder


def target(root, **settings):
    needed = {"name": "t", "head": "segmentation", "metric": "iou", "classes": ("a",), "settings": {"patch": (8, 8, 8)}}
    return Folder(reader="folder", root=str(root), **(needed | settings))


@pytest.fixture
def root(tmp_path):
    label = np.zeros((8, 8, 8), dtype=np.int16)
    label[:4] = 1
    for number in range(3):
        for folder, values in (("images", np.arange(512, dtype=np.int16).reshape(8, 8, 8)), ("labels", label)):
            write_scan(tmp_path / folder / f"c{number}.nii.gz", values)
    return tmp_path


@pytest.mark.parametrize(
    "form",
    [
        "c{}",
        "c{}.nii.gz",
        "images/c{}.nii.gz",
        "./images/c{}.nii.gz",
        "images\\c{}.nii.gz",
        "C:\\data\\images\\c{}.nii.gz",
        "/of/another/computer/images/c{}.nii.gz",
    ],
)
def test_paths_of_a_table(root, form):
    rows = [f"{form.format(number)},p{number}" for number in range(3)]
    (root / "t.csv").write_text("\n".join(["image,patient", *rows]), encoding="utf-8")
    found = target(root, table="t.csv").find()
    assert [(item.name, item.patient) for item in found.items] == [(f"c{n}", f"p{n}") for n in range(3)]
    assert found.skipped == {}


def test_an_image_without_a_row_is_left_out_and_said(root):
    (root / "t.csv").write_text("image\nc0\nimages/c2.nii.gz\ngone\n", encoding="utf-8")
    found = target(root, table="t.csv").find()
    assert [item.name for item in found.items] == ["c0", "c2"]
    assert found.skipped == {"gone": f"not in {root / 'images'}", "c1": "no row in t.csv"}


def test_a_column_that_is_there_twice(root):
    (root / "t.csv").write_text("image,patient,patient\nc0,a,b\n", encoding="utf-8")
    with pytest.raises(ReadError, match="has two columns 'patient'"):
        target(root, table="t.csv").find()


def test_the_slices_of_a_case_may_lie_deeper(tmp_path):
    for number in range(2):
        write_series(tmp_path / "images" / f"c{number}" / "DICOM", SeriesInstanceUID=f"1.2.{number}")
        write_scan(tmp_path / "labels" / f"c{number}.nii.gz", np.ones((12, 10, 6), dtype=np.int16))
    found = target(tmp_path).find()
    assert [item.name for item in found.items] == ["c0/DICOM", "c1/DICOM"]
    assert [item.label for item in found.items] == [str(tmp_path / "labels" / f"c{n}.nii.gz") for n in range(2)]
    write_series(tmp_path / "images" / "c0" / "other", SeriesInstanceUID="1.2.9")
    found = target(tmp_path).find()
    assert [item.name for item in found.items] == ["c1/DICOM"], "of two scans of a case none is taken for it"


def test_a_class_that_falls_between_the_voxels_is_said(root, caplog):
    label = np.zeros((8, 8, 8), dtype=np.int16)
    label[1, 1, 1] = 1
    write_scan(root / "labels" / "c0.nii.gz", label)
    read = target(root, grid={"spacing": (4, 4, 4)})
    items = read.find().items
    assert not read.load(items[0]).label.any()
    assert "c0.nii.gz: nothing of a is left on the grid of target t; give a finer one" in caplog.text
    caplog.clear()
    assert read.load(items[1]).label.any()
    assert "is left on the grid" not in caplog.text


def test_more_classes_than_numbers(root):
    with pytest.raises(ValueError, match="classes: 256 of them; a label map holds 255 at most"):
        target(root, classes=tuple(f"c{n}" for n in range(256)))


def test_label_maps_as_3d_slicer_calls_them(root):
    for number in range(3):
        (root / "labels" / f"c{number}.nii.gz").rename(root / "labels" / f"c{number}.seg.nii.gz")
    found = target(root).find()
    assert [item.label for item in found.items] == [str(root / "labels" / f"c{n}.seg.nii.gz") for n in range(3)]


@pytest.mark.parametrize(("image", "label"), [("", "_seg"), ("", "-label"), ("", "_mask"), ("_0000", "")])
def test_what_is_usually_added_to_names_may_be(root, image, label):
    for number in range(3):
        for folder, added in (("images", image), ("labels", label)):
            path = root / folder / f"c{number}.nii.gz"
            path.rename(path.with_name(f"c{number}{added}.nii.gz"))
    found = target(root).find()
    assert [item.label for item in found.items] == [str(root / "labels" / f"c{n}{label}.nii.gz") for n in range(3)]
    if image:
        shutil.copy(root / "images" / "c0_0000.nii.gz", root / "images" / "c0_0001.nii.gz")
    else:
        shutil.copy(root / "labels" / f"c0{label}.nii.gz", root / "labels" / "c0_segmentation.nii.gz")
    again = target(root).find()
    assert [item.name for item in again.items] == [f"c{n}{image}" for n in (1, 2)], "which is meant is not guessed"


def test_a_label_map_of_nearly_the_same_name_is_proposed(root):
    (root / "labels" / "c1.nii.gz").rename(root / "labels" / "C1.nii.gz")
    (skipped,) = target(root).find().skipped.items()
    assert skipped[0] == "c1"
    assert skipped[1].endswith("(there is C1: names have to be the same, their capitals too)")


def test_whose_a_dicom_image_is(tmp_path):
    for number in range(3):
        write_series(tmp_path / "images" / f"c{number}", SeriesInstanceUID=f"1.2.{number}", PatientID=f"P{number // 2}")
        write_scan(tmp_path / "labels" / f"c{number}.nii.gz", np.ones((12, 10, 6), dtype=np.int16))
    assert [item.patient for item in target(tmp_path).find().items] == ["P0", "P0", "P1"]
    (tmp_path / "t.csv").write_text("image,patient\nc0,a\nc1,b\n", encoding="utf-8")
    assert [item.patient for item in target(tmp_path, table="t.csv").find().items] == ["a", "b"]


def test_one_patient_id_in_all_files_says_what_to_do(tmp_path):
    for number in range(3):
        write_series(tmp_path / "images" / f"c{number}", SeriesInstanceUID=f"1.2.{number}", PatientID="ANON")
        write_scan(tmp_path / "labels" / f"c{number}.nii.gz", np.ones((12, 10, 6), dtype=np.int16))
    with pytest.raises(
        InvalidInputError, match=r"all are of the patient 'ANON': .* a table with the columns image and"
    ):
        target(tmp_path).split_items()
