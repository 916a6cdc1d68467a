"""NIfTI: the file that is asked for, its transforms, units, offsets, and pairs of files."""

import gzip
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.scan import load_scan

VOXELS = np.random.default_rng(0).integers(-900, 900, (5, 6, 7)).astype("<i2")
PIXDIM = (1.5, 1.5, 3.0)
QFORM_CODE, SFORM_CODE, UNITS, OFFSET, SLOPE, BITPIX = 252, 254, 123, 108, 112, 72


def affine(spacing=PIXDIM, place=(0, 0, 0)) -> np.ndarray:
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = place
    return matrix


def write(path: Path, voxels=VOXELS, *, sform=None, qform=None, codes=(0, 0), **fields) -> Path:
    """A file whose qform and sform are told apart; `fields` are those of the header: name=(offset, format, value)."""
    image = nibabel.Nifti1Image(voxels, affine())
    image.header.set_xyzt_units("mm")
    image.set_qform(qform if qform is not None else affine(), code=codes[0])
    image.set_sform(sform if sform is not None else affine(), code=codes[1])
    raw = bytearray(image.to_bytes())
    for offset, form, value in fields.values():
        struct.pack_into(form, raw, offset, value)
    path.write_bytes(gzip.compress(bytes(raw)) if path.name.endswith(".gz") else raw)
    return path


def places(path: Path) -> list[np.ndarray]:
    header = nibabel.load(path).header
    return [
        np.array([header["qform_code"], header["sform_code"]]),
        np.array(header.get_qform()) * bool(header["qform_code"]),
        np.array(header.get_sform()) * bool(header["sform_code"]),
        np.array(header["pixdim"][:4]),
        np.array([header["xyzt_units"]]),
    ]


# The file that is checked is the file that is read


@pytest.mark.parametrize(("asked", "other"), [("ct.nii", "ct.nii.gz"), ("ct.nii.gz", "ct.nii")])
def test_files_beside_each_other_are_told_apart(tmp_path, asked, other):
    write(tmp_path / other, VOXELS[::-1].copy(), codes=(1, 1))
    path = write(tmp_path / asked, codes=(1, 1))
    assert np.array_equal(load_scan(path).array[0], VOXELS)


@pytest.mark.parametrize("name", ["zipped.nii", "plain.nii.gz", "anything"])
def test_the_content_says_whether_it_is_packed(tmp_path, name):
    raw = write(tmp_path / "a.nii", codes=(1, 1)).read_bytes()
    (tmp_path / name).write_bytes(raw if name.startswith("plain") else gzip.compress(raw))
    assert np.array_equal(load_scan(tmp_path / name).array[0], VOXELS)


def test_a_packed_file_may_have_several_parts(tmp_path):
    raw = write(tmp_path / "a.nii", codes=(1, 1)).read_bytes()
    parts = [gzip.compress(part) for part in (raw[:100], raw[100:400], b"", raw[400:])]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(parts) + b"\0" * 100)
    assert np.array_equal(load_scan(tmp_path / "b.nii.gz").array[0], VOXELS)
    damaged = bytearray(b"".join(parts))
    damaged[-6] ^= 1  # of the checksum
    (tmp_path / "b.nii.gz").write_bytes(damaged)
    with pytest.raises(ReadError, match=r"truncated or damaged .*incorrect"):
        load_scan(tmp_path / "b.nii.gz")


