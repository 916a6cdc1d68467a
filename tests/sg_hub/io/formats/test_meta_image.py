"""MetaImage: headers, lists of files, files that are elsewhere, and voxels in every form."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.scan import load_scan

VOXELS = np.random.default_rng(0).integers(-900, 900, (5, 6, 7)).astype("<i2")
RAW = VOXELS.tobytes(order="F")
FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "DimSize": "5 6 7",
    "ElementSpacing": "0.8 0.9 2.5",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def write(path: Path, data=RAW, rest="", **fields) -> Path:
    """A header with fields changed, or left out where they are None; the voxels follow where they are LOCAL."""
    lines = [f"{key} = {value}\n" for key, value in (FIELDS | fields).items() if value is not None]
    lines.sort(key=lambda line: line.startswith("ElementDataFile"))
    local = (FIELDS | fields)["ElementDataFile"] == "LOCAL"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join([*lines, rest]).encode() + (data if local else b""))
    return path


def test_the_smallest_header(tmp_path):
    scan = load_scan(write(tmp_path / "a.mha"))
    assert np.array_equal(scan.array[0], VOXELS)
    assert scan.spacing == (0.8, 0.9, 2.5)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.mha"))).T, VOXELS)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"ElementType": "MET_CHAR"}, "i1"),
        ({"ElementType": "MET_UCHAR"}, "u1"),
        ({"ElementType": "MET_USHORT", "BinaryDataByteOrderMSB": "True"}, ">u2"),
        ({"ElementType": "MET_INT", "ElementByteOrderMSB": "True"}, ">i4"),
        ({"ElementType": "MET_ULONG"}, "<u4"),
        ({"ElementType": "MET_LONG_LONG"}, "<i8"),
        ({"ElementType": "MET_FLOAT", "BinaryDataByteOrderMSB": "False"}, "<f4"),
        ({"ElementType": "MET_DOUBLE", "ElementByteOrderMSB": "True"}, ">f8"),
    ],
)
def test_every_type_and_order_of_bytes(tmp_path, fields, kind):
    values = np.abs(VOXELS % 100).astype(kind)
    path = write(tmp_path / "a.mha", values.tobytes(order="F"), **fields)
    assert np.array_equal(load_scan(path).array[0], values.astype(float))
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, values)


def test_voxels_as_text_and_channels(tmp_path):
    text = " ".join(map(str, VOXELS.ravel(order="F"))).encode()
    assert np.array_equal(load_scan(write(tmp_path / "a.mha", text, BinaryData="False")).array[0], VOXELS)
    with pytest.raises(ReadError, match="209 of 210 voxels"):
        load_scan(write(tmp_path / "a.mha", text[: text.rindex(b" ")], BinaryData="False"))
    both = np.stack([VOXELS, -VOXELS]).tobytes(order="F")
    path = write(tmp_path / "a.mha", both, ElementNumberOfChannels="2")
    assert np.array_equal(load_scan(path).array, [VOXELS, -VOXELS])


def test_packed_voxels(tmp_path):
    path = write(tmp_path / "a.mha", zlib.compress(RAW), CompressedData="True")
    assert np.array_equal(load_scan(path).array[0], VOXELS)
    (tmp_path / "a.zraw").write_bytes(zlib.compress(RAW))
    path = write(tmp_path / "a.mhd", CompressedData="True", ElementDataFile="a.zraw")
    assert np.array_equal(load_scan(path).array[0], VOXELS)
    (tmp_path / "a.zraw").write_bytes(zlib.compress(RAW + bytes(4 << 20)))
    with pytest.raises(ReadError, match=r"a\.zraw is truncated or damaged \(it unpacks to more than its header says"):
        load_scan(path)


# Files of voxels


def write_slices(folder: Path, count: int) -> list[str]:
    for k in range(count):
        (folder / f"slice{k:03d}.raw").write_bytes(VOXELS[..., k].tobytes(order="F"))
    return [f"slice{k:03d}.raw" for k in range(count)]


def test_a_list_of_files(tmp_path):
    names = write_slices(tmp_path, 7)
    path = write(tmp_path / "a.mhd", ElementDataFile="LIST", rest="\n".join(names) + "\n")
    assert np.array_equal(load_scan(path).array[0], VOXELS)
    path = write(tmp_path / "b.mhd", ElementDataFile="slice%03d.raw 0 6 1")
    assert np.array_equal(load_scan(path).array[0], VOXELS)
    path = write(tmp_path / "b.mhd", ElementDataFile="slice%03d.raw 6 0 -1")
    assert np.array_equal(load_scan(path).array[0], VOXELS[..., ::-1])


@pytest.mark.parametrize("listed", [6, 8, 1, 0])
def test_a_list_of_fewer_or_more_files_than_slices(tmp_path, listed):
    names = [*write_slices(tmp_path, 7), "slice000.raw"]
    path = write(tmp_path / "a.mhd", ElementDataFile="LIST", rest="\n".join(names[:listed]))
    with pytest.raises(InvalidInputError, match=rf"lists {listed} files, but its 5 x 6 x 7 voxels are in 7"):
        load_scan(path)


def test_a_slice_that_is_missing_or_cut_off(tmp_path):
    names = write_slices(tmp_path, 7)
    path = write(tmp_path / "a.mhd", ElementDataFile="LIST", rest="\n".join(names))
    (tmp_path / names[3]).write_bytes(b"\0" * 59)
    with pytest.raises(ReadError, match=r"slice003\.raw is truncated or damaged \(59 bytes for 60 bytes of voxels\)"):
        load_scan(path)
    (tmp_path / names[3]).unlink()
    with pytest.raises(ReadError, match=r"slice003\.raw, which is not beside it: copy both"):
        load_scan(path)


@pytest.mark.parametrize(
    "where", ["%d.raw 0 6", "%d.raw 1 x 1", "%d.raw 0 6 0", "%d%d.raw 0 6 1", "%999d.raw 0 6 1", "%s.raw 0 6 1"]
)
def test_patterns_that_name_no_files(tmp_path, where):
    with pytest.raises((InvalidInputError, ReadError), match=r"a\.mhd"):
        load_scan(write(tmp_path / "a.mhd", ElementDataFile=where))


@pytest.mark.parametrize(
    "where", ["../secret.raw", "/{folder}/secret.raw", "sub/../../secret.raw", "../scans/../secret.raw"]
)
def test_files_elsewhere_are_read_only_if_that_is_said(tmp_path, where):
    (tmp_path / "secret.raw").write_bytes(RAW)
    path = write(tmp_path / "scans" / "a.mhd", ElementDataFile=where.format(folder=str(tmp_path).strip("/")))
    with pytest.raises(InvalidInputError, match=r"outside its own folder.*load_scan\(path, outside=True\)"):
        load_scan(path)
    assert np.array_equal(load_scan(path, outside=True).array[0], VOXELS)


@pytest.mark.parametrize("where", ["sub/a.raw", "./a.raw", "sub/../a.raw", "Bild Müller.raw"])
def test_files_in_the_folder_are_found_whatever_their_name(tmp_path, where):
    (tmp_path / "sub").mkdir()
    (tmp_path / where).write_bytes(RAW)
    assert np.array_equal(load_scan(write(tmp_path / "a.mhd", ElementDataFile=where)).array[0], VOXELS)
    full = str((tmp_path / where).resolve())
    assert np.array_equal(load_scan(write(tmp_path / "a.mhd", ElementDataFile=full)).array[0], VOXELS)


def test_a_header_that_names_itself_or_a_device(tmp_path):
    with pytest.raises(InvalidInputError, match="names itself"):
        load_scan(write(tmp_path / "a.mhd", ElementDataFile="a.mhd"))
    with pytest.raises(ReadError, match="not beside it"):
        load_scan(write(tmp_path / "a.mhd", ElementDataFile="/dev/zero"), outside=True)


@pytest.mark.parametrize(("skip", "before", "after"), [("10", 10, 5), ("-1", 33, 0)])
def test_bytes_before_the_voxels(tmp_path, skip, before, after):
    (tmp_path / "a.raw").write_bytes(b"x" * before + RAW + b"y" * after)
    path = write(tmp_path / "a.mhd", ElementDataFile="a.raw", HeaderSize=skip)
    assert np.array_equal(load_scan(path).array[0], VOXELS)


def test_a_file_of_voxels_that_is_longer_than_the_header_says(tmp_path):
    (tmp_path / "a.raw").write_bytes(RAW + RAW)
    with pytest.raises(ReadError, match=r"a\.raw is truncated or damaged \(840 bytes for 420 bytes of voxels\)"):
        load_scan(write(tmp_path / "a.mhd", ElementDataFile="a.raw"))
    with pytest.raises(ReadError, match="holds 840 bytes more than its header says"):
        load_scan(write(tmp_path / "a.mha", data=3 * RAW))


def test_a_slice_that_is_listed_twice(tmp_path):
    (tmp_path / "s").write_bytes(RAW[:60])
    with pytest.raises(InvalidInputError, match="names s twice"):
        load_scan(write(tmp_path / "a.mhd", rest="s\n" * 7, ElementDataFile="LIST"))


# Headers


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1), ("cm", 10), ("um", 0.001), ("?", 1), (None, 1)])
def test_the_unit_of_lengths_is_honoured(tmp_path, unit, scale):
    scan = load_scan(write(tmp_path / "a.mha", DistanceUnits=unit, Offset="1 2 3"))
    assert np.allclose(scan.spacing, np.array([0.8, 0.9, 2.5]) * scale)
    assert np.allclose(scan.origin, np.array([1, 2, 3]) * scale)


def test_a_unit_that_is_none(tmp_path):
    with pytest.raises(InvalidInputError, match="DistanceUnits is 'furlong'; expected one of mm, cm, um"):
        load_scan(write(tmp_path / "a.mha", DistanceUnits="furlong"))


def test_a_missing_spacing_is_not_made_up(tmp_path):
    path = write(tmp_path / "a.mha", ElementSpacing=None)
    with pytest.raises(InvalidInputError, match=r"does not say its spacing \(ElementSpacing\).*spacing=\(x, y, z\)"):
        load_scan(path)
    assert load_scan(path, spacing=(1, 2, 3)).spacing == (1, 2, 3)
    path = write(tmp_path / "a.mha", ElementSpacing=None, ElementSize="1 2 4")
    assert load_scan(path).spacing == (1, 2, 4)


def test_a_given_spacing_is_along_the_axes_of_the_patient(tmp_path):
    """The file's axes go superior, left, posterior."""
    path = write(tmp_path / "a.mha", ElementSpacing=None, TransformMatrix="0 0 1 1 0 0 0 1 0")
    scan = load_scan(path, spacing=(1, 2, 3))
    assert scan.array.shape == (1, 6, 7, 5)
    assert scan.spacing == (1, 2, 3)
    assert scan.file_grid.spacing == (3, 1, 2)


