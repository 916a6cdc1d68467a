"""DICOM series: order, units, choice among several, and slices that make no volume."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import find_scans
from sg_hub.io.formats.dicom.series import find_series
from sg_hub.io.image import load_image
from sg_hub.io.scan import load_scan
from tests.sg_hub.io.formats.dicom.dicom_files import VOLUME, base, slice_of, write, write_series


def make_series(
    folder: Path,
    positions=(0.0, 2.5, 5.0, 7.5),
    uid="1.2.826.0.1.77",
    description="chest",
    shift=0.0,
    slope=lambda k: 1,
    size=(6, 5),
    kind="CT",
) -> list[Path]:
    """A DICOM series of axial slices; slice k has the values 1000 * k, 1000 * k + 1, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    storage = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}[kind]
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    paths = []
    for k, z in enumerate(positions):
        values = 1000 * k + np.arange(size[0] * size[1]).reshape(1, size[1], size[0])
        image = sitk.GetImageFromArray(values.astype(np.int16))
        image.SetSpacing((0.7, 0.8, 1.0))
        tags = {
            "0008|0016": storage,
            "0008|0018": f"{uid}.{k}",
            "0008|0060": kind,
            "0008|103e": description,
            "0020|000d": "1.2.826.0.1",
            "0020|000e": uid,
            "0020|0013": str(len(positions) - k),
            "0020|0032": f"-10\\{shift * k - 20}\\{z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|1052": "-1024",
            "0028|1053": str(slope(k)),
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        # Names in another order than the positions.
        paths.append(folder / f"{(k * 37) % 101:03d}_{uid}.dcm")
        writer.SetFileName(str(paths[-1]))
        writer.Execute(image)
    return paths


def test_a_series_is_sorted_and_in_hu(tmp_path):
    make_series(tmp_path / "ct", positions=(5.0, 0.0, 7.5, 2.5))
    scan = load_scan(tmp_path / "ct")
    assert scan.array.shape == (1, 6, 5, 4)
    assert [scan.array[0, 0, 0, z] for z in range(4)] == [1000, 3000, 0, 2000]
    assert np.array_equal(scan.array[0, :, :, 2], np.arange(30).reshape(5, 6).T)
    assert scan.spacing == pytest.approx((0.7, 0.8, 2.5))
    assert scan.origin == pytest.approx((-10, -20, 0))
    assert "1.2.826.0.1.77" in scan.source


def test_the_slope_of_every_slice_is_its_own(tmp_path):
    make_series(tmp_path / "pet", slope=lambda k: (1, 2, 4, 8)[k])
    values = load_scan(tmp_path / "pet").array[0]
    for k in range(4):
        assert values[0, 0, k] == pytest.approx(1000 * k, abs=8)
        assert np.ptp(values[..., k]) == pytest.approx(29, abs=8)


def test_a_slope_that_is_a_fraction_after_a_whole_one(tmp_path):
    """The first slice alone would make the whole series one of integers."""
    last = make_series(tmp_path, slope=lambda k: 2 if k == 3 else 1)[3]
    slope = b"\x28\x00\x53\x10\x02\x00\x00\x00"  # tag and length
    raw = last.read_bytes()
    assert raw.count(slope + b"2 ") == 1
    last.write_bytes(raw.replace(slope + b"2 ", slope + b".5"))
    values = load_scan(tmp_path).array[0]
    assert (values[..., 3] % 1 == 0.5).any()


def test_one_file_stands_for_its_series_and_a_parent_for_its_only_folder(tmp_path):
    one = make_series(tmp_path / "patient" / "study" / "a")
    (tmp_path / "patient" / "notes.txt").write_text("nothing", encoding="utf-8")
    (tmp_path / "patient" / "study" / "a" / "notes.txt").write_text("nothing", encoding="utf-8")
    expected = load_scan(tmp_path / "patient" / "study" / "a").array
    assert np.array_equal(load_scan(one[2]).array, expected)
    assert np.array_equal(load_scan(tmp_path / "patient").array, expected)


def test_two_series_are_listed_and_one_can_be_chosen(tmp_path):
    make_series(tmp_path, uid="1.2.3.10", description="thin slices")
    make_series(tmp_path, uid="1.2.3.20", positions=(0.0, 5.0, 10.0), description="thick slices")
    with pytest.raises(InvalidInputError) as caught:
        load_scan(tmp_path)
    message = str(caught.value)
    assert "1.2.3.10: 4 files, thin slices" in message
    assert "1.2.3.20: 3 files, thick slices" in message
    assert "load_scan(path, series=UID)" in message
    assert load_scan(tmp_path, series="1.2.3.20").spacing[2] == 5
    with pytest.raises(InvalidInputError, match=r"(?s)no series '1\.2\.3\.30'; give one of:.*1\.2\.3\.10"):
        load_scan(tmp_path, series="1.2.3.30")


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (
            {"positions": (0.0, 2.5, 7.5, 10.0)},
            r"1 missing slice.*5\.00 mm apart, the others 2\.50.*again, completely",
        ),
        ({"positions": (0.0, 2.5, 5.0, 8.0)}, r"unequal distances.*evenly spaced"),
        ({"positions": (0.0, 2.5, 2.5, 5.0)}, r"same position.*Remove copies"),
        ({"shift": 0.5}, r"gantry tilt of 11\.3 degrees.*correct the tilt"),
        ({"shift": 0.02, "positions": np.arange(60) * 2.5}, r"1\.2 mm in all .*tilt of 0\.5 degrees.*correct the tilt"),
        ({"positions": (0.0,)}, "one slice only, a 2D image.*all the slices"),
    ],
)
def test_slices_that_make_no_volume(tmp_path, series, message):
    make_series(tmp_path, **series)
    with pytest.raises(InvalidInputError, match=message):
        load_scan(tmp_path)