def test_a_file_that_is_packed_otherwise_is_no_scan(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"some text, which is no scan" * 100))
    with pytest.raises(ReadError, match=r"a\.nii\.gz is truncated or damaged \(it has no NIfTI header\)"):
        load_scan(tmp_path / "a.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(zlib.compress(write(tmp_path / "c.nii").read_bytes()))
    with pytest.raises(ReadError, match=r"b\.nii\.gz is truncated or damaged"):
        load_scan(tmp_path / "b.nii.gz")


# Pairs


def write_pair(folder: Path, voxels=VOXELS, suffix="") -> tuple[Path, Path]:
    image = nibabel.Nifti1Pair(voxels, affine())
    image.set_qform(affine(), code=1)
    files = image.make_file_map()
    nibabel.save(image, folder / f"a.img{suffix}")
    assert set(files) == {"header", "image"}
    return folder / f"a.hdr{suffix}", folder / f"a.img{suffix}"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_either_file_of_a_pair_can_be_given(tmp_path, suffix):
    for path in write_pair(tmp_path, suffix=suffix):
        assert np.array_equal(load_scan(path).array[0, ::-1, ::-1], VOXELS[::-1, ::-1])


def test_pairs_that_are_cut_off_or_hold_nan(tmp_path):
    header, voxels = write_pair(tmp_path)
    whole = voxels.read_bytes()
    voxels.write_bytes(whole[:-100])
    with pytest.raises(ReadError, match=r"a\.img is truncated or damaged \(320 bytes for 420 bytes"):
        load_scan(header)
    voxels.unlink()
    with pytest.raises(ReadError, match=r"no a\.img beside it: copy both"):
        load_scan(header)
    voxels.write_bytes(whole)
    (tmp_path / "a.img.gz").write_bytes(gzip.compress(whole[::-1]))
    with pytest.raises(InvalidInputError, match=r"a\.img and a\.img\.gz are beside it"):
        load_scan(header)
    (tmp_path / "a.img.gz").unlink()
    floats = VOXELS.astype("<f4")
    floats[:2] = np.nan
    header, _ = write_pair(tmp_path, floats)
    with pytest.raises(InvalidInputError, match="84 of 210 voxels are NaN"):
        load_scan(header)
    assert (load_scan(header, nan=-7).array == -7).sum() == 84


def test_headers_of_another_kind(tmp_path):
    header, _ = write_pair(tmp_path)
    raw = header.read_bytes()
    (tmp_path / "single.nii").write_bytes(raw)
    with pytest.raises(InvalidInputError, match="has the header of a pair"):
        load_scan(tmp_path / "single.nii")
    header.write_bytes(raw[:344] + b"\0\0\0\0")
    with pytest.raises(InvalidInputError, match=r"ANALYZE 7\.5 header, which does not say which side is left"):
        load_scan(header)


# Transforms


def test_the_scale_of_the_only_transform_is_followed(tmp_path, caplog):
    path = write(tmp_path / "a.nii", sform=affine((1.0, 2.0, 4.0)), codes=(0, 1))
    assert load_scan(path).spacing == (1.0, 2.0, 4.0)
    assert "voxels of 1 x 2 x 4 mm by its sform, of 1.5 x 1.5 x 3 by its pixdim" in caplog.text


@pytest.mark.parametrize("codes", [(0, 1), (1, 1)])
def test_the_scale_of_the_sform_is_followed_where_pixdim_is_rounded(tmp_path, codes):
    spacing = (1.5078125, 1.5, 3.0)  # over 500 voxels 4 mm more than pixdim says
    scan = load_scan(write(tmp_path / "a.nii", sform=affine(spacing), codes=codes))
    assert scan.spacing == spacing
    exact = affine(tuple(value * (1 + 1e-6) for value in PIXDIM))
    assert load_scan(write(tmp_path / "b.nii", sform=exact, codes=codes)).spacing == PIXDIM


def test_two_scales_are_an_error(tmp_path):
    path = write(tmp_path / "a.nii", sform=affine((1.0, 2.0, 4.0)), codes=(1, 2))
    with pytest.raises(InvalidInputError, match=r"1 x 2 x 4 mm by its sform, of 1\.5 x 1\.5 x 3 by its pixdim, which"):
        load_scan(path)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_transforms_that_name_other_sides_are_an_error(tmp_path, axis):
    other = affine()
    other[axis] *= -1
    path = write(tmp_path / "a.nii", sform=other, codes=(1, 1))
    with pytest.raises(InvalidInputError, match="by its sform and LPS by its qform, so which side is left") as caught:
        load_scan(path)
    codes = ["RPS", "LAS", "LPI"]
    assert f"its axes go {codes[axis]}" in str(caught.value)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("codes", [(1, 2), (2, 1), (1, 0), (0, 4), (3, 4), (1, 1)])
def test_results_overlay_the_original_whichever_transform_is_followed(tmp_path, codes, suffix, caplog):
    turned = affine(place=(10, -5, 3))
    angle = np.radians(8)
    turned[:3, :3] = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]] @ turned[:3, :3]
    path = write(tmp_path / "a.nii.gz", sform=turned, qform=affine(place=(40, 50, -60)), codes=codes)
    scan = load_scan(path)
    saved = scan.save(scan.array[0].astype(np.int16), tmp_path / f"result{suffix}")
    for one, other in zip(places(path), places(saved), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    assert np.array_equal(np.asarray(nibabel.load(saved).dataobj), VOXELS)
    assert ("place it up to" in caplog.text) == (min(codes) > 0)
    followed = turned if codes[1] else affine(place=(40, 50, -60))
    corner = np.array(scan.file_grid.origin) * (-1, -1, 1)
    np.testing.assert_allclose(corner, followed[:3, 3], atol=1e-5)


def test_a_result_in_another_format_follows_what_was_read(tmp_path):
    path = write(tmp_path / "a.nii.gz", sform=affine(place=(10, -5, 3)), codes=(1, 2))
    scan = load_scan(path)
    saved = sitk.ReadImage(str(scan.save(scan.array[0], tmp_path / "result.nrrd")))
    assert saved.GetOrigin() == (-10, 5, 3)
    assert saved.GetSpacing() == PIXDIM


def test_a_sheared_sform_leaves_the_qform(tmp_path, caplog):
    sheared = affine(place=(10, -5, 3))
    sheared[0, 1] = 0.7
    scan = load_scan(write(tmp_path / "a.nii", sform=sheared, qform=affine(place=(1, 2, 3)), codes=(1, 2)))
    assert scan.file_grid.origin == (-1, -2, 3)
    assert "no rectangular grid" in caplog.text


def test_no_transform_at_all_is_said(tmp_path, caplog):
    scan = load_scan(write(tmp_path / "a.nii"))
    assert scan.spacing == PIXDIM
    assert "says nothing of its orientation" in caplog.text


def test_a_quaternion_that_is_none(tmp_path):
    path = write(tmp_path / "a.nii", codes=(1, 0), b=(256, "<f", 3.0))
    with pytest.raises(InvalidInputError, match="singular or sheared"):
        load_scan(path)


# Units, offsets, scaling


@pytest.mark.parametrize(("code", "scale"), [(1, 1000), (2, 1), (3, 0.001), (0, 1), (2 + 8, 1), (1 + 16, 1000)])
@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1)])
def test_units_of_length(tmp_path, code, scale, codes):
    path = write(tmp_path / "a.nii", sform=affine(place=(1, 2, 3)), codes=codes, units=(UNITS, "<B", code))
    scan = load_scan(path)
    np.testing.assert_allclose(scan.spacing, np.array(PIXDIM) * scale)
    if codes[1]:
        np.testing.assert_allclose(scan.file_grid.origin, np.array([-1, -2, 3]) * scale, rtol=1e-6)
    saved = places(scan.save(VOXELS, tmp_path / "b.nii"))
    for one, other in zip(places(path), saved, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_unit_that_there_is_not(tmp_path):
    with pytest.raises(InvalidInputError, match="unit of length has the code 6"):
        load_scan(write(tmp_path / "a.nii", codes=(1, 1), units=(UNITS, "<B", 6)))


@pytest.mark.parametrize("offset", [0, 100, 348, 351, 352.5, -5, 3e38, float("nan"), float("inf")])
def test_offsets_that_the_format_does_not_allow(tmp_path, offset):
    with pytest.raises(ReadError, match=r"\(vox_offset\); expected 352 or more"):
        load_scan(write(tmp_path / "a.nii", codes=(1, 1), offset=(OFFSET, "<f", offset)))


def test_extensions_are_passed_over(tmp_path):
    image = nibabel.Nifti1Image(VOXELS, affine())
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"who, when, where" * 20))
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(image, tmp_path / name)
        assert np.array_equal(load_scan(tmp_path / name).array[0], VOXELS)


