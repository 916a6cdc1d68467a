"""A label map of a DICOM series as a DICOM segmentation (DICOM-SEG), written by highdicom."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError, SgHubError, shortened
from sg_hub.extras import from_extra
from sg_hub.io.files import check_output, given_path, writing
from sg_hub.io.formats.dicom.files import is_dicom
from sg_hub.io.formats.dicom.frames import Frame
from sg_hub.io.formats.dicom.header import read_header, reading
from sg_hub.io.formats.dicom.series import ordered_frames
from sg_hub.io.scan import Scan
from sg_hub.models.heads import found_names
from sg_hub.version import __version__

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SUFFIX = ".dcm"
EXTRA = "dicom-seg"
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
"""Of every slice: without them nobody can tell what a segmentation belongs to, and none is made up."""
_PATIENT = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate")
_MAY_BE_EMPTY = (*_PATIENT, "StudyTime", "ReferringPhysicianName")
_LONGEST_NAME = 64
"""Letters of a segment's label (VR LO)."""
_SCHEME = "99SGHUB"
_CATEGORY = ("123037004", "SCT", "Body structure")
_UTF_8 = "ISO_IR 192"


def dicom_frames(path: str | os.PathLike[str], series: str | None = None) -> list[Frame]:
    """The slices of a series, in the order in which `load_scan` puts them, when a segmentation can refer to them.

    Args:
        path, series: as they were given to `load_scan`.

    Raises:
        InvalidInputError: no DICOM series, but another file.
        ReadError: as for `load_scan`.
        SgHubError: highdicom is not installed.
    """
    from_extra("highdicom", EXTRA)
    place = given_path(path, "the folder of a DICOM series")
    if not place.exists():
        raise ReadError(f"{place}: no such file or folder; check the path")
    if place.is_file() and not is_dicom(place):
        raise InvalidInputError(
            f"{place} is no DICOM file, and a DICOM segmentation refers to the slices of a series: give the folder of "
            "the series, or write the labels as .nii.gz"
        )
    frames = ordered_frames(place, series)
    if len({frame.file for frame in frames}) > 1 and any(frame.number is not None for frame in frames):
        raise InvalidInputError(f"{place}: a volume out of several files of many frames; give one of them")
    return frames


def save_dicom_seg(
    labels: Any,
    scan: Scan,
    path: str | os.PathLike[str],
    *,
    dicom: str | os.PathLike[str],
    series: str | None = None,
    class_names: Sequence[str] = (),
    algorithm: str = "sg_hub",
) -> Path:
    """Write a label map as a DICOM segmentation: one segment a class, frame by frame on the slices of the series.

    Patient, study, frame of reference, positions and orientation are those of the series; each frame names the slice
    that it lies on. Segment i is class i; classes without a voxel are described and have no frame.

    Args:
        labels: (X, Y, Z) whole numbers on the scan's grid, numpy or torch; 0 is background.
        scan: as `load_scan(dicom, series=series)` gave it.
        path: .dcm; an older file of that name stays until the new one is complete.
        dicom, series: what the scan was read from.
        class_names: as `model.class_names` has them, the background first but where there is one name; absent: class 1
            and so on.
        algorithm: what made the labels, such as the name of the weights.

    Raises:
        InvalidInputError: labels of another size or without a name, a series that is not the scan's, or one without
            what a segmentation refers to (study, frame of reference).
        ReadError: slices that cannot be read, or a file that cannot be written.
        SgHubError: highdicom is not installed, or refuses the series.
    """
    path = check_output(path, (SUFFIX,))
    frames = dicom_frames(dicom, series)
    check_output(path, (SUFFIX,), [frame.file for frame in frames])
    planes = _planes(labels, scan)
    sources = _sources(frames, scan)
    _check_same_scan(scan, frames, str(sources[0].SeriesInstanceUID), dicom)
    highest = int(planes.max(initial=0))
    names = [*found_names(class_names)] or [f"class {number}" for number in range(1, max(highest, 1) + 1)]
    if highest > len(names):
        raise InvalidInputError(f"labels reach {highest}, and there are names of {len(names)} classes: {names}")
    if frames[0].number is not None:  # in the order of the file's frames
        planes = planes[np.argsort([frame.number or 0 for frame in frames])]
    written = _segmentation(sources, planes, names, algorithm)
    with writing(path) as file:
        written.save_as(file)
    return path


