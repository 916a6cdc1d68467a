"""Label maps as DICOM segmentations, read back by highdicom and compared voxel by voxel with the series."""

import subprocess
import sys

import numpy as np
import pydicom
import pytest

from sg_hub import InvalidInputError, ReadError, SgHubError, load_scan
from sg_hub.interop import dicom_seg
from sg_hub.interop.dicom_seg import save_dicom_seg
from tests.sg_hub.io.formats.dicom.dicom_files import SERIES, VOLUME, enhanced, slice_of, write, write_series
from tests.support.folders import ROOT

highdicom = pytest.importorskip("highdicom")

STUDY, FRAME = "1.2.826.0.1.9", "1.2.826.0.1.8"
TAGS = {"StudyInstanceUID": STUDY, "FrameOfReferenceUID": FRAME, "SeriesNumber": 3, "PatientName": "Doe^Jane"}
NAMES = ("background", "left lung", "Höhle", "nothing")
NORMAL = np.cross([0.8, 0.6, 0.0], [0.0, 0.0, -1.0])
OBLIQUE = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]


def axial(folder):
    return write_series(folder, **TAGS)


def backwards(folder):
    """Slices from the head down, by their names and by their numbers."""
    for number, pixels in enumerate(VOLUME):
        data = slice_of(pixels, 2.0 * (len(VOLUME) - number), InstanceNumber=number + 1, **TAGS)
        write(folder / f"{number}.dcm", data)
    return folder


def oblique(folder):
    """Rows that run towards left and posterior, columns towards the feet, named in another order."""
    for number, pixels in enumerate(VOLUME):
        place = np.array([5.0, -7.0, 11.0]) + 3.0 * number * NORMAL
        tags = {"ImagePositionPatient": place.tolist(), "ImageOrientationPatient": OBLIQUE}
        write(folder / f"{(5 * number) % 7}.dcm", slice_of(pixels, 0, **TAGS | tags))
    return folder


def many_frames(folder):
    """One file whose frames are in no order."""
    order = [3, 0, 5, 1, 4, 2]
    write(folder / "e.dcm", enhanced(VOLUME[order], [2.0 * place for place in order], **TAGS))
    return folder / "e.dcm"


def labels_of(scan):
    """Class 1 where a voxel is above 0 HU, class 2 in a corner that is no mirror image of another; nothing in the
    third slice."""
    labels = (scan.array[0] > 0).astype(np.uint8)
    labels[:2, :3, :2] = 2
    return labels


def at_places(file):
    """Class numbers by place in mm of a segmentation, from its frames alone: what any other program would see."""
    found = {}
    data = pydicom.dcmread(file)
    shared = data.SharedFunctionalGroupsSequence[0]
    rows, columns = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    down, right = (float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing)
    for frame, pixels in zip(data.PerFrameFunctionalGroupsSequence, data.pixel_array, strict=True):
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        for row, column in zip(*np.nonzero(pixels), strict=True):
            place = corner + column * right * rows + row * down * columns
            assert found.setdefault(tuple(np.round(place, 3) + 0.0), int(number)) == number
    return data, found


@pytest.mark.parametrize("series", [axial, backwards, oblique, many_frames])
def test_every_voxel_is_where_it_was(tmp_path, series):
    path = series(tmp_path / "series")
    scan = load_scan(path)
    labels = labels_of(scan)
    labels[:, :, 3] = 0
    save_dicom_seg(labels, scan, tmp_path / "seg.dcm", dicom=path, class_names=NAMES, algorithm="my-model")
    data, found = at_places(tmp_path / "seg.dcm")
    voxels = np.argwhere(labels)
    wanted = {
        tuple(np.round(place, 3) + 0.0): int(labels[tuple(voxel)])
        for voxel, place in zip(voxels, scan.to_mm(voxels), strict=True)
    }
    assert found == wanted
    assert (data.FrameOfReferenceUID, data.StudyInstanceUID, str(data.PatientName)) == (FRAME, STUDY, "Doe^Jane")
    assert data.SeriesInstanceUID != SERIES
    assert [segment.SegmentLabel for segment in data.SegmentSequence] == list(NAMES[1:])


