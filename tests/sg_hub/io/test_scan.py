"""Reading scans into LPS order, writing results back, and every kind of file that cannot be used."""

import gzip
import itertools
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.io.files import LABEL_MAPS
from sg_hub.io.scan import Scan, load_scan

SIZE = (5, 6, 7)
SPACING = (0.8, 0.9, 2.5)
ORIGIN = (-11.5, 22.25, -330.0)
# Every way to name the axes of a file after the patient: 6 orders, 8 signs.
AXES = np.eye(3)
ORIENTATIONS = [
    tuple((AXES[:, order] * signs).ravel())
    for order in map(list, itertools.permutations(range(3)))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]


def rotation(degrees: tuple[float, float, float]) -> tuple[float, ...]:
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*np.radians(degrees))
    return transform.GetMatrix()


def make_image(direction=(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), kind=np.int16) -> sitk.Image:
    """An image with a different value in every voxel."""
    x, y, z = SIZE
    image = sitk.GetImageFromArray(np.arange(x * y * z).reshape(z, y, x).astype(kind) - 50)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(direction)
    return image


def write(image: sitk.Image, path: Path, compressed: bool = True) -> Path:
    sitk.WriteImage(image, str(path), compressed)
    return path


def geometry(image: sitk.Image) -> np.ndarray:
    return np.array([*image.GetSize(), *image.GetSpacing(), *image.GetOrigin(), *image.GetDirection()])


def edit(source: Path, target: Path, offset: int, kind: str, *values: float) -> Path:
    """A copy of a .nii.gz with other numbers in its header."""
    raw = bytearray(gzip.decompress(source.read_bytes()))
    struct.pack_into(kind, raw, offset, *values)
    target.write_bytes(gzip.compress(bytes(raw)))
    return target


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    return write(make_image(kind=np.float32), tmp_path / "scan.nii.gz")


# Orientation


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_every_orientation_is_read_as_lps_and_written_as_it_was(tmp_path, suffix):
    for direction in ORIENTATIONS:
        path = write(make_image(direction), tmp_path / f"scan{suffix}")
        original = sitk.ReadImage(str(path))
        expected = sitk.DICOMOrient(original, "LPS")
        scan = load_scan(path)
        assert np.array_equal(scan.array[0], sitk.GetArrayFromImage(expected).T), direction
        assert np.allclose(geometry(expected), [*scan.size, *scan.spacing, *scan.origin, *scan.direction], atol=1e-5)
        assert np.allclose(scan.direction, np.eye(3).ravel())
        back = scan.to_image(scan.array.astype(np.int16))
        assert np.array_equal(geometry(back), geometry(original))
        assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(original)), direction


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("degrees", [(10.0, -20.0, 30.0), (3.0, 100.0, -95.0), (170.0, 5.0, 80.0)])
def test_an_oblique_scan_keeps_its_place(tmp_path, suffix, degrees):
    path = write(make_image(rotation(degrees)), tmp_path / f"scan{suffix}")
    original = sitk.ReadImage(str(path))
    scan = load_scan(path)
    # Each axis points more to L, P or S than anywhere else, and is at right angles to the others.
    matrix = np.array(scan.direction).reshape(3, 3)
    assert (np.abs(matrix).argmax(0) == [0, 1, 2]).all()
    assert (np.diag(matrix) > 0).all()
    # Every voxel is where the file has it.
    for index in [(0, 0, 0), (1, 2, 3), tuple(side - 1 for side in scan.size)]:
        point = np.array(scan.origin) + matrix @ (np.array(scan.spacing) * index)
        assert original.GetPixel(original.TransformPhysicalPointToIndex(point)) == scan.array[(0, *index)]
    saved = sitk.ReadImage(str(scan.save(scan.array[0].astype(np.int16), tmp_path / f"result{suffix}")))
    assert np.allclose(geometry(saved), geometry(original), rtol=1e-6, atol=1e-6)
    assert np.array_equal(sitk.GetArrayFromImage(saved), sitk.GetArrayFromImage(original))


