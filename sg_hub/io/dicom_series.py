"""A DICOM series from a folder: found, checked slice by slice, sorted along the slices' normal, read."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError

if TYPE_CHECKING:
    import SimpleITK as sitk

_MOST_SERIES = 20
_MOST_FOLDERS = 1000
_GAP_TOLERANCE = 0.1
"""Share of the slice distance by which single distances may differ from it."""
_TILT_TOLERANCE = 0.01
"""Shift between slices within their plane, as a share of their distance."""
# Media storage classes of slices: CT, enhanced CT, MR, enhanced MR, PET, enhanced PET.
_SLICE_CLASSES = {f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "2.1", "4", "4.1", "128", "130")}
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


@dataclass(frozen=True)
class Slice:
    """The header of one file of a series."""

    file: str
    size: tuple[int, ...]
    components: int
    spacing: tuple[float, ...]
    position: tuple[float, ...]
    orientation: tuple[float, ...]


def read_folder(folder: Path, series: str | None = None) -> tuple[sitk.Image, str]:
    """The series in a folder, or in its subfolders where it holds none itself.

    Args:
        series: SeriesInstanceUID; needed where there are several.

    Returns:
        the image (HU for CT, 32-bit float) and where it was read from.

    Raises:
        ReadError: no series, a damaged file.
        InvalidInputError: several series, or slices that make no regular volume.
    """
    found = find_series(folder)
    if not found:
        raise ReadError(_nothing_in(folder))
    chosen = choose(found, series, folder)
    _refuse_damaged(chosen)
    return read_series(chosen), f"{chosen.folder} (series {chosen.uid})"


def read_beside(path: Path, series: str | None = None) -> tuple[sitk.Image, str]:
    """The whole series that one DICOM file belongs to; a file with several frames is a volume of its own."""
    import SimpleITK as sitk

    reader = _header(str(path))
    if len(reader.GetSize()) == 3 and reader.GetSize()[2] > 1:
        return sitk.ReadImage(str(path), sitk.sitkUnknown, "GDCMImageIO"), str(path)
    uid = _tag(reader, "0020|000e")
    if not uid:
        raise ReadError(f"{path} has no SeriesInstanceUID: give the folder of the series")
    return read_folder(path.parent, series or uid)


def find_series(folder: Path) -> list[Series]:
    """Series of the folder itself, else of its subfolders (the first 20)."""
    import SimpleITK as sitk

    found: list[Series] = []
    for number, (root, folders, _) in enumerate(os.walk(folder)):
        folders.sort()
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(root):
            files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(root, uid)
            if files:
                found.append(Series(uid.strip("\0 "), tuple(files), _tag(_header(files[0]), "0008|103e")))
        if (found and number == 0) or len(found) >= _MOST_SERIES or number >= _MOST_FOLDERS:
            break
    return found


def choose(found: Sequence[Series], series: str | None, folder: Path) -> Series:
    """The series that is meant: the only one, or the one of that UID."""
    listed = "".join(f"\n  {entry}" for entry in found)
    if series is not None:
        matching = [entry for entry in found if entry.uid == series]
        if not matching:
            raise InvalidInputError(f"{folder} has no series {series!r}; give one of:{listed}")
        found = matching
        if len(found) > 1:
            raise InvalidInputError(
                f"{folder}: series {series} is in several folders; give one of the folders:{listed}"
            )
    if len(found) > 1:
        raise InvalidInputError(
            f"{folder} holds {len(found)} DICOM series, and one is expected; choose with load_scan(path, "
            f"series=UID) (command: --series UID), or give the folder of one:{listed}"
        )
    return found[0]


def read_series(series: Series) -> sitk.Image:
    """Check, sort and read the slices; the third axis points along the normal of the slices."""
    import SimpleITK as sitk

    slices = [read_slice(file) for file in series.files]
    if slices[0].components > 1:
        raise InvalidInputError(f"{series.folder}: colour images (RGB) in the series; expected grey values, such as HU")
    if len(slices) == 1 and slices[0].size[2] > 1:
        return sitk.ReadImage(slices[0].file, sitk.sitkUnknown, "GDCMImageIO")
    slices, distance = sort_slices(series, slices)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([entry.file for entry in slices])
    reader.SetOutputPixelType(sitk.sitkFloat32)  # slope and intercept can differ by slice
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise ReadError(_damaged_slice(slices, error)) from error
    image.SetSpacing((*image.GetSpacing()[:2], distance))
    return image


def read_slice(file: str) -> Slice:
    """The header of one file."""
    reader = _header(file)
    position = _numbers(_tag(reader, "0020|0032"))
    orientation = _numbers(_tag(reader, "0020|0037"))
    multi_frame = len(reader.GetSize()) == 3 and reader.GetSize()[2] > 1
    if not multi_frame and (len(position) != 3 or len(orientation) != 6):
        raise InvalidInputError(
            f"{file}: no ImagePositionPatient or ImageOrientationPatient, so the slices cannot be put in "
            "order; export the series as CT, MR or PET slices (not as secondary capture), or convert it to "
            "NIfTI"
        )
    return Slice(file, reader.GetSize(), reader.GetNumberOfComponents(), reader.GetSpacing(), position, orientation)


def sort_slices(series: Series, slices: Sequence[Slice]) -> tuple[list[Slice], float]:
    """Slices in order along their normal, and their distance in mm.

    Raises:
        InvalidInputError: one slice only; differing sizes or orientations; two slices at one place; a gap;
            a tilted gantry.
    """
    where = f"{series.folder} (series {series.uid})"
    first = slices[0]
    if len(slices) == 1:
        raise InvalidInputError(
            f"{where}: one slice only, a 2D image; expected all the slices of a 3D scan in one folder"
        )
    for entry in slices:
        same = entry.size == first.size and np.allclose(entry.spacing[:2], first.spacing[:2], rtol=1e-3)
        if not same or not np.allclose(entry.orientation, first.orientation, atol=1e-3):
            raise InvalidInputError(
                f"{where}: {Path(entry.file).name} differs from {Path(first.file).name} in size, pixel "
                "spacing or orientation; put the slices of one volume (no localizer) into a folder of "
                "their own"
            )
    rows, columns = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(rows, columns)
    if np.linalg.norm(normal) < 1e-3:
        raise InvalidInputError(f"{where}: ImageOrientationPatient {first.orientation} is singular; export it again")
    normal /= np.linalg.norm(normal)
    ordered = sorted(slices, key=lambda entry: float(normal @ entry.position))
    steps = np.diff(np.array([entry.position for entry in ordered]), axis=0)
    gaps = steps @ normal
    _check_gaps(where, ordered, gaps)
    shift = np.abs(steps - gaps[:, None] * normal).max()
    if shift > _TILT_TOLERANCE * np.median(gaps) and shift > 0.01:
        angle = np.degrees(np.arctan2(shift, np.median(gaps)))
        raise InvalidInputError(
            f"{where}: the slices are shifted against each other by {shift:.2f} mm per slice (gantry tilt "
            f"of {angle:.1f} degrees); expected a rectangular volume: correct the tilt first, for example "
            "with dcm2niix"
        )
    return ordered, float(gaps.mean())


def _check_gaps(where: str, ordered: Sequence[Slice], gaps: np.ndarray) -> None:
    """Refuse two slices at one place, and missing ones."""
    distance = float(np.median(gaps))
    for (one, other), gap in zip(itertools.pairwise(ordered), gaps, strict=True):
        names = f"{Path(one.file).name} and {Path(other.file).name}"
        if gap < 1e-3 or gap < _GAP_TOLERANCE * distance:
            raise InvalidInputError(
                f"{where}: {names} are at the same position; expected one file per slice. Remove copies, "
                "and put every phase or reconstruction into a folder of its own"
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


def _refuse_damaged(series: Series) -> None:
    """GDCM leaves out files that it cannot read; a slice at the end of the scan would be missed by nobody."""
    listed = {os.path.basename(file) for file in series.files}
    import SimpleITK as sitk

    for path in sorted(series.folder.iterdir()):
        if path.name in listed or not path.is_file() or not _is_slice(path):
            continue
        if sitk.ImageFileReader.GetImageIOFromFileName(str(path)) != "GDCMImageIO":
            raise ReadError(
                f"{path} is a truncated or damaged DICOM slice: copy or export it again, or move it out of the folder"
            )


def _is_slice(path: Path) -> bool:
    """Whether the file calls itself a CT, MR or PET image, or is an empty file named like one."""
    with open(path, "rb") as file:
        head = file.read(1024)
    if not head:
        return path.suffix.lower() == ".dcm"
    if head[128:132] != b"DICM":
        return False
    start = head.find(b"\x02\x00\x02\x00UI")
    if start < 0:
        return False
    length = int.from_bytes(head[start + 6 : start + 8], "little")
    return head[start + 8 : start + 8 + length].decode("latin-1").strip("\0 ") in _SLICE_CLASSES


def _damaged_slice(slices: Sequence[Slice], error: RuntimeError) -> str:
    """Which slice it was that stopped the series from being read."""
    import SimpleITK as sitk

    for entry in slices:
        try:
            sitk.ReadImage(entry.file)
        except RuntimeError:
            return f"{entry.file} is a truncated or damaged DICOM slice: copy or export it again"
    return f"{Path(slices[0].file).parent}: the series cannot be read ({str(error).splitlines()[-1]}): export it again"


def _nothing_in(folder: Path) -> str:
    expected = "expected a folder with the slices of one DICOM series"
    files = sorted(path for path in folder.iterdir() if path.is_file())
    scans = [path for path in files if path.name.lower().endswith(_SCAN_SUFFIXES)]
    if scans:
        more = f" (and {len(scans) - 1} more scans)" if len(scans) > 1 else ""
        return f"{folder} holds no DICOM series; give a file instead: {scans[0]}{more}"
    damaged = [path for path in files if _is_slice(path)]
    if damaged:
        return f"{damaged[0]} is a truncated or damaged DICOM slice, and {folder} holds no good one: export it again"
    held = ", ".join(path.name for path in files[:3]) or "no files"
    return f"{folder} holds no scan (it holds {held}): {expected}, or a NIfTI, MHA/MHD or NRRD file"


def _header(file: str) -> sitk.ImageFileReader:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    reader.SetImageIO("GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ReadError(f"{file} is a truncated or damaged DICOM file: copy or export it again") from error
    return reader


def _tag(reader: sitk.ImageFileReader, key: str) -> str:
    return reader.GetMetaData(key).strip("\0 ") if reader.HasMetaDataKey(key) else ""


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return ()