def test_highdicom_reads_the_same_label_map(tmp_path):
    path = oblique(tmp_path / "series")
    scan = load_scan(path)
    labels = labels_of(scan)
    save_dicom_seg(labels, scan, tmp_path / "seg.dcm", dicom=path, class_names=NAMES)
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert seg.get_segment_numbers(segment_label="Höhle") == [2]
    volume = seg.get_volume(combine_segments=True)
    index = np.argwhere(volume.array)
    places = volume.map_indices_to_reference(index)
    voxels = np.rint(scan.to_voxels(places)).astype(int)
    read = np.zeros_like(labels)
    read[tuple(voxels.T)] = volume.array[tuple(index.T)]
    np.testing.assert_array_equal(read, labels)


def test_each_frame_names_its_slice(tmp_path):
    path = backwards(tmp_path / "series")
    scan = load_scan(path)
    save_dicom_seg(labels_of(scan), scan, tmp_path / "seg.dcm", dicom=path)
    places = {}
    for file in path.iterdir():
        data = pydicom.dcmread(file)
        places[data.SOPInstanceUID] = [float(value) for value in data.ImagePositionPatient]
    for frame in pydicom.dcmread(tmp_path / "seg.dcm").PerFrameFunctionalGroupsSequence:
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert [float(value) for value in frame.PlanePositionSequence[0].ImagePositionPatient] == places[uid]


def test_nothing_found_is_no_mistake(tmp_path):
    path = axial(tmp_path / "series")
    scan = load_scan(path)
    save_dicom_seg(np.zeros(scan.size, np.uint8), scan, tmp_path / "seg.dcm", dicom=path, class_names=NAMES)
    assert not pydicom.dcmread(tmp_path / "seg.dcm").pixel_array.any()


@pytest.mark.parametrize(("name", "written"), [("lesion", "lesion"), ("left\\right", "left/right")])
def test_the_name_of_an_only_class_is_kept(tmp_path, name, written):
    path = axial(tmp_path / "series")
    scan = load_scan(path)
    labels = (labels_of(scan) > 0).astype(np.uint8)
    save_dicom_seg(labels, scan, tmp_path / "seg.dcm", dicom=path, class_names=[name], algorithm="a\\b")
    assert [one.SegmentLabel for one in pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence] == [written]


def test_no_slice_is_replaced(tmp_path):
    path = axial(tmp_path / "series")
    scan, slices = load_scan(path), sorted(path.iterdir())
    before = slices[0].read_bytes()
    with pytest.raises(InvalidInputError, match="is read, and would be lost"):
        save_dicom_seg(labels_of(scan), scan, slices[0], dicom=path)
    assert slices[0].read_bytes() == before


def test_what_it_cannot_refer_to_is_said(tmp_path):
    path = axial(tmp_path / "series")
    scan = load_scan(path)
    labels, out = labels_of(scan), tmp_path / "seg.dcm"
    with pytest.raises(InvalidInputError, match=r"of shape \(12, 10\)"):
        save_dicom_seg(labels[..., 0], scan, out, dicom=path)
    with pytest.raises(InvalidInputError, match="labels reach 2, and there are names of 1"):
        save_dicom_seg(labels, scan, out, dicom=path, class_names=("background", "lung"))
    with pytest.raises(InvalidInputError, match=r"ends in \.dcm"):
        save_dicom_seg(labels, scan, tmp_path / "seg.nii", dicom=path)
    with pytest.raises(InvalidInputError, match="was not read from"):
        save_dicom_seg(labels, scan, out, dicom=backwards(tmp_path / "other"))
    phase = write_series(tmp_path / "phase", **TAGS | {"SeriesInstanceUID": f"{SERIES}.7"})  # at the same places
    with pytest.raises(InvalidInputError, match="was not read from"):
        save_dicom_seg(labels, scan, out, dicom=phase)
    scan.save(labels, tmp_path / "a.nii.gz")
    with pytest.raises(InvalidInputError, match="is no DICOM file"):
        save_dicom_seg(labels, scan, out, dicom=tmp_path / "a.nii.gz")
    with pytest.raises(ReadError, match="no such"):
        save_dicom_seg(labels, scan, out, dicom=tmp_path / "nowhere.dcm")
    bare = write_series(tmp_path / "bare", StudyInstanceUID=STUDY)
    with pytest.raises(InvalidInputError, match="no FrameOfReferenceUID, which"):
        save_dicom_seg(labels, load_scan(bare), out, dicom=bare)
    assert not out.exists()


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(SgHubError, match=r"highdicom cannot be used .*: pip install 'sg_hub\[dicom-seg\]'"):
        dicom_seg.dicom_frames("series")


def test_its_module_brings_no_highdicom():
    code = "import sys, sg_hub.interop.dicom_seg; print('highdicom' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