def test_the_axes_go_left_posterior_superior(tmp_path):
    image = make_image((-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))  # RAS
    scan = load_scan(write(image, tmp_path / "ras.nii"))
    assert scan.file_grid is not None
    assert scan.file_grid.orientation == "RAS"
    assert scan.array[0, -1, -1, 0] == image.GetPixel(0, 0, 0)
    assert "file in RAS" in repr(scan)
    assert "5 x 6 x 7 voxels of 0.8 x 0.9 x 2.5 mm, 4 x 5 x 18 mm, values -50 to 159" in repr(scan)


# Results


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("uint8", "uint8"),
        ("int16", "int16"),
        ("int64", "int64"),
        ("bool", "uint8"),
        ("float64", "float32"),
        (">i2", "int16"),
        (">f4", "float32"),
    ],
)
def test_types_of_results(nifti, given, kept):
    image = load_scan(nifti).to_image(np.ones(SIZE, dtype=given))
    assert sitk.GetArrayViewFromImage(image).dtype == kept


def test_results_with_channels_and_from_torch(nifti, tmp_path):
    scan = load_scan(nifti)
    result = torch.rand(3, *SIZE)
    saved = sitk.ReadImage(str(scan.save(result, tmp_path / "three.nii.gz")))
    assert saved.GetNumberOfComponentsPerPixel() == 3
    assert np.array_equal(np.moveaxis(sitk.GetArrayFromImage(saved), -1, 0).transpose(0, 3, 2, 1), result.numpy())
    again = load_scan(tmp_path / "three.nii.gz")
    assert again.array.shape == (3, *SIZE)
    assert np.array_equal(again.array, result.numpy())
    assert np.allclose(geometry(saved), geometry(make_image()))


def test_a_result_does_not_replace_its_own_scan(nifti, tmp_path):
    scan, before = load_scan(nifti), nifti.read_bytes()
    (tmp_path / "link.nii.gz").symlink_to(nifti)
    for path in (nifti, tmp_path / "link.nii.gz"):
        with pytest.raises(InvalidInputError, match="is read, and would be lost"):
            scan.save(scan.array > 0, path)
    assert nifti.read_bytes() == before


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_masks_in_three_channels_are_read_again_and_are_no_colours(nifti, tmp_path, suffix):
    scan = load_scan(nifti)
    masks = np.stack([scan.array[0] > level for level in (-100, 0, 100)])
    for result in (masks, masks.astype(np.int64)):
        assert np.array_equal(load_scan(scan.save(result, tmp_path / f"a{suffix}"), labels=True).array, masks)


def test_channels_are_turned_as_the_file_is(tmp_path):
    scan = load_scan(write(make_image((0.0, -1.0, 0, 0, 0, 1.0, -1.0, 0, 0)), tmp_path / "turned.nii.gz"))
    result = np.stack([scan.array[0], -scan.array[0]])
    both = sitk.GetArrayFromImage(scan.to_image(result))
    original = sitk.GetArrayFromImage(make_image())
    assert np.array_equal(both[..., 0], original)
    assert np.array_equal(both[..., 1], -original)