def test_slices_of_different_size(tmp_path):
    make_series(tmp_path, positions=(0.0, 2.5, 5.0))
    make_series(tmp_path / "other", positions=(-2.5,), size=(8, 8))[0].rename(tmp_path / "localizer.dcm")
    (tmp_path / "other").rmdir()
    with pytest.raises(InvalidInputError, match=r"differs from .* in size.*folder of their own"):
        load_scan(tmp_path)


@pytest.mark.parametrize("kept", [0, 200, 600, -20])
def test_a_damaged_slice_is_named(tmp_path, kept):
    """The last slice, too, which leaves no gap."""
    damaged = make_series(tmp_path)[-1]
    damaged.write_bytes(damaged.read_bytes()[:kept])
    with pytest.raises(ReadError, match=r"export it again") as caught:
        load_scan(tmp_path)
    assert damaged.name in str(caught.value)


# What other programs put into the folder, and what they leave out


def test_other_objects_of_the_series_are_left_out(tmp_path):
    write_series(tmp_path)
    structures = slice_of(VOLUME[0], 0, "STRUCTURES")
    for keyword in ("Rows", "Columns", "PixelData", "ImagePositionPatient"):
        delattr(structures, keyword)
    write(tmp_path / "rs.dcm", structures)
    segmentation = base(VOLUME, "SEGMENTATION", {"NumberOfFrames": 6, "SeriesInstanceUID": "1.2.826.0.1.6"})
    write(tmp_path / "maps" / "seg.dcm", segmentation)
    write(tmp_path / "0.seg.dcm", segmentation)
    assert [*find_scans(tmp_path).values()] == [tmp_path]
    assert np.array_equal(load_scan(tmp_path).array[0], (VOLUME - 1024).transpose(2, 1, 0))
    assert len(find_series(tmp_path)[0].files) == 6


def test_a_localizer_of_the_series_is_named(tmp_path):
    write_series(tmp_path)
    write(tmp_path / "loc.dcm", slice_of(VOLUME[0], 99, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]))
    with pytest.raises(InvalidInputError, match=r"loc\.dcm differs from 0\.dcm.*no localizer"):
        load_scan(tmp_path)


@pytest.mark.parametrize("spacing", [None, [0, 0], [0.8, 0], [-1, 0.7]])
def test_a_missing_pixel_spacing_is_not_made_up(tmp_path, spacing):
    write_series(tmp_path, PixelSpacing=spacing)
    with pytest.raises(InvalidInputError, match=r"does not say its spacing \(PixelSpacing\), and none is made up"):
        load_scan(tmp_path)
    assert load_scan(tmp_path, spacing=(0.5, 0.6, 2)).spacing == (0.5, 0.6, 2)
    with pytest.raises(InvalidInputError, match="with 3 mm between slices, but they are 2 mm apart by their positions"):
        load_scan(tmp_path, spacing=(0.5, 0.6, 3))


def test_one_slice_of_another_pixel_spacing_is_named(tmp_path):
    write_series(tmp_path)
    write(tmp_path / "3.dcm", slice_of(VOLUME[3], 6.0, PixelSpacing=None))
    with pytest.raises(InvalidInputError, match=r"3\.dcm differs from 0\.dcm in size, pixel spacing"):
        load_scan(tmp_path)


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient"])
@pytest.mark.parametrize("value", [None, [1, 2]])
def test_slices_without_a_place(tmp_path, keyword, value):
    write_series(tmp_path, **{keyword: value})
    with pytest.raises(InvalidInputError, match="so the slices cannot be put in order"):
        load_scan(tmp_path)