def test_without_a_matrix_the_axes_are_taken_for_those_of_lps(tmp_path, caplog):
    load_scan(write(tmp_path / "a.mha", TransformMatrix="1 0 0 0 1 0 0 0 1"))
    assert not caplog.text
    assert load_scan(write(tmp_path / "a.mha")).file_grid.orientation == "LPS"
    assert "a.mha says nothing of its orientation (it has no TransformMatrix): its axes are taken" in caplog.text


def test_the_rows_of_the_matrix_are_the_axes(tmp_path):
    turned = "0.6 0.8 0 -0.8 0.6 0 0 0 1"
    path = write(tmp_path / "a.mha", TransformMatrix=turned, Offset="1 2 3")
    image, scan = sitk.ReadImage(str(path)), load_scan(path)
    np.testing.assert_allclose(scan.file_grid.direction, image.GetDirection())
    assert scan.file_grid.origin == image.GetOrigin() == (1, 2, 3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"DimSize": "5 1e300 7"}, "DimSize is '1e300'; expected a whole number"),
        ({"DimSize": "5 6 0"}, "DimSize is '5 6 0'"),
        ({"DimSize": "5 6 -7"}, "DimSize is '5 6 -7'"),
        ({"DimSize": None}, "DimSize is ''"),
        ({"NDims": "1e300"}, "NDims is '1e300'"),
        ({"NDims": "4"}, "NDims 4"),
        ({"DimSize": "5 6 8"}, "bytes for 480 bytes of voxels"),
        ({"DimSize": "5 6 999999999999"}, "at most 4 GiB"),
        ({"DimSize": "5 6 7 3", "NDims": "4", "ElementSpacing": "1 1 1 1"}, "4D: 3 volumes"),
        ({"DimSize": "5 42", "NDims": "2"}, "2D image"),
        ({"ElementSpacing": "1 1 1e-38"}, r"spacing \(1, 1, 1e-38\)"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 0"}, "TransformMatrix is '1 0 0 0 1 0 0 0'; expected 9 numbers"),
        ({"TransformMatrix": "1 0 0 0 nan 0 0 0 1"}, "singular or sheared"),
        ({"Offset": "0 inf 0"}, "its origin .* is not three numbers"),
        ({"Offset": "0 x 0"}, "Offset is '0 x 0'"),
        ({"ElementSpacing": "1 0 1"}, r"spacing \(1, 0, 1\)"),
        ({"ElementSpacing": "1 1"}, "ElementSpacing is '1 1'"),
        ({"ElementType": "MET_OTHER"}, "ElementType is 'MET_OTHER'; expected one of MET_CHAR"),
        ({"ElementNumberOfChannels": "0"}, "ElementNumberOfChannels is 0"),
        ({"ElementNumberOfChannels": "nan"}, "ElementNumberOfChannels is 'nan'"),
        ({"CompressedData": "maybe"}, "CompressedData is 'maybe'"),
        ({"CompressedData": "True"}, "truncated or damaged"),
        ({"HeaderSize": "-7"}, "HeaderSize is -7"),
        ({"ElementToIntensityFunctionSlope": "2"}, "ElementToIntensityFunctionSlope is 2"),
        ({"ElementDataFile": ""}, "names '' as the file"),
        ({"ElementDataFile": "a\0b"}, "as the file of its voxels"),
    ],
    ids=str,
)
def test_headers_that_cannot_be_followed(tmp_path, fields, words):
    with pytest.raises((InvalidInputError, ReadError), match=words) as caught:
        load_scan(write(tmp_path / "a.mha", **fields))
    assert "a.mha" in str(caught.value)