def _planes(labels: Any, scan: Scan) -> np.ndarray:
    """(slices, rows, columns) as the series has them."""
    array = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if array.shape != scan.size or array.dtype.kind not in "iub":
        raise InvalidInputError(
            f"labels of shape {array.shape} and type {array.dtype}: expected whole numbers of shape {scan.size}, the "
            "size of the scan that they belong to, as predict(..., output='labels') gives them"
        )
    if array.dtype.kind == "i" and array.min(initial=0) < 0:
        raise InvalidInputError(f"labels reach {array.min()}: expected 0 for background, and classes from 1 on")
    view = scan.file_grid.file_view(array) if scan.file_grid else array
    return np.ascontiguousarray(view.transpose(2, 1, 0)).astype(np.uint16 if array.max(initial=0) > 255 else np.uint8)


def _check_same_scan(scan: Scan, frames: Sequence[Frame], uid: str, dicom: Any) -> None:
    """The same series where the scan says its own, and the same places: another phase has these, too."""
    grid, (_, said, own) = scan.file_grid, scan.source.rpartition(" (series ")
    same = not said or own == f"{uid})"
    same = same and grid is not None and grid.size == (frames[0].size[1], frames[0].size[0], len(frames))
    if grid is not None and same:
        steps = np.outer(np.arange(len(frames)), np.array(grid.direction).reshape(3, 3)[:, 2] * grid.spacing[2])
        apart = np.abs(np.array([frame.position for frame in frames]) - (np.array(grid.origin) + steps)).max()
        same = bool(apart <= min(grid.spacing) / 2)
    if not same:
        raise InvalidInputError(
            f"the scan ({scan.source}) was not read from {dicom}: give the series as it was given to load_scan"
        )


def _sources(frames: Sequence[Frame], scan: Scan) -> list[Dataset]:
    """The slices without their pixels, in order; one data set where a file holds them all."""
    found = []
    across, down, between = scan.file_grid.spacing if scan.file_grid else scan.spacing
    measures = {"SliceThickness": between, "PixelSpacing": [down, across]} if frames[0].number is None else {}
    for file in dict.fromkeys(frame.file for frame in frames):
        data = read_header(file)
        absent = [keyword for keyword in _NEEDED if not data.get(keyword)]
        if absent:
            raise InvalidInputError(
                f"{file} has no {' and no '.join(absent)}, which a DICOM segmentation refers to, and nothing is made "
                "up: export the series again, or write the labels as .nii.gz"
            )
        for keyword in _MAY_BE_EMPTY:
            if keyword not in data:
                setattr(data, keyword, None)
        for keyword, value in measures.items():
            if not data.get(keyword):  # the distance of slices is known, and the spacing may have been given
                setattr(data, keyword, value)
        with reading(file):
            data.decode()
        data.SpecificCharacterSet = _UTF_8
        found.append(data)
    return found


def _text(name: str) -> str:
    """A name as DICOM can hold it, where a backslash parts values from one another."""
    return name.replace("\\", "/")[:_LONGEST_NAME]


def _segmentation(sources: list[Dataset], planes: np.ndarray, names: Sequence[str], algorithm: str) -> Any:
    highdicom, seg = from_extra("highdicom", EXTRA), from_extra("highdicom.seg", EXTRA)
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    names, algorithm = [_text(name) for name in names], _text(algorithm)
    made_by = highdicom.AlgorithmIdentificationSequence(
        name=algorithm, version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    segments = [
        seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=Code(*_CATEGORY),
            segmented_property_type=Code(f"CLASS{number}", _SCHEME, name),
            algorithm_type=seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=made_by,
        )
        for number, name in enumerate(names, 1)
    ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing was found is no mistake
            return seg.Segmentation(
                source_images=sources,
                pixel_array=planes,
                segmentation_type=seg.SegmentationTypeValues.BINARY,
                segment_descriptions=segments,
                series_instance_uid=highdicom.UID(),
                series_number=int(sources[0].get("SeriesNumber") or 0) % 10000 + 1000,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="sg_hub",
                manufacturer_model_name=algorithm,
                software_versions=__version__,
                device_serial_number="0",
                content_label="SEGMENTATION",
                series_description=f"Segmentation by {algorithm}"[:_LONGEST_NAME],
                specific_character_set=_UTF_8,
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SgHubError(
            f"highdicom cannot refer to the series {sources[0].SeriesInstanceUID} ({shortened(error, 200)}): write the "
            "labels as .nii.gz"
        ) from error