@pytest.mark.parametrize(
    ("slope", "inter", "wanted"), [(2.0, -5.0, (2, -5)), (0.0, 9.0, (1, 0)), (np.nan, np.nan, (1, 0))]
)
def test_scaling(tmp_path, slope, inter, wanted):
    fields = {"slope": (SLOPE, "<f", slope), "inter": (SLOPE + 4, "<f", inter)}
    values = load_scan(write(tmp_path / "a.nii", codes=(1, 1), **fields)).array[0]
    assert np.array_equal(values, VOXELS * np.float32(wanted[0]) + np.float32(wanted[1]))


def test_half_of_a_scaling_is_an_error(tmp_path):
    fields = {"slope": (SLOPE, "<f", 2.0), "inter": (SLOPE + 4, "<f", np.inf)}
    with pytest.raises(InvalidInputError, match="scl_slope, scl_inter"):
        load_scan(write(tmp_path / "a.nii", codes=(1, 1), **fields))


def test_bits_that_contradict_the_type(tmp_path):
    with pytest.raises(ReadError, match=r"32 bits a voxel \(bitpix\) and the type int16"):
        load_scan(write(tmp_path / "a.nii", codes=(1, 1), bits=(BITPIX, "<h", 32)))


@pytest.mark.parametrize("kind", ["<i2", ">i2", "<u2", "<f4", ">f8", "<i4", "<u4", "<i8", "|i1", "|u1"])
@pytest.mark.parametrize("image", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_every_type_and_order_of_bytes(tmp_path, kind, image):
    values = np.abs(VOXELS % 100).astype(kind)
    header = image.header_class(endianness=">" if kind[0] == ">" else "<")
    header.set_data_dtype(kind)
    nibabel.save(image(values, affine(), header), tmp_path / "a.nii")
    assert np.array_equal(load_scan(tmp_path / "a.nii").array[0], values.astype(float))


# Spacing that is not there


def test_a_spacing_that_is_zero_can_be_given(tmp_path):
    path = write(tmp_path / "a.nii", codes=(1, 0), size=(80, "<f", 0.0))
    with pytest.raises(InvalidInputError, match=r"load_scan\(path, spacing=\(x, y, z\)\)"):
        load_scan(path)
    scan = load_scan(path, spacing=(1.25, 1.5, 3))
    assert scan.spacing == (1.25, 1.5, 3)
    saved = places(scan.save(VOXELS, tmp_path / "b.nii"))
    np.testing.assert_allclose(saved[3][1:], (1.25, 1.5, 3))


def test_a_spacing_that_is_there_and_another_is_given_is_said(tmp_path, caplog):
    path = write(tmp_path / "a.nii", codes=(1, 1))
    own = load_scan(path).spacing
    load_scan(path, spacing=np.round(own, 4))
    assert caplog.text == ""
    assert load_scan(path, spacing=(9, 9, 9)).spacing == (9, 9, 9)
    assert "a.nii: its own spacing of" in caplog.text
    assert "replaced by the one that was given, 9 x 9 x 9 mm" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        (1, 2),
        (1, 0, 2),
        (1, 2, np.nan),
        3,
        "abc",
        "123",
        (1, 2, "3"),
        (1, 2, 1e-38),
        (1, 2, 3e38),
        [True] * 3,
        (1, 2, 3, 4),
    ],
)
def test_spacings_that_cannot_be(tmp_path, wrong):
    with pytest.raises(InvalidInputError, match="expected three positive numbers"):
        load_scan(write(tmp_path / "a.nii", codes=(1, 1)), spacing=wrong)