def test_a_result_of_another_size_is_refused(nifti):
    scan = load_scan(nifti)
    for shape in [(5, 6, 8), (7, 6, 5), (5, 6), (2, 2, *SIZE)]:
        with pytest.raises(InvalidInputError, match=r"expected \(5, 6, 7\) or \(channels, 5, 6, 7\)"):
            scan.to_image(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize("suffix", LABEL_MAPS)
def test_save_leaves_the_older_file_when_the_disk_is_full(nifti, tmp_path, suffix, full_disk):
    scan = load_scan(nifti)
    target = scan.save(np.ones(SIZE, dtype=np.uint8), tmp_path / f"labels{suffix}")
    before = target.read_bytes()
    noise = Scan(np.random.default_rng(0).normal(size=(1, 20, 20, 20)).astype(np.float32))
    with full_disk(), pytest.raises(ReadError, match=r"labels.* cannot be written .*is there space"):
        noise.save(noise.array, target)
    assert target.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [target.name, "scan.nii.gz"]


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_what_itk_has_written_is_read_again(nifti, tmp_path, monkeypatch, suffix):
    scan = load_scan(nifti)
    target = scan.save(np.ones(SIZE, dtype=np.uint8), tmp_path / f"labels{suffix}")
    before = target.read_bytes()
    monkeypatch.setattr(sitk, "WriteImage", lambda image, path, *_: Path(path).write_bytes(before))
    with pytest.raises(ReadError, match="what is there is not what was written"):
        scan.save(np.zeros(SIZE, dtype=np.uint8), target)
    assert target.read_bytes() == before


@pytest.mark.parametrize(
    ("values", "kind"),
    [((0, 2), "uint8"), ((-1, 5), "int16"), ((0, 300), "int16"), ((0, 40000), "uint16"), ((-5, 70000), "int32")],
)
@pytest.mark.parametrize("suffix", LABEL_MAPS)
def test_labels_of_64_bits_are_written_in_the_smallest_type(tmp_path, values, kind, suffix):
    scan = Scan(np.zeros((1, *SIZE), dtype=np.float32))
    labels = np.resize(np.array(values, dtype=np.int64), SIZE)
    saved = sitk.GetArrayFromImage(sitk.ReadImage(str(scan.save(labels, tmp_path / f"labels{suffix}"))))
    assert saved.dtype == kind
    assert np.array_equal(saved.T, labels)
    assert scan.save(torch.from_numpy(labels), tmp_path / f"torch{suffix}").stat().st_size
    with pytest.raises(InvalidInputError, match="number the labels anew"):
        scan.save(labels + 2**40, tmp_path / f"large{suffix}")


def test_save_says_which_names_it_takes(nifti, tmp_path):
    scan = load_scan(nifti)
    with pytest.raises(InvalidInputError, match=r"labels\.png.*\.nii\.gz"):
        scan.save(scan.array, tmp_path / "labels.png")
    with pytest.raises(ReadError, match="does not exist; make it first"):
        scan.save(scan.array, tmp_path / "none" / "labels.nii.gz")


# Files


def test_folders_without_scans(tmp_path, nifti):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match=r"holds no scan .it holds no files.: expected a folder with the slices"):
        load_scan(tmp_path / "empty")
    with pytest.raises(ReadError, match=r"give a file instead: .*scan\.nii\.gz"):
        load_scan(tmp_path)