def test_slopes_of_pet_differ_by_slice(tmp_path):
    slopes = [1e-8 * (1 + number) for number in range(6)]
    for number, pixels in enumerate(VOLUME):
        data = slice_of(pixels, 2.0 * number, "PT", RescaleSlope=slopes[number], RescaleIntercept=0)
        write(tmp_path / f"{number}.dcm", data)
    wanted = (VOLUME * np.array(slopes)[:, None, None]).transpose(2, 1, 0)
    np.testing.assert_allclose(load_scan(tmp_path).array[0], wanted, rtol=1e-5)


def test_a_page_saved_as_a_slice_is_named(tmp_path):
    write_series(tmp_path)
    (tmp_path / "6.dcm").write_text("<html>404</html>", encoding="utf-8")
    with pytest.raises(ReadError, match=r"6\.dcm is a web page, .*; move it out of the folder"):
        load_scan(tmp_path)


@pytest.mark.parametrize("orientation", [[0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1], [0.8, 0.6, 0, -0.6, 0.8, 0]])
def test_slices_of_every_orientation_are_where_they_say(tmp_path, orientation):
    sides = np.array(orientation).reshape(2, 3)
    normal = np.cross(*sides)
    for number, pixels in enumerate(VOLUME):
        place = (np.array([5, 6, 7]) + 2.0 * number * normal).tolist()
        tags = {"ImageOrientationPatient": orientation, "ImagePositionPatient": place}
        write(tmp_path / f"{number}.dcm", slice_of(pixels, 0, **tags))
    scan = load_scan(tmp_path)
    matrix = np.array(scan.direction).reshape(3, 3) * scan.spacing
    for k, j, i in ((0, 0, 0), (2, 3, 5), (5, 9, 11)):
        point = np.array([5, 6, 7]) + 0.7 * i * sides[0] + 0.8 * j * sides[1] + 2.0 * k * normal
        index = np.rint(np.linalg.solve(matrix, point - scan.origin)).astype(int)
        assert scan.array[(0, *index)] == VOLUME[k, j, i] - 1024
    saved = sitk.ReadImage(str(scan.save(scan.array[0], tmp_path / "result.nrrd")))
    assert np.array_equal(sitk.GetArrayFromImage(saved), VOLUME - 1024)
    np.testing.assert_allclose(saved.GetOrigin(), (5, 6, 7))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("FrameOfReferenceUID", "1.2.3"), ("Modality", "MR"), ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0])],
)
def test_slices_that_cannot_be_compared(tmp_path, keyword, value):
    write_series(tmp_path)
    write(tmp_path / "3.dcm", slice_of(VOLUME[3], 6.0, **{keyword: value}))
    with pytest.raises(InvalidInputError, match=r"3\.dcm differs from 0\.dcm in"):
        load_scan(tmp_path)


@pytest.mark.parametrize("first", ["", "a"])
def test_a_series_in_several_folders_is_not_read_in_part(tmp_path, first):
    for number, pixels in enumerate(VOLUME):
        write(tmp_path / (first if number < 3 else "b") / f"{number}.dcm", slice_of(pixels, 2.0 * number))
    with pytest.raises(InvalidInputError, match="is in several folders"):
        load_scan(tmp_path)


def test_other_series_below_a_folder_do_not_matter(tmp_path):
    write_series(tmp_path)
    write_series(tmp_path / "other", SeriesInstanceUID="1.2.3")
    assert load_scan(tmp_path).size == (12, 10, 6)


def test_links_are_followed_as_the_finder_does(tmp_path):
    write_series(tmp_path / "elsewhere")
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "case").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "given")
    (tmp_path / "elsewhere" / "._0.dcm").write_bytes(b"of a Mac")
    assert load_scan(tmp_path / "given").size == (12, 10, 6)


def test_a_scan_says_its_modality(tmp_path):
    assert load_scan(write_series(tmp_path / "mr", Modality="MR")).modality == "MR"
    assert load_scan(write_series(tmp_path / "unsaid", Modality=None)).modality == ""


@pytest.mark.parametrize("kind", ["STRUCTURES", "DIRECTORY"])
def test_a_file_without_an_image_is_called_what_it_is(tmp_path, kind):
    data = slice_of(VOLUME[0], 0, "STRUCTURES", PixelData=None, Rows=None, Columns=None, NumberOfFrames=None)
    if kind == "DIRECTORY":
        data.SOPClassUID = "1.2.840.10008.1.3.10"
    path = write(tmp_path / "a", data)
    for read in (load_scan, load_image):
        with pytest.raises(InvalidInputError, match=r"is a DICOM file without an image \((RT Structure|Media Storage)"):
            read(path)
