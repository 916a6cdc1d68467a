"""What an image is known by: the same in every format, another for every other image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from sg_hub import Image, Scan, load_scan
from tests.support.folders import DEMO_SAMPLES
from tests.training.scan_files import write_dicom, write_scan
from training.data.identity import content_hashes, identifier_hashes, image_hash, image_hashes


def test_formats_and_orientations_of_one_scan_are_the_same(tmp_path):
    first = write_scan(tmp_path / "a.nii.gz", seed=1)
    image = sitk.ReadImage(str(first))
    for name, order in (("b.nrrd", "LPS"), ("c.mha", "RAI"), ("d.nii", "ASL")):
        sitk.WriteImage(sitk.DICOMOrient(image, order), str(tmp_path / name))
    sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat64), str(tmp_path / "e.mhd"))
    hashes = {image_hashes(path) for path in tmp_path.iterdir() if path.suffix != ".raw"}
    assert len(hashes) == 1
    (known,) = hashes
    assert len(known) == 1
    assert len(known[0]) == 12
    assert image_hashes(write_scan(tmp_path / "f.nii.gz", seed=2)) != known


def test_a_reader_that_rounds_its_last_bit_otherwise_agrees():
    values = np.random.default_rng(0).integers(-1000, 3000, (1, 9, 8, 7)).astype(np.float32)
    scan = Scan(values)
    assert image_hash(replace(scan, array=np.nextafter(values, np.float32(9e9)))) == image_hash(scan)
    changed = values.copy()
    changed[0, 4, 4, 4] += 1
    assert image_hash(replace(scan, array=changed)) != image_hash(scan)


def test_small_values_are_told_apart():
    one, other = (np.random.default_rng(seed).random((1, 6, 6, 6), dtype=np.float32) * 1e-4 for seed in (1, 2))
    assert image_hash(Scan(one)) != image_hash(Scan(other))


def test_what_is_the_same_everywhere_is_no_ones():
    assert image_hash(Scan(np.full((1, 4, 4, 4), 7, np.float32))) == ""
    assert image_hash(Scan(np.zeros((1, 4, 4, 4), np.float32))) == ""


def test_grey_saved_in_colour_is_grey():
    grey = np.random.default_rng(0).random((1, 9, 8), dtype=np.float32)
    assert image_hash(Image(grey)) == image_hash(Image(np.repeat(grey, 3, 0)))
    assert image_hash(Image(grey)) != image_hash(Image(grey.transpose(0, 2, 1).copy()))


def test_an_image_that_was_turned_or_mirrored_is_known_again():
    scan = load_scan(DEMO_SAMPLES / "openkbp" / "ct" / "pt_201.nii.gz")
    other = load_scan(DEMO_SAMPLES / "openkbp" / "ct" / "pt_206.nii.gz")
    known = content_hashes(scan)
    for array in (scan.array[:, ::-1], scan.array[..., ::-1], scan.array.transpose(0, 2, 3, 1)):
        (as_it_lies, either_way) = content_hashes(replace(scan, array=np.ascontiguousarray(array)))
        assert as_it_lies not in known
        assert either_way == known[1]
    assert set(known).isdisjoint(content_hashes(other))


def test_counts_of_few_values_tell_nothing():
    drawn = np.zeros((1, 32, 32, 32), np.float32)
    drawn[0, :8] = np.arange(32)
    assert len(content_hashes(Scan(drawn))) == 1
    assert len(content_hashes(Scan(np.random.default_rng(0).random((1, 12, 12, 12), dtype=np.float32)))) == 1


def test_samples():
    path = DEMO_SAMPLES / "openkbp" / "ct" / "pt_201.nii.gz"
    known = image_hashes(path, 3, load_scan(path))
    assert known == image_hashes(str(path))
    assert (len(known), known[0]) == (2, "391a676facf2"), "as weights have it that are published"
    xrays = sorted((DEMO_SAMPLES / "chestxray14" / "images").glob("*.png"))
    assert len({image_hashes(xray, 2) for xray in xrays}) == 12


def identified(folder: Path, **values: str) -> tuple[str, ...]:
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        for key, value in values.items():
            setattr(header, key, value)
        header.save_as(path)
    return identifier_hashes(folder)


def test_identifiers_of_dicom(tmp_path):
    write_dicom(tmp_path / "a")
    both = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
    first = identified(tmp_path / "a", PatientID="7", **both)
    assert len(first) == 2, "a number that may be anybody's says nothing"
    assert image_hashes(tmp_path / "a")[1:] == first
    other = identified(tmp_path / "a", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.5")
    assert len(set(first) & set(other)) == 1, "another series of the study"
    born = identified(tmp_path / "a", PatientBirthDate="19500102")
    assert len(born) == 3
    assert len(identified(tmp_path / "a", PatientBirthDate="", PatientID="LIDC-IDRI-0001")) == 3
    assert len(identified(tmp_path / "a", PatientID="Anonymous")) == 2
    assert identifier_hashes(tmp_path / "a" / "slice0.dcm") == identifier_hashes(tmp_path / "a")


@pytest.mark.parametrize("data", [b"", b"text", b"\0" * 128 + b"DICM" + b"\xff" * 50])
def test_files_without_identifiers(tmp_path, data):
    (tmp_path / "file.dcm").write_bytes(data)
    assert identifier_hashes(tmp_path / "file.dcm") == ()
    assert identifier_hashes(tmp_path / "nothing") == ()