def test_a_missing_path_suggests_the_nearest(nifti, tmp_path):
    with pytest.raises(ReadError, match=r"did you mean .*scan\.nii\.gz\?"):
        load_scan(tmp_path / "scam.nii.gz")
    with pytest.raises(ReadError, match="does not exist either; check the path"):
        load_scan(tmp_path / "none" / "scan.nii.gz")
    with pytest.raises(InvalidInputError, match=r"takes a path, not a ndarray"):
        load_scan(np.zeros(3))  # type: ignore[arg-type]


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "scan.nii.gz").symlink_to("moved.nii.gz")
    with pytest.raises(ReadError, match=r"scan\.nii\.gz is a link to moved\.nii\.gz, which is not there"):
        load_scan(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kept", [0, 20, 0.5, 0.97])
def test_empty_and_truncated_files(tmp_path, capfd, suffix, compressed, kept):
    path = write(make_image(), tmp_path / f"scan{suffix}", compressed)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    with pytest.raises(ReadError, match="is empty: copy" if kept == 0 else "truncated or damaged"):
        load_scan(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
def test_damaged_files(tmp_path, suffix):
    path = write(make_image(), tmp_path / f"scan{suffix}")
    raw = bytearray(path.read_bytes())
    for i in range(len(raw) - 60, len(raw) - 40):
        raw[i] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(ReadError, match=r"truncated or damaged .*: copy, download or export it again"):
        load_scan(path)


def test_the_data_file_of_a_header_is_missing(tmp_path):
    path = write(make_image(), tmp_path / "scan.mhd", compressed=False)
    assert load_scan(path).size == SIZE
    (tmp_path / "scan.raw").unlink()
    with pytest.raises(ReadError, match=r"scan\.raw, which is not beside it: copy both"):
        load_scan(path)


def test_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(ReadError, match=r"no format that can be read: expected a DICOM folder, NIfTI"):
        load_scan(tmp_path / "notes.txt")
    sitk.WriteImage(sitk.GetImageFromArray(np.eye(9, dtype=np.uint8)), str(tmp_path / "slice.png"))
    with pytest.raises(ReadError, match=r"2D picture .*PNG.*expected a DICOM folder"):
        load_scan(tmp_path / "slice.png")
    (tmp_path / "noise.nii.gz").write_bytes(os.urandom(300))
    with pytest.raises(ReadError, match="truncated or damaged"):
        load_scan(tmp_path / "noise.nii.gz")


@pytest.mark.parametrize("value", [0.0, -2.0, float("nan"), float("inf")])
def test_impossible_spacing_in_nifti(nifti, tmp_path, value):
    path = edit(nifti, tmp_path / "bad.nii.gz", 80, "<f", value)
    with pytest.raises(InvalidInputError, match=r"spacing \(.*\(pixdim\); expected positive numbers in mm.*SetSpacing"):
        load_scan(path)


@pytest.mark.parametrize("value", ["0", "-1", "nan"])
@pytest.mark.parametrize(("suffix", "field"), [(".mha", r"(ElementSpacing = )\S+"), (".nrrd", r"(spacings: )\S+")])
def test_impossible_spacing_in_text_headers(tmp_path, suffix, field, value):
    path = write(make_image(), tmp_path / f"scan{suffix}", compressed=False)
    header, split, voxels = path.read_bytes().partition(b"ElementDataFile" if suffix == ".mha" else b"\n\n")
    text = header.decode()
    if suffix == ".nrrd":
        lines = [line for line in text.splitlines() if not line.startswith(("space", "kinds"))]
        text = "\n".join([*lines, "spacings: 0.8 0.9 2.5"])
    changed, count = re.subn(field, rf"\g<1>{value}", text)
    assert count == 1
    path.write_bytes(changed.encode() + split + voxels)
    with pytest.raises(InvalidInputError, match=r"spacing.*expected positive numbers in mm"):
        load_scan(path)


def test_singular_and_sheared_directions(nifti, tmp_path):
    nrrd = write(make_image(), tmp_path / "scan.nrrd", compressed=False).read_bytes()
    rows = nrrd.split(b"space directions: ")[1].split(b"\n")[0]
    for directions in [b"(0.8,0,0) (0.9,0,0) (0,0,2.5)", b"(0.8,0,0) (0.4,0.8,0) (0,0,2.5)"]:
        (tmp_path / "bad.nrrd").write_bytes(nrrd.replace(rows, directions))
        with pytest.raises(
            InvalidInputError, match=r"(singular|sheared).*expected a rectangular grid: correct the header"
        ):
            load_scan(tmp_path / "bad.nrrd")
    path = edit(nifti, tmp_path / "bad.nii.gz", 252, "<2h", 0, 2)  # use the sform only
    path = edit(path, path, 280, "<12f", *(1, 0, 0, 0) * 3)
    with pytest.raises(InvalidInputError, match=r"singular or sheared; expected a rectangular grid"):
        load_scan(path)


def test_more_and_fewer_dimensions(tmp_path):
    def refused(array: np.ndarray, name: str, message: str, vector: bool = False) -> None:
        path = write(sitk.GetImageFromArray(array, isVector=vector), tmp_path / name)
        with pytest.raises(InvalidInputError, match=message):
            load_scan(path)

    values = np.random.default_rng(0).integers(0, 200, (3, 4, 5, 6))
    refused(values.astype(np.float32), "4d.nii.gz", r"4D: 3 volumes of 6 x 5 x 4; expected one 3D.*WriteImage")
    refused(
        values[0, 0].astype(np.uint8),
        "2d.nii.gz",
        "2D image .size 6 x 5.; expected a 3D scan: give the folder",
    )
    refused(values[0, :1].astype(np.uint8), "1.mha", "2D image .size 6 x 5 x 1.; expected a 3D scan")
    for suffix in (".nii.gz", ".mha", ".nrrd"):
        colours = np.moveaxis(values, 0, -1).astype(np.uint8)
        refused(colours, "rgb" + suffix, r"colour image \(RGB.*expected a scan of grey values", vector=True)
    with_alpha = np.concatenate([colours, colours[..., :1]], axis=-1)
    refused(with_alpha, "rgba.mha", r"colour image \(RGBA", vector=True)
    complex_image = sitk.RealAndImaginaryToComplex(*[sitk.Cast(make_image(), sitk.sitkFloat32)] * 2)
    with pytest.raises(InvalidInputError, match=r"complex.*save the magnitude"):
        load_scan(write(complex_image, tmp_path / "complex.nii.gz"))


# Values


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_nan_voxels_are_counted_and_can_be_replaced(tmp_path, suffix):
    image = make_image(kind=np.float32)
    image[0, 0, 0], image[1, 2, 3], image[2, 2, 2] = float("nan"), float("inf"), float("-inf")
    path = write(image, tmp_path / f"scan{suffix}")
    with pytest.raises(InvalidInputError, match=r"3 of 210 voxels are NaN or infinite.*load_scan\(path, nan=-1000\)"):
        load_scan(path)
    scan = load_scan(path, nan=-1000)
    assert (scan.array == -1000).sum() == 3
    assert scan.array[0, 1, 2, 3] == -1000


@pytest.mark.parametrize("nan", [float("nan"), float("inf"), 1e39, "air", "5", True])
def test_nan_voxels_are_replaced_by_numbers_alone(tmp_path, nan):
    image = make_image(kind=np.float32)
    image[0, 0, 0] = float("nan")
    with pytest.raises(InvalidInputError, match=r"nan=.*: expected a number"):
        load_scan(write(image, tmp_path / "scan.nii.gz"), nan=nan)
    with pytest.raises(InvalidInputError, match=r"nan=.*: expected a number"):
        Scan.from_image(image, nan=nan)


def test_an_image_of_four_axes_of_which_the_last_is_one():
    image = make_image(kind=np.float32)
    wanted = Scan.from_image(image)
    scan = Scan.from_image(sitk.JoinSeries([image]))
    assert np.array_equal(scan.array, wanted.array)
    assert (scan.spacing, scan.origin, scan.direction) == (wanted.spacing, wanted.origin, wanted.direction)


def test_nan_in_one_channel_of_nifti(tmp_path):
    values = np.ones((4, 5, 6, 2), dtype=np.float32)
    values[0, 1, 2, 0], values[..., 1] = np.nan, 3
    path = write(sitk.GetImageFromArray(values, isVector=True), tmp_path / "scan.nii.gz")
    array = load_scan(path, nan=-5).array
    assert np.argwhere(array == -5).tolist() == [[0, 2, 1, 0]]
    assert (array[1] == 3).all()


def test_a_constant_scan_is_refused_but_not_a_constant_label_map(tmp_path):
    path = write(make_image() * 0 + 7, tmp_path / "scan.nii.gz")
    with pytest.raises(InvalidInputError, match=r"every voxel is 7, so there is nothing to see.*Check the export"):
        load_scan(path)
    assert (load_scan(path, labels=True).array == 7).all()
    fractions = write(sitk.Cast(make_image(), sitk.sitkFloat32) * 0.5, tmp_path / "half.nii.gz")
    with pytest.raises(InvalidInputError, match=r"no label map: it holds fractions"):
        load_scan(fractions, labels=True)


def test_itk_keeps_its_setting_and_says_nothing(tmp_path, nifti, capfd):
    skewed = edit(nifti, tmp_path / "other.nii.gz", 252, "<2h", 0, 1)  # the sform alone, which pixdim contradicts
    load_scan(edit(skewed, skewed, 80, "<f", 0.7))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(SgHubError):
        load_scan(edit(nifti, tmp_path / "bad.nii.gz", 80, "<f", -2.0))
    assert sitk.ProcessObject.GetGlobalWarningDisplay()
    assert capfd.readouterr() == ("", "")
