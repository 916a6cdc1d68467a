"""Slices: what a DICOM file says of each of its frames, whether it holds one of them or (enhanced) many."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.formats.dicom.files import SEGMENTATION, without_image
from sg_hub.io.formats.dicom.header import is_lossy, numbers, reading, text, whole

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_RESCALED = {
    f"1.2.840.10008.5.1.4.1.1.{number}": modality
    for modality, numbers_of in (("CT", ("2", "2.1", "2.2")), ("PET", ("128", "128.1", "130")))
    for number in numbers_of
}
"""Storage classes whose stored values mean something by their rescaling alone; those of MR need none."""
_MOST_FRAMES = 1_000_000
_ONE_VOLUME = {
    "time": (("FrameContentSequence", "TemporalPositionIndex"), ("", "TemporalPositionIdentifier")),
    "echo": (("MREchoSequence", "EffectiveEchoTime"), ("", "EchoTime")),
    "number of the echo": (("", "EchoNumbers"),),
    "phase of the heart": (("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),),
    "phase of the breath": (("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),),
    "diffusion weighting": (("MRDiffusionSequence", "DiffusionBValue"),),
    "reconstruction kernel": (("CTReconstructionSequence", "ConvolutionKernel"),),
}
"""What all slices of a volume have in common, and where they say it. Slices of two phases may alternate."""


@dataclass(frozen=True)
class Frame:
    """One slice, without its pixels."""

    file: Path
    number: int | None
    """In its file, from 0 on; None: the only one."""
    size: tuple[int, int]
    """Rows and columns."""
    spacing: tuple[float, ...]
    """Distance of rows and of columns in mm; empty where the file does not say it."""
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    modality: Dataset
    """How stored values become those of the modality (HU): for `pixels.rescaled`."""
    unscaled: str
    """The modality, where its values mean something rescaled only and the file does not say how; else empty."""
    lossy: bool
    """Whether a compression has changed its values."""
    belongs_to: tuple[str, str]
    """Modality and frame of reference, in which its position is."""
    units: str
    """Of its values, where the file says it."""
    volume: dict[str, str]
    """Which of several volumes it is of, by what tells them apart; what the file does not say is left out."""
    part: tuple[str, int, int]
    """Of a volume in several files (a concatenation): its UID, the number of this file, and of how many, or 0 where the
    file does not say it. An empty UID: the file stands alone."""

    def __str__(self) -> str:
        return self.file.name if self.number is None else f"frame {self.number + 1} of {self.file.name}"


class Groups:
    """What a data set says of one frame: in the functional groups of the frame, those that all frames share, or in the
    data set itself."""

    def __init__(self, data: Dataset, number: int | None) -> None:
        per_frame, shared = (data.get(f"{kind}FunctionalGroupsSequence") or [] for kind in ("PerFrame", "Shared"))
        self._data = data
        self._groups = [*shared[:1]]
        if number is not None and number < len(per_frame):
            self._groups.insert(0, per_frame[number])

    def item(self, sequence: str) -> Dataset | None:
        """The group of a kind, such as PlanePositionSequence."""
        return next(iter(self.items(sequence)), None)

    def items(self, sequence: str) -> list[Dataset]:
        """All that there are of a kind, in the groups or in the data set."""
        return next((list(items) for group in (*self._groups, self._data) if (items := group.get(sequence))), [])

    def get(self, sequence: str, keyword: str) -> Any:
        """A value of a group, else of the data set; where no group is named, of the latter."""
        item = self.item(sequence) if sequence else None
        value = item.get(keyword) if item is not None else None
        return self._data.get(keyword) if value is None else value


def frames_of(data: Dataset, path: Path) -> list[Frame]:
    """The frames of a data set, in the file's order.

    Raises:
        ReadError: values that are none.
        InvalidInputError: colours, a film, or frames that have no place in space.
    """
    with reading(path):
        count = frame_count(data, path)
        refuse_no_slices(data, path)
        if count == 1 and "PerFrameFunctionalGroupsSequence" not in data:
            return [_frame(data, path, None, _position(data, Groups(data, None), 1))]
        if text(data, "SOPClassUID") == DOSE:
            positions = _dose_positions(data, path, count)
        else:
            groups = data.get("PerFrameFunctionalGroupsSequence") or []
            if len(groups) not in (0, count):
                raise ReadError(
                    f"{path} says that it holds {count} frames and describes {len(groups)}: export it again"
                )
            positions = [_position(data, Groups(data, number), count) for number in range(count)]
        if not all(positions):
            raise InvalidInputError(
                f"{path} holds {count} frames without a position in space (ImagePositionPatient): a film, such as "
                "an ultrasound or angiography sequence, is no scan. Export it as slices, or convert it to NIfTI"
            )
        return [_frame(data, path, number, place) for number, place in enumerate(positions)]


def frame_count(data: Dataset, path: Path) -> int:
    """Number of frames."""
    count = whole(data, "NumberOfFrames", 1)
    if not 0 < count <= _MOST_FRAMES:
        raise ReadError(f"{path} says that it holds {count} frames: export it again")
    return count


def refuse_no_image(data: Dataset, path: Path) -> None:
    """Raise InvalidInputError for a file that is whole, and of a kind that holds no image: a directory, a report."""
    from pydicom.uid import UID

    with reading(path):
        storage = str(data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID", ""))
    if without_image(storage) and not storage.startswith(SEGMENTATION):
        raise InvalidInputError(
            f"{path} is a DICOM file without an image ({UID(storage).name}); give the folder, or a file, of the images "
            "that it belongs to"
        )


def refuse_no_slices(data: Dataset, path: Path) -> None:
    """Raise InvalidInputError for what holds no grey values."""
    kind = text(data, "PhotometricInterpretation")
    if whole(data, "SamplesPerPixel", 1) > 1 or kind == "PALETTE COLOR":
        raise InvalidInputError(
            f"{path.parent}: colour images ({kind or 'RGB'}) in the series, such as {path.name}; expected grey values, "
            "such as HU"
        )
    if text(data, "SOPClassUID").startswith(SEGMENTATION):
        raise InvalidInputError(
            f"{path} is a DICOM segmentation, whose frames belong to several segments and leave out empty slices; "
            "convert it to a label map in NIfTI (dcmqi: segimage2itkimage)"
        )


def modality_of(data: Dataset, groups: Groups, path: Path) -> Dataset:
    """The modality's lookup table or rescaling of a frame, as a data set of its own; empty where there is none.

    Raises:
        InvalidInputError: half of a rescaling, or one that makes all values the same.
    """
    from pydicom.dataset import Dataset

    own = Dataset()
    item = groups.item("PixelValueTransformationSequence")
    source = data if item is None else item
    if source.get("ModalityLUTSequence"):
        own.ModalityLUTSequence, own.file_meta = source.ModalityLUTSequence, data.file_meta
        return own
    slope, intercept = source.get("RescaleSlope"), source.get("RescaleIntercept")
    if text(data, "SOPClassUID") == DOSE:
        slope, intercept = data.get("DoseGridScaling"), 0.0
    return _linear(slope, intercept, path)


def _linear(slope: Any, intercept: Any, path: Path) -> Dataset:
    from pydicom.dataset import Dataset

    own = Dataset()
    if slope is None and intercept is None:
        return own
    values = numbers([slope, intercept], 2) if slope is not None and intercept is not None else ()
    if not values or values[0] == 0:
        raise InvalidInputError(
            f"{path}: RescaleSlope is {slope} and RescaleIntercept {intercept}; expected two numbers, the first not 0. "
            "Export the image again"
        )
    own.RescaleSlope, own.RescaleIntercept = values
    return own


def _real_world(groups: Groups, path: Path) -> Dataset:
    """From stored values to those of the real world, where a slice gives that and no rescaling. Where it gives several
    ways, of which one would have to be chosen, none is taken."""
    mappings = groups.items("RealWorldValueMappingSequence")
    item: Any = mappings[0] if len(mappings) == 1 else {}
    return _linear(item.get("RealWorldValueSlope"), item.get("RealWorldValueIntercept"), path)


def _units(groups: Groups) -> str:
    """HU, BQML and the like."""
    for sequence, keyword in (("PixelValueTransformationSequence", "RescaleType"), ("", "Units")):
        if value := groups.get(sequence, keyword):
            return str(value).strip("\0 ")
    return ""


def _volume(groups: Groups) -> dict[str, str]:
    found = {}
    for what, places in _ONE_VOLUME.items():
        value = next((value for place in places if (value := groups.get(*place)) not in (None, "")), None)
        if value is not None:
            found[what] = f"{float(value):.3g}" if isinstance(value, (int, float)) else str(value)
    return found


def _part(data: Dataset) -> tuple[str, int, int]:
    uid = text(data, "ConcatenationUID")
    number, count = (whole(data, f"InConcatenation{which}Number", 0) for which in ("", "Total"))
    return (uid, number, count) if uid and count != 1 else ("", 0, 0)


def _frame(data: Dataset, path: Path, number: int | None, position: tuple[float, ...]) -> Frame:
    groups = Groups(data, number)
    orientation = numbers(groups.get("PlaneOrientationSequence", "ImageOrientationPatient"), 6)
    if not position or not orientation:
        raise InvalidInputError(
            f"{path}: no ImagePositionPatient or ImageOrientationPatient, so the slices cannot be put in "
            "order; export the series as CT, MR or PET slices (not as secondary capture), or convert it to "
            "NIfTI"
        )
    spacing = numbers(groups.get("PixelMeasuresSequence", "PixelSpacing"), 2)
    if spacing and min(spacing) <= 0:
        spacing = ()
    size = (whole(data, "Rows", 0), whole(data, "Columns", 0))
    if min(size) < 1:
        raise ReadError(f"{path} has {size[0]} rows and {size[1]} columns: export it again")
    modality, belongs_to = modality_of(data, groups, path), (text(data, "Modality"), text(data, "FrameOfReferenceUID"))
    modality = modality if len(modality) else _real_world(groups, path)
    unscaled = "" if len(modality) else _RESCALED.get(text(data, "SOPClassUID"), "")
    return Frame(
        path,
        number,
        size,
        spacing,
        position,
        orientation,
        modality,
        unscaled,
        is_lossy(data),
        belongs_to,
        _units(groups),
        _volume(groups),
        _part(data),
    )


def _position(data: Dataset, groups: Groups, count: int) -> tuple[float, ...]:
    """Of the first pixel of a frame; of many frames each has its own."""
    item = groups.item("PlanePositionSequence")
    value = item.get("ImagePositionPatient") if item is not None else None
    if value is None and count == 1:
        value = data.get("ImagePositionPatient")
    return numbers(value, 3)


def _dose_positions(data: Dataset, path: Path, count: int) -> list[tuple[float, ...]]:
    """Of the planes of a radiotherapy dose: PS3.3, C.8.8.3.2."""
    first = np.array(numbers(data.get("ImagePositionPatient"), 3))
    sides = np.array(numbers(data.get("ImageOrientationPatient"), 6)).reshape(-1, 3)
    offsets = numbers(data.get("GridFrameOffsetVector"), count)
    if first.size == 0 or sides.size == 0 or not offsets:
        raise InvalidInputError(
            f"{path}: a dose without the places of its planes (GridFrameOffsetVector); export again"
        )
    normal = np.cross(sides[0], sides[1])
    relative = np.array(offsets) - offsets[0]
    if offsets[0] != 0 and not np.allclose((offsets[0], *normal), (first[2], 0, 0, 1), atol=1e-2):
        raise InvalidInputError(
            f"{path}: the first plane of a dose is at {first[2]:g} mm along z (ImagePositionPatient) and at "
            f"{offsets[0]:g} (GridFrameOffsetVector); expected 0 there, or in axial planes the same: export again"
        )
    return [tuple((first + step * normal).tolist()) for step in relative]
