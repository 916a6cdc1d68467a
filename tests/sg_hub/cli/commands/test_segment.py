"""sg-hub segment."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image

from sg_hub import SemanticGenesis2D, SemanticGenesis3D
from tests.sg_hub.cli.saying import CT, OTHER_CT, PREPROCESSING, XRAYS, assert_mistake
from tests.sg_hub.io.formats.dicom.dicom_files import write_series


def test_segment_writes_a_label_map_on_the_scan_and_a_picture(run, models):
    model = models / "segmentation"
    code, out, error = run("segment", CT, "--model", model, "--overlap", 0, "--picture", "p.png", "--quiet")
    assert (code, error) == (0, "")
    written, scan = sitk.ReadImage("labels.nii.gz"), sitk.ReadImage(CT)
    assert written.GetSize() == scan.GetSize()
    np.testing.assert_allclose(written.GetOrigin(), scan.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(written.GetDirection(), scan.GetDirection(), atol=1e-6)
    labels = sitk.GetArrayFromImage(written)
    assert f"class 3: {(labels == 3).sum()} voxels" in out
    assert sorted(os.listdir()) == ["labels.nii.gz", "p.png"]


def test_the_scan_is_never_replaced_by_the_result(run, models, tmp_path):
    scan = tmp_path / "scan.nii.gz"
    shutil.copy(CT, scan)
    before = scan.read_bytes()
    assert_mistake(run("segment", "scan.nii.gz", "--out", scan, "--model", models / "segmentation"), "would be lost")
    assert scan.read_bytes() == before


def test_a_picture_never_replaces_a_label_map(run, models):
    model = ("--model", models / "segmentation-2d", "--quiet")
    assert_mistake(run("segment", XRAYS[0], "--out", "a.png", "--picture", "./a.png", *model), "another place")
    assert_mistake(run("segment", *XRAYS[:2], "--out", "both", "--picture", "both", *model), "another place")
    assert not any(path.is_file() for path in Path().rglob("*"))


def test_segment_of_an_image(run, models):
    code, out, _ = run("segment", XRAYS[0], "--model", models / "segmentation-2d", "--picture", "picture.png")
    assert (code, "class 2" in out, "% of the image" in out) == (0, True, True)
    with Image.open("labels.png") as labels:
        assert labels.size == (224, 224)
        assert np.asarray(labels).max() <= 2
    with Image.open("picture.png") as opened:
        assert len(np.unique(np.asarray(opened))) > 50


def test_classes_are_called_by_their_names(run):
    names = ("background", "left lung", "Herz")
    SemanticGenesis2D(
        encoder="lcnet_035", decoder_width=2, num_classes=3, head="segmentation", class_names=names
    ).eval().save_pretrained("named")
    SemanticGenesis2D(
        encoder="lcnet_035", decoder_width=2, num_classes=1, head="segmentation", class_names=("nodule",)
    ).eval().save_pretrained("one")
    said = run("segment", XRAYS[0], "--model", "./named", "--picture", "p.png")[1].splitlines()
    assert [line.partition(":")[0] for line in said] == ["left lung", "Herz", "labels.png", "p.png"]
    assert run("segment", XRAYS[0], "--model", "./one")[1].startswith("nodule: ")
    assert '"left lung"' in run("info", "./named")[1]


@pytest.mark.parametrize("suffix", [".tiff", ".bmp", ".JPEG"])
def test_a_label_map_is_called_as_its_image_without_the_suffix(run, models, suffix):
    with Image.open(XRAYS[0]) as image:
        image.save(f"a.b{suffix}")
    assert run("segment", ".", "--out", "maps", "--model", models / "segmentation-2d", "--quiet")[0] == 0
    assert os.listdir("maps") == ["a.b.png"]


@pytest.mark.parametrize(("scans", "model", "suffix"), [((CT, OTHER_CT), "", ".nii.gz"), (XRAYS[:2], "-2d", ".png")])
def test_label_maps_of_several_go_into_a_folder(run, models, scans, model, suffix):
    arguments = ("--model", models / f"segmentation{model}", "--out", "maps", "--picture", "pictures", "--quiet")
    code, out, error = run("segment", scans[0], "missing.nii", scans[1], *arguments)
    assert code == 3
    first, last = error.splitlines()
    assert "missing.nii" in first
    assert "1 of 3" in last
    names = [Path(scan).name.partition(".")[0] for scan in scans]
    assert sorted(os.listdir("maps")) == [f"{name}{suffix}" for name in names]
    assert sorted(os.listdir("pictures")) == [f"{name}.png" for name in names]
    assert [line for line in out.splitlines() if not line.startswith(" ")] == list(scans)


def test_one_scan_goes_into_a_folder_too_where_it_is_written_as_one(run, models):
    os.mkdir("maps")
    for out in ("maps", "new/"):
        assert run("segment", XRAYS[0], "--model", models / "segmentation-2d", "--out", out)[0] == 0
        assert os.listdir(out) == [Path(XRAYS[0]).name]


def test_scans_of_one_name_are_told_apart_by_their_folders(run, models):
    for patient in ("a", "b"):
        os.mkdir(patient)
        shutil.copy(XRAYS[0], f"{patient}/image.png")
    arguments = ("--model", models / "segmentation-2d", "--quiet")
    assert run("segment", "a/image.png", "b/image.png", *arguments)[0] == 0
    assert sorted(os.listdir("labels")) == ["a-image.png", "b-image.png"]
    assert_mistake(run("segment", "a/image.png", "./a/image.png", *arguments), "give each scan once")


def test_results_of_several_scans_replace_no_scan(run, models):
    shutil.copy(XRAYS[0], "one.png")
    shutil.copy(XRAYS[1], "two.png")
    before = Path("one.png").read_bytes()
    arguments = ("--model", models / "segmentation-2d", "--out", ".")
    assert_mistake(run("segment", "one.png", "two.png", *arguments), "would be lost")
    assert Path("one.png").read_bytes() == before


def test_a_file_cannot_hold_the_results_of_several(run, models):
    arguments = ("segment", CT, OTHER_CT, "--model", models / "segmentation", "--out")
    Path("file").touch()
    assert_mistake(run(*arguments, "labels.nii.gz"), "need a folder")
    assert_mistake(run(*arguments, "file"), "is a file")
    assert_mistake(run(*arguments, "missing/maps"), "missing does not exist")


def test_a_head_that_knows_no_classes_is_said(run, models):
    assert_mistake(run("segment", CT, "--model", models / "pretext"), "fine-tuned for segmentation")


def test_suffixes_fit_what_is_segmented(run, models):
    segment = ("segment", XRAYS[0], "--model", models / "segmentation-2d")
    assert_mistake(run(*segment, "--out", "labels.nii.gz"), ".png")
    image = shutil.copy(XRAYS[0], "mine.png")
    assert_mistake(run("segment", image, *segment[2:], "--out", image), "would be lost")


def test_a_folder_is_segmented_as_a_whole_and_earlier_results_in_it_are_no_images(run, models):
    os.makedirs("xrays/more")
    for place, xray in zip(("one.png", "more/two.png"), XRAYS, strict=False):
        shutil.copy(xray, f"xrays/{place}")
    arguments = ("xrays", "--model", models / "segmentation-2d", "--out", "xrays/maps", "--quiet")
    for _ in range(2):
        code, out, error = run("segment", *arguments)
        assert (code, error) == (0, "")
        assert [line for line in out.splitlines() if not line.startswith(" ")] == [
            "xrays/more/two.png",
            "xrays/one.png",
        ]
        assert sorted(os.listdir("xrays/maps")) == ["one.png", "two.png"]
    model = arguments[1:3]
    assert_mistake(run("segment", "xrays", *model, "--out", "xrays"), "which would be taken for images the next time")
    assert run("segment", "xrays/more", *model, "--out", ".")[0] == 0
    assert Path("two.png").is_file()


def test_json_says_what_was_written_and_how_much_there_is(run, models):
    arguments = ("--model", models / "segmentation-2d", "--out", "maps", "--picture", "pictures", "--json", "--quiet")
    code, out, _ = run("segment", XRAYS[0], "missing.png", *arguments)
    done, failed = (json.loads(line) for line in out.splitlines())
    assert code == 3
    assert list(done) == ["scan", "labels", "picture", "classes"]
    assert (done["scan"], Path(done["labels"]).is_file(), Path(done["picture"]).is_file()) == (XRAYS[0], True, True)
    with Image.open(done["labels"]) as labels:
        counts = np.bincount(np.asarray(labels).ravel(), minlength=3)[1:]
    assert [amount["pixels"] for amount in done["classes"].values()] == counts.tolist()
    assert list(failed) == ["scan", "error"]


def test_a_dicom_series_becomes_a_dicom_segmentation_with_the_same_labels(run):
    seg = pytest.importorskip("highdicom.seg")
    SemanticGenesis3D(
        width=2, norm="instance", num_classes=3, head="segmentation", class_names=("background", "a", "b"),
        preprocessing=dataclasses.replace(PREPROCESSING, spacing=None),
    ).eval().save_pretrained("net")  # fmt: skip
    for name, uid in (("one", "1.4"), ("two", "1.5")):
        write_series(Path("series", name), StudyInstanceUID="1.2", FrameOfReferenceUID="1.3", SeriesInstanceUID=uid)
    arguments = ("--model", "./net", "--quiet")
    assert run("segment", "series/one", *arguments, "--out", "labels.nii.gz")[0] == 0
    code, out, error = run("segment", "series/one", *arguments, "--out", "labels.dcm")
    assert (code, error) == (0, "")
    assert out.splitlines()[-1] == "labels.dcm"
    wanted = sitk.GetArrayFromImage(sitk.ReadImage("labels.nii.gz"))
    found = seg.segread("labels.dcm")
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == ["a", "b"]
    uids = [pydicom.dcmread(f"series/one/{number}.dcm").SOPInstanceUID for number in range(len(wanted))]
    pixels = found.get_pixels_by_source_instance(uids, combine_segments=True, ignore_spatial_locations=True)
    np.testing.assert_array_equal(pixels, wanted)
    assert len(np.unique(wanted)) > 1
    assert run("segment", "series", *arguments, "--dicom-seg", "--out", "maps")[0] == 0
    assert sorted(os.listdir("maps")) == ["one.dcm", "two.dcm"]
    for _ in range(2):  # beside the slices, and among the scans
        assert run("segment", "series/one", *arguments, "--out", "series/one/labels.dcm")[0] == 0
        code, out, error = run("segment", "series", *arguments, "--dicom-seg", "--out", "series")
        assert (code, error) == (0, "")
        assert [line for line in out.splitlines() if line[0] != " "] == ["series/one", "series/two"]


def test_what_is_no_series_gets_no_dicom_segmentation(run, models):
    arguments = ("segment", CT, "--model", models / "segmentation", "--out")
    assert_mistake(run(*arguments, "labels.dcm"), "is no DICOM file", ".nii.gz")
    assert_mistake(run(*arguments, "labels.nii.gz", "--dicom-seg"), "ends in .dcm")
    image = ("segment", XRAYS[0], "--model", models / "segmentation-2d", "--dicom-seg")
    assert_mistake(run(*image), "--dicom-seg is for scans")
