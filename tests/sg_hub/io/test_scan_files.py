"""The files of a scan, by which a change of it is seen."""

import numpy as np
import pytest
import SimpleITK as sitk

from sg_hub.io.scan_files import files_of
from tests.sg_hub.io.formats import test_meta_image as meta
from tests.sg_hub.io.formats import test_nifti as nifti
from tests.sg_hub.io.formats import test_nrrd as nrrd


def names(path):
    return [file.name for file in files_of(path)]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd", ".png"])
def test_a_single_file(tmp_path, suffix):
    array = np.zeros((4, 4) if suffix == ".png" else (4, 4, 4), dtype=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / f"a{suffix}"))
    (tmp_path / "b.raw").write_bytes(b"x")
    assert names(tmp_path / f"a{suffix}") == [f"a{suffix}"]
    assert names(tmp_path / "none.nii") == []


def test_headers_and_the_files_that_they_name(tmp_path):
    slices = meta.write_slices(tmp_path, 7)
    (tmp_path / "other.raw").write_bytes(meta.RAW)
    listed = meta.write(tmp_path / "a.mhd", ElementDataFile="LIST", rest="\n".join(slices))
    assert names(listed) == ["a.mhd", *slices]
    assert names(meta.write(tmp_path / "b.mhd", ElementDataFile="slice%03d.raw 0 6 1")) == ["b.mhd", *slices]
    assert names(meta.write(tmp_path / "c.mhd", ElementDataFile="other.raw")) == ["c.mhd", "other.raw"]
    assert names(nrrd.write(tmp_path / "d.nhdr", fields={"data file": "other.raw"})) == ["d.nhdr", "other.raw"]
    pair = nifti.write_pair(tmp_path)
    for path in pair:
        assert files_of(path) == list(pair)


def test_a_header_that_cannot_be_followed_stands_alone(tmp_path):
    assert names(meta.write(tmp_path / "a.mhd", ElementDataFile="none.raw")) == ["a.mhd"]
    (tmp_path / "b.nhdr").write_bytes(b"noise")
    assert names(tmp_path / "b.nhdr") == ["b.nhdr"]


def test_a_folder(tmp_path):
    for name in ("2.dcm", "1.dcm"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "below").mkdir()
    assert names(tmp_path) == ["1.dcm", "2.dcm"]
