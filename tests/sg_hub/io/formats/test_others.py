"""Good files of other kinds are called what they are, and not damaged."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from sg_hub import load_image, load_scan
from sg_hub.errors import ReadError
from sg_hub.io.labels import read_label_image


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One scan, as it is in files of each format."""
    folder = tmp_path_factory.mktemp("whole")
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    image.SetSpacing((1.5, 1.5, 3))
    found = {}
    for suffix in ("nii", "mha", "nrrd"):
        sitk.WriteImage(image, str(folder / f"a.{suffix}"))
        found[suffix] = (folder / f"a.{suffix}").read_bytes()
    return found


def zipped(data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.nii", data)
    return file.getvalue()


def tarred(data):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("a.nii")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


PACKED = {
    "ZIP archive": lambda whole: zipped(whole["nii"]),
    "bzip2": lambda whole: bz2.compress(whole["nii"]),
    "xz": lambda whole: lzma.compress(whole["nii"]),
    "tar archive": lambda whole: tarred(whole["nii"]),
    "gzipped tar archive": lambda whole: gzip.compress(tarred(whole["nii"])),
    "gzipped NRRD": lambda whole: gzip.compress(whole["nrrd"]),
    "gzipped MetaImage": lambda whole: gzip.compress(whole["mha"]),
    "web page": lambda whole: b"\n<!DOCTYPE html><html>log in</html>" * 20,
    "git LFS": lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n",
    "HDF5": lambda whole: b"\x89HDF\r\n\x1a\n" + bytes(600),
    "NumPy": lambda whole: b"\x93NUMPY\x01\0" + bytes(600),
}


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd", "a.dcm", "a"])
@pytest.mark.parametrize("kind", PACKED)
def test_what_a_file_is_is_said_whatever_it_is_called(whole, tmp_path, kind, name):
    (tmp_path / name).write_bytes(PACKED[kind](whole))
    for read in (load_scan, load_image):
        with pytest.raises(ReadError, match=kind) as error:
            read(tmp_path / name)
        assert "damaged" not in str(error.value)


def test_a_folder_of_such_slices_says_so_too(tmp_path):
    (tmp_path / "1.dcm").write_bytes(PACKED["git LFS"]({}))
    with pytest.raises(ReadError, match=r"1\.dcm is a pointer of git LFS"):
        load_scan(tmp_path)


@pytest.mark.parametrize("kind", ["nii", "mha", "nrrd"])
@pytest.mark.parametrize("called", ["nii", "nii.gz", "mha", "nrrd"])
def test_a_scan_is_read_by_its_content(whole, tmp_path, kind, called):
    path = tmp_path / f"a.{called}"
    path.write_bytes(whole[kind])
    assert load_scan(path).array.ravel().tolist() == load_scan_of(whole["nii"], tmp_path).array.ravel().tolist()


def load_scan_of(data, folder):
    (folder / "plain.nii").write_bytes(data)
    return load_scan(folder / "plain.nii")


def test_a_picture_is_read_by_its_content(tmp_path):
    pixels = np.arange(40, dtype=np.uint8).reshape(5, 8)
    Image.fromarray(pixels).save(tmp_path / "a.bmp")
    (tmp_path / "a.dcm").write_bytes((tmp_path / "a.bmp").read_bytes())
    for name in ("a.bmp", "a.dcm"):
        np.testing.assert_allclose(load_image(tmp_path / name).array[0] * 255, pixels, atol=1e-4)
    np.testing.assert_array_equal(read_label_image(tmp_path / "a.bmp"), pixels)
    with pytest.raises(ReadError, match=r"a\.dcm is a 2D picture .*BMP"):
        load_scan(tmp_path / "a.dcm")


def test_voxels_that_begin_as_texts_do_are_voxels(tmp_path):
    volume = np.full((3, 4, 5), 60, dtype=np.int16)  # "<", and a zero
    volume[2, 3, 4] = 61
    sitk.WriteImage(sitk.GetImageFromArray(volume), str(tmp_path / "a.img"))
    np.testing.assert_array_equal(load_scan(tmp_path / "a.img").array[0].T, volume)


def test_packed_files_that_hold_no_scan_are_not_called_damaged(tmp_path):
    for name, said in (("a.mgz", "a gzipped file of FreeSurfer"), ("a.gz", "a gzipped file of no format")):
        (tmp_path / name).write_bytes(gzip.compress(b"\0\0\0\1" + bytes(600)))
        with pytest.raises(ReadError, match=said):
            load_scan(tmp_path / name)
