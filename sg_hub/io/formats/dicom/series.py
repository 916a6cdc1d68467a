"""A DICOM series from a folder, or the frames of one file: found, checked slice by slice, sorted along the slices'
normal, read."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.io.finder import walk
from sg_hub.io.formats.dicom.files import SUFFIXES, is_dicom, without_image
from sg_hub.io.formats.dicom.frames import Frame, frame_count, frames_of, refuse_no_image
from sg_hub.io.formats.dicom.header import read_dataset, read_header, reading, text
from sg_hub.io.formats.dicom.pixels import Pixels, rescaled
from sg_hub.io.formats.limits import refuse_large
from sg_hub.io.formats.orientation import Stored, triple
from sg_hub.io.formats.others import other_format_of

_log = logging.getLogger(__name__)
_MOST_SERIES = 20
_MOST_FOLDERS = 1000
_GAP_TOLERANCE = 0.1
"""Share of the slice distance by which single distances may differ from it."""
_DRIFT_TOLERANCE = 0.25
"""Share of the slice distance by which a slice may lie elsewhere than at its number times that distance; within the
plane of the slices, of a pixel's side where that is longer."""
_MOST_PARTS = 10_000
_TILT_TOLERANCE = 0.01
"""Shift between slices within their plane, as a share of their distance."""
_TELLS = ["SOPClassUID", "SeriesInstanceUID", "SeriesDescription", "Rows"]
# Media storage classes of slices: CT, MR, PET, and all three enhanced or converted to it.
_SLICE_CLASSES = {
    f"1.2.840.10008.5.1.4.1.1.{number}"
    for number in ("2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "128", "128.1", "130")
}
_SCAN_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")


@dataclass(frozen=True)
class Series:
    """One series in one folder."""

    uid: str
    files: tuple[str, ...]
    description: str

    def __str__(self) -> str:
        return f"{self.uid}: {len(self.files)} files, {self.description or 'no description'} ({self.folder})"

    @property
    def folder(self) -> Path:
        return Path(self.files[0]).parent


def read_folder(folder: Path, series: str | None = None) -> Stored:
    """The series in a folder, or in its subfolders where it holds none itself.

    Args:
        series: SeriesInstanceUID; needed where there are several.

    Raises:
        ReadError: no series, a damaged file.
        InvalidInputError: several series, or slices that make no regular volume.
    """
    return _stored(*_in_folder(folder, series))


def read_beside(path: Path, series: str | None = None) -> Stored:
    """The whole series that one DICOM file belongs to; a file with several frames is a volume of its own, if it does
    not say that it is a part of one."""
    return _stored(*_beside(path, series))


def ordered_frames(path: Path, series: str | None = None) -> list[Frame]:
    """The slices of a series in the order in which a scan of it has them, along the third axis of its file's grid.

    Args:
        path: a folder, or a DICOM file, as for `read_folder` and `read_beside`, whose errors are raised.
    """
    frames, where = _in_folder(path, series) if path.is_dir() else _beside(path, series)
    return sort_frames(where, frames)[0]


def _in_folder(folder: Path, series: str | None) -> tuple[list[Frame], str]:
    found, damaged = _look_through(folder)
    if not found:
        raise damaged[0] if damaged else ReadError(_nothing_in(folder))
    chosen = choose(found, series, folder)
    for error in damaged:  # a slice at the end of the scan would be missed by nobody
        if error.path.parent == chosen.folder:
            raise error
    frames = [frame for file in chosen.files for frame in frames_of(read_header(Path(file)), Path(file))]
    return frames, f"{chosen.folder} (series {chosen.uid})"


def _beside(path: Path, series: str | None) -> tuple[list[Frame], str]:
    data = read_header(path)
    refuse_no_image(data, path)
    with reading(path):
        count, uid = frame_count(data, path), text(data, "SeriesInstanceUID")
    if count > 1:
        own = frames_of(data, path)
        if not own[0].part[0]:
            return own, str(path)
        frames, _ = _in_folder(path.parent, series or uid)
        return [frame for frame in frames if frame.part[0] == own[0].part[0]], str(path)
    if not uid:
        raise ReadError(f"{path} has no SeriesInstanceUID: give the folder of the series")
    return _in_folder(path.parent, series or uid)


def count_frames(path: Path) -> int:
    """Frames of a DICOM file.

    Raises:
        ReadError: a damaged file.
    """
    data = read_header(path)
    with reading(path):
        return frame_count(data, path)


def find_series(folder: Path) -> list[Series]:
    """Series of the folder itself, else of its subfolders (the first 20); damaged files are left out."""
    return _look_through(folder)[0]


class _DamagedError(ReadError):
    """A file that should be a slice and cannot be read."""

    def __init__(self, path: Path) -> None:
        other = other_format_of(path) or "is a truncated or damaged DICOM slice: copy or export it again"
        super().__init__(f"{path} {other}; move it out of the folder if it is not of the series")
        self.path = path


def _look_through(folder: Path) -> tuple[list[Series], list[_DamagedError]]:
    found: list[Series] = []
    damaged: list[_DamagedError] = []
    own: set[str] = set()
    """Series of the folder itself. Below it one file of a folder says whether one of them goes on there."""
    for number, (root, names) in enumerate(walk(folder)):
        files: dict[str, list[str]] = {}
        descriptions: dict[str, str] = {}
        for path in (root / name for name in names):
            try:
                uid, description = _told(path)
            except _DamagedError as error:
                damaged.append(error)
                continue
            if uid:
                files.setdefault(uid, []).append(str(path))
                descriptions.setdefault(uid, description)
            if uid and own:
                break
        found += [Series(uid, tuple(paths), descriptions[uid]) for uid, paths in files.items() if not own or uid in own]
        own = {entry.uid for entry in found} if number == 0 else own
        if len(found) >= _MOST_SERIES or number >= _MOST_FOLDERS:
            break
    return found, damaged


def _told(path: Path) -> tuple[str, str]:
    """SeriesInstanceUID and description of a file; empty for one that holds no image.

    Raises:
        _DamagedError: it should hold one and cannot be read.
    """
    if not path.is_file() or (path.stat().st_size == 0 and not path.name.lower().endswith(SUFFIXES)):
        return "", ""
    if not is_dicom(path):
        return "", ""
    try:
        data = read_header(path, _TELLS)
        with reading(path):
            uid, storage = text(data, "SeriesInstanceUID"), text(data, "SOPClassUID")
            has_rows, description = "Rows" in data, text(data, "SeriesDescription")
            storage = storage or str(data.file_meta.get("MediaStorageSOPClassUID", ""))
    except ReadError as error:
        raise _DamagedError(path) from error
    if uid and has_rows and not without_image(storage):
        return uid, description
    if storage in _SLICE_CLASSES or not storage:
        raise _DamagedError(path)
    return "", ""


def choose(found: Sequence[Series], series: str | None, folder: Path) -> Series:
    """The series that is meant: the only one, or the one of that UID."""
    listed = "".join(f"\n  {entry}" for entry in found[:_MOST_SERIES])
    if series is not None:
        matching = [entry for entry in found if entry.uid == series]
        if not matching:
            raise InvalidInputError(f"{folder} has no series {series!r}; give one of:{listed}")
        found = matching
    if len(found) > 1 and len({entry.uid for entry in found}) == 1:
        raise InvalidInputError(
            f"{folder}: series {found[0].uid} is in several folders, {found[0].folder} and {found[1].folder}: put all "
            "of its slices into one, or move copies of it elsewhere"
        )
    if len(found) > 1:
        raise InvalidInputError(
            f"{folder} holds {len(found)} DICOM series, and one is expected; choose with load_scan(path, "
            f"series=UID) (command: --series UID), or give the folder of one:{listed}"
        )
    return found[0]


def _stored(frames: Sequence[Frame], where: str) -> Stored:
    """Checked and in order; the third axis points along the normal of the slices."""
    ordered, distance = sort_frames(where, frames)
    first = ordered[0]
    rows, columns = first.size
    refuse_large(where, (rows, columns, len(ordered)))
    sides = np.array(first.orientation).reshape(2, 3)
    sides = sides / np.linalg.norm(sides, axis=1, keepdims=True)
    direction = np.column_stack([*sides, np.cross(*sides)])
    apart = first.spacing[::-1] or (None, None)
    if first.belongs_to[0] == "CT" and first.units.upper() not in ("", "HU", "HU_MOD"):
        _log.warning("%s is CT with values in %s (RescaleType), not in HU", where, shortened(first.units, 20))
    return Stored(
        where,
        (columns, rows, len(ordered)),
        1,
        _planes(ordered),
        (*apart, distance),
        "PixelSpacing",
        triple(first.position),
        tuple(direction.ravel().tolist()),
        measured=True,
        modality=first.belongs_to[0],
        unscaled=_unscaled(where, ordered),
        lossy=next((str(frame.file) for frame in ordered if frame.lossy), ""),
    )


def _unscaled(where: str, frames: Sequence[Frame]) -> str:
    """The modality, where no slice says what its stored values mean, and they have to; else empty.

    Raises:
        InvalidInputError: some do, and others do not.
    """
    unscaled = [frame for frame in frames if not len(frame.modality)]
    if 0 < len(unscaled) < len(frames) and (unscaled[0].unscaled or not all(map(_keeps_values, frames))):
        raise InvalidInputError(
            f"{where}: {unscaled[0]} has no RescaleSlope and RescaleIntercept, and other slices have: export the "
            "series again"
        )
    return unscaled[0].unscaled if unscaled else ""


def _keeps_values(frame: Frame) -> bool:
    """Whether the values of a slice are those that are stored, by what it says or because it says nothing."""
    said = frame.modality
    return not len(said) or (said.get("RescaleSlope"), said.get("RescaleIntercept")) == (1, 0)


def _planes(frames: Sequence[Frame]) -> Iterator[np.ndarray]:
    """(1, rows, columns) of each, rescaled by its own numbers; a file of many frames is read once."""
    file = None
    with Pixels() as pixels:
        for frame in frames:
            if file != frame.file:
                data, file = read_dataset(frame.file), frame.file
            yield rescaled(pixels.stored(data, frame.file, frame.number), frame.modality, frame.file)[None]


def sort_frames(where: str, frames: Sequence[Frame]) -> tuple[list[Frame], float]:
    """Slices in order along their normal, and their distance in mm.

    Raises:
        InvalidInputError: one slice only; differing sizes or orientations; two slices at one place; a gap;
            a tilted gantry.
    """
    first = frames[0]
    if len(frames) == 1:
        raise InvalidInputError(
            f"{where}: one slice only, a 2D image; expected all the slices of a 3D scan in one folder"
        )
    for entry in frames:
        same = entry.size == first.size and len(entry.spacing) == len(first.spacing)
        same = same and np.allclose(entry.spacing, first.spacing, rtol=1e-3)
        if not same or not np.allclose(entry.orientation, first.orientation, atol=1e-3):
            raise InvalidInputError(
                f"{where}: {entry} differs from {first} in size, pixel "
                "spacing or orientation; put the slices of one volume (no localizer) into a folder of "
                "their own"
            )
        if entry.belongs_to != first.belongs_to:
            raise InvalidInputError(
                f"{where}: {entry} differs from {first} in modality or frame of reference "
                f"({' '.join(entry.belongs_to)}, not {' '.join(first.belongs_to)}), so their positions cannot be "
                "compared; put the slices of one volume into a folder of their own"
            )
    _check_one_volume(where, frames)
    rows, columns = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(rows, columns)
    if not np.linalg.norm(normal) >= 1e-3:
        raise InvalidInputError(f"{where}: ImageOrientationPatient {first.orientation} is singular; export it again")
    normal /= np.linalg.norm(normal)
    ordered = sorted(frames, key=lambda entry: float(normal @ entry.position))
    steps = np.diff(np.array([entry.position for entry in ordered]), axis=0)
    gaps = steps @ normal
    _check_gaps(where, ordered, gaps)
    _check_drift(where, gaps)
    aside = steps - gaps[:, None] * normal
    shift, away = np.abs(aside).max(), np.abs(aside.cumsum(0)).max()
    if (shift > _TILT_TOLERANCE * np.median(gaps) and shift > 0.01) or (
        away > _DRIFT_TOLERANCE * max([gaps.mean(), *first.spacing])
    ):
        angle = np.degrees(np.arctan2(shift, np.median(gaps)))
        raise InvalidInputError(
            f"{where}: the slices are shifted against each other by {shift:.2f} mm per slice, {away:.1f} mm in all "
            f"(gantry tilt of {angle:.1f} degrees); expected a rectangular volume: correct the tilt first, for example "
            "with dcm2niix"
        )
    return ordered, float(gaps.mean())


def _check_one_volume(where: str, frames: Sequence[Frame]) -> None:
    """Refuse slices of several phases or in several units, and volumes in several files of which not all are there."""
    said: dict[str, dict[str, Frame]] = {}
    for frame in frames:
        for what, value in (frame.volume | ({"unit of the values": frame.units} if frame.units else {})).items():
            said.setdefault(what, {}).setdefault(value, frame)
    for what, values in said.items():
        if len(values) > 1:
            (one, first), (other, second) = list(values.items())[:2]
            raise InvalidInputError(
                f"{where}: {second} is of another {what} ({shortened(other, 60)}) than {first} ({shortened(one, 60)}); "
                "expected one volume: put every phase, echo or reconstruction into a folder (or file) of its own"
            )
    for uid in {frame.part[0] for frame in frames if frame.part[0]}:
        numbers = {frame.part[1] for frame in frames if frame.part[0] == uid}
        count = max(*(frame.part[2] for frame in frames if frame.part[0] == uid), *numbers, 2)
        missing = sorted({*range(1, min(count, _MOST_PARTS) + 1)} - numbers)
        if missing:
            raise ReadError(
                f"{where}: part {missing[0]} of {count} of a volume in several files (ConcatenationUID) is missing: "
                "copy or export the series again, completely"
            )


def _check_gaps(where: str, ordered: Sequence[Frame], gaps: np.ndarray) -> None:
    """Refuse two slices at one place, and missing ones."""
    distance = float(np.median(gaps[gaps > 1e-3])) if (gaps > 1e-3).any() else 0.0
    for (one, other), gap in zip(itertools.pairwise(ordered), gaps, strict=True):
        names = f"{one} and {other}"
        if gap < 1e-3 or gap < _GAP_TOLERANCE * distance:
            raise InvalidInputError(
                f"{where}: {names} are at the same position{_volumes(ordered, distance)}; expected one slice per "
                "place. Remove copies, and put every phase, echo or reconstruction into a folder (or file) of its own"
            )
        if gap > (1 + _GAP_TOLERANCE) * distance:
            missing = round(gap / distance) - 1
            what = f"{missing} missing slice(s)" if missing else "slices at unequal distances"
            raise InvalidInputError(
                f"{where}: {what} between {names} ({gap:.2f} mm apart, the others {distance:.2f} mm); "
                "expected evenly spaced slices: export or copy the series again, completely"
            )
        if gap < (1 - _GAP_TOLERANCE) * distance:
            raise InvalidInputError(
                f"{where}: {names} are {gap:.2f} mm apart, the others {distance:.2f} mm; expected evenly "
                "spaced slices: put one reconstruction into the folder, or resample it"
            )


def _check_drift(where: str, gaps: np.ndarray) -> None:
    """Refuse distances that change a little from slice to slice, and by much over all of them."""
    distance = float(gaps.mean())
    away = np.abs(np.cumsum(gaps) - distance * np.arange(1, len(gaps) + 1)).max()
    if away > _DRIFT_TOLERANCE * distance:
        raise InvalidInputError(
            f"{where}: slices at unequal distances, {gaps.min():.4g} to {gaps.max():.4g} mm: at {distance:.4g} mm each "
            f"some would lie {away:.2f} mm from where they are; expected evenly spaced slices: put one reconstruction "
            "into the folder, or resample it"
        )


def _volumes(frames: Sequence[Frame], distance: float) -> str:
    """How many volumes there are, where the same places come again and again."""
    step = distance * _GAP_TOLERANCE or 1e-3
    places = Counter(tuple(np.round(np.array(frame.position) / step).tolist()) for frame in frames)
    times = set(places.values())
    if len(times) != 1 or times == {1}:
        return ""
    return f" ({times.pop()} volumes of {len(places)} slices in one)"


def _nothing_in(folder: Path) -> str:
    expected = "expected a folder with the slices of one DICOM series"
    files = sorted(path for path in folder.iterdir() if path.is_file())
    scans = [path for path in files if path.name.lower().endswith(_SCAN_SUFFIXES)]
    if scans:
        more = f" (and {len(scans) - 1} more scans)" if len(scans) > 1 else ""
        return f"{folder} holds no DICOM series; give a file instead: {scans[0]}{more}"
    held = ", ".join(path.name for path in files[:3]) or "no files"
    return f"{folder} holds no scan (it holds {held}): {expected}, or a NIfTI, MHA/MHD or NRRD file"
