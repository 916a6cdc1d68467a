"""sg-hub init-target: a folder as it lies on a disk becomes a target that can be trained on as it is."""

import csv
import json
import tomllib

import numpy as np
import pytest
from PIL import Image, ImageOps

from sg_hub.cli import main
from tests.sg_hub.io.formats.dicom.dicom_files import write_series
from tests.training.targets.target_folders import write_csv, write_scan
from training.targets import in_parts, load_target
from training.targets.look import patients_of
from training.trials.check import check


def scan(path, value=-500):
    array = np.random.default_rng(list(path.name.encode())).integers(value, 300, (8, 8, 6)).astype(np.int16)
    write_scan(path, array, spacing=(2.0, 2.0, 3.0))


def mask(path, *numbers):
    array = np.zeros((8, 8, 6), np.uint8)
    for place, number in enumerate(numbers):
        array[place, 2:6, 2:5] = number
    write_scan(path, array, spacing=(2.0, 2.0, 3.0))


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16)).astype(np.uint8)).save(path)


@pytest.fixture
def init(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder; gives exit code, what was said, and the target where one was written."""
    monkeypatch.chdir(tmp_path)

    def init(*arguments):
        code = main(["init-target", *map(str, arguments)])
        out, error = capsys.readouterr()
        written = sorted(tmp_path.glob("*.toml"))
        return code, out + error, load_target(written[0]) if written else None

    return init


def test_images_beside_label_maps(init, tmp_path):
    for number in range(8):
        scan(tmp_path / "livers" / "imagesTr" / f"case_{number}.nii.gz")
        if number:
            mask(tmp_path / "livers" / "labelsTr" / f"case_{number}.nii.gz", 1, *([5] if number % 2 else []))
    code, said, target = init("livers", "--classes", "liver", "tumour")
    assert code == 0
    for words in ("8 scans (3D)", "spacing 2 x 2 x 3 mm", "patients: 8", "tumour: number 5, in 4 of them", "case_0"):
        assert words in said
    assert (target.head, target.classes, target.numbers) == ("segmentation", ("liver", "tumour"), [[1], [5]])
    assert (target.dims, target.grid.intensity) == (3, "window")
    for part, items in in_parts(target.split_items().items).items():
        assert {int(item.name[-1]) % 2 for item in items} >= {1}, f"{part} has both classes"
    assert "nothing is wrong" in check("livers.toml", progress=False)


def test_label_maps_are_found_for_images_as_the_reader_finds_them(init, tmp_path):
    """3D Slicer's names: with patients in a table, an image whose map was not seen would be lost."""
    for number in range(8):
        name = f"P0{number // 2}_{number % 2}"
        scan(tmp_path / "slicer" / "images" / f"{name}.nii.gz")
        mask(tmp_path / "slicer" / "labels" / f"{name}{'.seg' * (number < 6)}.nii.gz", 1)
    code, said, target = init("slicer")
    assert (code, len(target.find().items)) == (0, 8)
    assert "label maps: 8" in said
    assert "number 1, in 8 of them" in said
    assert "left out" not in said


def test_label_maps_without_an_image_are_said_and_the_nearest_is_none_that_another_image_has(init, tmp_path):
    for number in range(8):
        scan(tmp_path / "typos" / "images" / f"case_{number}.nii.gz")
        mask(tmp_path / "typos" / "labels" / f"{'Case-' if number > 4 else 'case_'}{number}.nii.gz", 1)
    _, said, target = init("typos")
    assert "left out, for there is no label map: 3, such as case_5" in said
    assert "label maps without an image: 3, such as Case-5" in said
    assert "there is Case-7" in target.find().skipped["case_7"]


@pytest.mark.parametrize(("folder", "name"), [("Ordner mit Ümlaut", "Ordner-mit-Umlaut"), ("日本", "mine")])
def test_a_name_keeps_the_letters_of_its_folder(init, tmp_path, folder, name):
    for number in range(5):
        scan(tmp_path / folder / "images" / f"{number}.nii.gz")
        mask(tmp_path / folder / "labels" / f"{number}.nii.gz", 1)
    _, _, target = init(folder)
    assert target.name == name


def test_a_folder_that_makes_no_target_leaves_nothing_behind(init, tmp_path):
    for number in range(5):
        scan(tmp_path / "one" / "images" / f"{number}.nii.gz")
    (tmp_path / "one" / "labels.csv").write_text(
        "image,label\n" + "".join(f"{number},healthy\n" for number in range(5)), encoding="utf-8"
    )
    code, said, _ = init("one")
    assert (code, "needs at least two" in said) == (2, True)
    assert not list(tmp_path.glob("*.toml"))


def test_some_of_the_numbers_are_classes_and_the_others_background(init, tmp_path):
    for number in range(6):
        scan(tmp_path / "organs" / "images" / f"case_{number}.nii.gz")
        mask(tmp_path / "organs" / "masks" / f"case_{number}.nii.gz", 1, 2, 4, 7)
    code, said, _ = init("organs", "--classes", "cord", "mandible")
    assert code == 2
    assert "give 4 names, in that order, or say which numbers they are of, such as cord=NUMBER mandible=NUMBER" in said
    for wrong in (["cord=1", "mandible"], ["cord=1", "mandible=1"], ["cord=1", "mandible=3"], ["=1"]):
        code, said, _ = init("organs", "--classes", *wrong)
        assert (code, "expected NAME=NUMBER" in said) == (2, True)
    code, said, target = init("organs", "--classes", "mandible=4", "cord=1")
    assert (code, target.classes, target.numbers, target.background) == (0, ("mandible", "cord"), [[4], [1]], (2, 7))
    assert target.load(target.split_items().items[0]).label.max() == 2


def test_values_that_are_no_hu_are_taken_by_percentiles_and_names_come_from_dataset_json(init, tmp_path):
    for number in range(6):
        scan(tmp_path / "mr" / "images" / f"{number}.nii.gz", value=0)
        mask(tmp_path / "mr" / "labels" / f"{number}.nii.gz", 1, 2)
    (tmp_path / "mr" / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "left": 1, "right": 2}}))
    _, said, target = init("mr")
    assert "no CT" in said
    assert target.classes == ("left", "right")
    assert (target.grid.intensity, target.grid.low, target.grid.high) == ("percentile", 0.5, 99.5)