@pytest.mark.parametrize("size", [1e-38, 3e38])
def test_voxels_of_no_size_that_there_is_are_refused(tmp_path, size):
    with pytest.raises(InvalidInputError, match=r"\(pixdim\); expected positive numbers in mm, 1e-09 to 1e\+06"):
        load_scan(write(tmp_path / "a.nii", pixdim=(80, "<f", size)))


@pytest.mark.parametrize(("sign", "turned"), [(0.0, False), (7.0, False), (-1.0, True), (-3.0, True)])
def test_the_sign_alone_of_the_first_pixdim_counts(tmp_path, sign, turned):
    path = write(tmp_path / "a.nii", codes=(1, 0), qfac=(76, "<f", sign))
    assert np.array_equal(load_scan(path).array[0], VOXELS[:, :, ::-1] if turned else VOXELS)


def test_a_file_that_is_packed_twice_is_called_so(tmp_path):
    raw = write(tmp_path / "a.nii.gz", codes=(1, 1)).read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw))
    with pytest.raises(InvalidInputError, match="is compressed twice: unpack it once"):
        load_scan(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_fewer_slices_than_there_are_voxels(tmp_path, name):
    longer = np.random.default_rng(1).integers(0, 9, (20, 20, 12)).astype("<i2")
    with pytest.raises(ReadError, match="more than its header says"):
        load_scan(write(tmp_path / name, longer, codes=(1, 1), third=(46, "<h", 6)))