def test_a_field_given_twice(tmp_path):
    path = write(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"NDims", b"DimSize = 6 5 7\nNDims"))
    with pytest.raises(ReadError, match="its header gives DimSize twice"):
        load_scan(path)


def test_a_centre_of_rotation_of_no_numbers_is_not_looked_at(tmp_path):
    """ITK ends the process there."""
    assert load_scan(write(tmp_path / "a.mha", CenterOfRotation="0 nan 0")).size == (5, 6, 7)


def test_values_that_are_too_large_for_the_array(tmp_path):
    values = VOXELS.astype("<f8")
    values[0, 0, 0] = 1e300
    path = write(tmp_path / "a.mha", values.tobytes(order="F"), ElementType="MET_DOUBLE")
    with pytest.raises(InvalidInputError, match="1 of 210 voxels are NaN or infinite"):
        load_scan(path)


def test_voxels_behind_something_else_in_the_same_file(tmp_path):
    path = write(tmp_path / "a.mha", b"something" + RAW, HeaderSize="-1")
    assert np.array_equal(load_scan(path).array[0], VOXELS)
    begin = len(write(path, HeaderSize="999").read_bytes()) - len(RAW) + 9
    write(path, b"something" + RAW, HeaderSize=f"{begin:03}")
    assert np.array_equal(load_scan(path).array[0], VOXELS)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T, VOXELS)


def test_a_list_that_says_how_many_sides_a_file_has(tmp_path):
    for number in range(7):
        (tmp_path / f"{number}.raw").write_bytes(VOXELS[..., number].tobytes(order="F"))
    names = "\n".join(f"{number}.raw" for number in range(7))
    path = write(tmp_path / "a.mhd", rest=names, ElementDataFile="LIST 2D")
    assert np.array_equal(load_scan(path).array[0], VOXELS)