def test_a_folder_for_each_class(init, tmp_path):
    for number in range(24):
        name = f"p{number // 2:02d}_{number % 2}.png"
        picture(tmp_path / "xrays" / ("ill", "well")[number % 4 // 2] / name, number)
    code, said, target = init("xrays")
    assert (code, target.dims, target.head, target.classes) == (0, 2, "classification", ("ill", "well"))
    assert "ill (12 images), well (12 images)" in said
    assert "patients: 12 (by their names)" in said
    with open(tmp_path / "xrays.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"image": "ill/p00_0.png", "label": "ill", "patient": "p00"}
    for items in in_parts(target.split_items().items).values():
        assert {item.label for item in items} == {0, 1}
    assert "nothing is wrong" in check("xrays.toml", progress=False)


def test_a_folder_for_each_case(init, tmp_path):
    """The numbers of its slices are no patients."""
    for number in range(30):
        name = f"P{number // 5:02d}/{number % 5}.png"
        picture(tmp_path / "slices" / "images" / name, number)
        (tmp_path / "slices" / "labels" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.arange(256).reshape(16, 16) % 2).astype(np.uint8)).save(tmp_path / "slices/labels" / name)
    code, said, target = init("slices")
    assert (code, "patients: 6 (by their names)" in said) == (0, True)
    parts = in_parts(target.split_items().items).values()
    cases = [{item.name.partition("/")[0] for item in items} for items in parts]
    assert (len(set().union(*cases)), sum(map(len, cases))) == (6, 6), "each case is in one part"


@pytest.mark.parametrize(
    ("names", "patients", "in_classes"),
    [
        (["P01/t1", "P01/t2", "P02/t1"], ["P01", "P01", "P02"], False),
        (["A/pt1_1", "A/pt1_2", "B/pt1_1", "B/pt2"], ["A/pt1", "A/pt1", "B/pt1", "B/pt2"], False),
        (["A/1", "A/2", "B/1", "B/2"], None, False),
        (["P1/case_1", "P1/case_2", "P2/case_1"], None, False),
        (["ill/1", "ill/2", "well/1", "well/2"], None, True),
        (["ill/p1_1", "well/p1_2", "ill/3", "well/3"], ["p1", "p1", "ill/3", "well/3"], True),
        (["ill/P01/1", "well/P01/2", "well/P02/1"], ["P01", "P01", "P02"], True),
    ],
)
def test_whose_images_are_is_told_by_their_names_or_not_at_all(names, patients, in_classes):
    expected = {} if patients is None else dict(zip(names, patients, strict=True))
    assert patients_of(names, in_classes=in_classes) == expected


def test_every_part_holds_several_of_each_class_where_there_are_enough(init, tmp_path):
    for number in range(20):
        picture(tmp_path / "cells" / ("round", "flat")[number % 2] / f"{number}.png", number)
    target = init("cells")[2]
    for part, items in in_parts(target.split_items().items).items():
        labels = [int(item.label) for item in items]
        assert min(labels.count(0), labels.count(1)) >= 2, part


def test_a_table_of_findings(init, tmp_path):
    labels = ["a|b", "", "a", "b"] * 5
    for number in range(20):
        picture(tmp_path / "xrays" / "images" / f"{number}.png", number)
    rows = [(f"{number}.png", label) for number, label in enumerate(labels)]
    write_csv(tmp_path / "xrays" / "findings.csv", ("image", "label"), rows)
    code, said, target = init("xrays", "--out", "t.toml")
    assert "5 rows of findings.csv have no label, which says that the image has none of the classes" in said
    assert (code, target.exclusive, target.classes, target.table) == (0, False, ("a", "b"), "findings.csv")
    assert tomllib.loads((tmp_path / "t.toml").read_text(encoding="utf-8"))["images"] == "images"


def test_rows_without_an_image_and_images_without_a_row_are_said(init, tmp_path):
    for number in range(12):
        picture(tmp_path / "xrays" / "images" / f"{number}.png", number)
    rows = [(f"{number}.png" if number < 10 else f"lost_{number}.png", "ab"[number % 2]) for number in range(13)]
    write_csv(tmp_path / "xrays" / "classes.csv", ("image", "label"), rows)
    code, said, _ = init("xrays")
    assert code == 0
    assert "rows of classes.csv without an image: 3, such as lost_10.png" in said
    assert "left out, for no row names them: 2, such as 10" in said
    rows = [(image, label, "val") for image, label in rows]
    write_csv(tmp_path / "xrays" / "classes.csv", ("image", "label", "split"), rows)
    code, said, _ = init("xrays", "--out", "other.toml")
    assert (code, "split 'val' of 0.png; expected train" in said) == (0, True)


def test_a_table_of_a_spreadsheet_is_read(init, tmp_path):
    for number in range(12):
        picture(tmp_path / "xrays" / "images" / f"{number}.png", number)
    rows = [f"{number}.png;{'ab'[number % 2]};p{number}" for number in range(12)]
    (tmp_path / "xrays" / "classes.csv").write_text("\n".join(["Image;Label;Patient", *rows]), encoding="utf-8-sig")
    code, _, target = init("xrays")
    assert (code, target.classes) == (0, ("a", "b"))
    assert {item.patient for item in target.find().items} == {f"p{number}" for number in range(12)}


def test_tables_that_say_no_class_are_named(init, tmp_path):
    for number in range(4):
        picture(tmp_path / "xrays" / "images" / f"{number}.png", number)
    table = tmp_path / "xrays" / "classes.csv"
    table.write_text("picture,label\n0.png,a\n", encoding="utf-8")
    code, said, _ = init("xrays")
    assert (code, "classes.csv has the columns ['picture', 'label']" in said) == (2, True)
    table.write_text("image,label\n0.png,3\n1.png,0.37\n", encoding="utf-8")
    code, said, _ = init("xrays")
    assert (code, "label '0.37': numbers with fractions are measurements" in said) == (2, True)
    table.write_text("image;label\n0.png;3\n1.png;0,37\n", encoding="utf-8")
    code, said, _ = init("xrays")
    assert (code, "label '0,37': numbers with fractions are measurements" in said) == (2, True)


@pytest.mark.parametrize("colour", [True, False])
def test_pictures_in_colour_have_the_channels_of_their_target(init, tmp_path, colour):
    for number in range(8):
        path = tmp_path / "skin" / ("mole", "none")[number % 2] / f"{number}.png"
        picture(path, number)
        with Image.open(path) as grey:
            Image.merge("RGB", (ImageOps.invert(grey) if colour else grey, grey, grey)).save(path)
    code, _, target = init("skin")
    assert (code, target.dims, target.channels) == (0, 2, 3 if colour else 1)
    assert "nothing is wrong" in check("skin.toml", overrides=["grid.size=[16, 16]"], progress=False)


def test_what_cannot_be_a_target_is_said(init, tmp_path):
    assert "no folder" in init("gone")[1]
    scan(tmp_path / "mine" / "images" / "a.nii.gz")
    assert "nothing that says what is in them" in init("mine")[1]
    mask(tmp_path / "mine" / "labels" / "b.nii.gz", 1)
    assert "give each label map the name of its image" in init("mine")[1]
    mask(tmp_path / "mine" / "labels" / "a.nii.gz")
    assert "nothing is outlined" in init("mine")[1]
    mask(tmp_path / "mine" / "labels" / "a.nii.gz", 1, 2)
    assert "the numbers 1, 2" in init("mine", "--classes", "one")[1]
    for names in (("liver", "liver"), ("liver", "")):
        code, said, target = init("mine", "--classes", *names)
        assert (code, target) == (2, None)
        assert "each number needs a name of its own" in said
    code, said, target = init("mine")
    assert (code, target.classes) == (0, ("class 1", "class 2"))
    assert "cannot be trained on yet" in said
    assert "there already" in init("mine")[1]


def test_whose_dicom_files_are(init, tmp_path):
    for number in range(10):
        write_series(
            tmp_path / "mine" / "ab"[number % 2] / f"s{number}",
            SeriesInstanceUID=f"1.2.{number}",
            PatientID=f"P{number // 2}",
        )
    code, said, target = init("mine")
    assert code == 0
    assert "patients: 5 (by the PatientID of DICOM files)" in said
    assert {item.patient for item in target.find().items} == {f"P{number}" for number in range(5)}
