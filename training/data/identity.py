"""What an image is known by, whatever its file and its data set are called: its content, and the identifiers in it.

One that was cropped or resampled is another image.

Hashes of twelve hexadecimal digits, from which nobody can be found again without having the image.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sg_hub import Image, Scan, load_image, load_scan
from sg_hub.io.finder import PICTURE_SUFFIXES, SCAN_SUFFIXES
from sg_hub.io.formats.dicom.files import is_dicom_image

DIGITS = 12
_LEAST_SIZE, _LEAST_VALUES = 4096, 64
"""Of an image that is known by how often each value is there."""
TAGS = ("PatientID", "PatientBirthDate", "IssuerOfPatientID", "StudyInstanceUID", "SeriesInstanceUID")


def image_hashes(path: str | Path, ndim: int = 3, image: Scan | Image | None = None) -> tuple[str, ...]:
    """The hash of the content, and of what identifies the patient, the study and the series in DICOM files.

    Args:
        path: file or folder.
        ndim: of what it holds: 3, a scan; 2, an image.
        image: the same, where it is read already.

    Raises:
        ReadError, InvalidInputError: it cannot be read.
    """
    if image is None:
        image = load_scan(path) if ndim == 3 else load_image(path)
    return (*content_hashes(image), *identifier_hashes(path))


def content_hashes(image: Scan | Image) -> tuple[str, ...]:
    """Of the values as they lie, and of the values whichever way they lie; none of an image that is no one's."""
    return tuple(one for one in (image_hash(image), turned_hash(image)) if one)


def image_hash(image: Scan | Image) -> str:
    """Of the values in LPS order, which are the same in DICOM, NIfTI and any other file without loss. Empty where all
    values are the same: such images are no one's."""
    values = _values(image)
    digest = hashlib.sha256(f"{values.shape}".encode())
    for part in _rounded(values):
        digest.update(part.tobytes())
    return digest.hexdigest()[:DIGITS] if values.size else ""


def turned_hash(image: Scan | Image) -> str:
    """Of how often each value is there, which is the same for an image that was mirrored, or saved along other axes.
    Empty where that tells little: of small images, and of those with few values, as drawn ones have."""
    values = _values(image)
    if values.size < _LEAST_SIZE:
        return ""
    counts = np.zeros(1 << 16, dtype=np.int64)
    for part in _rounded(values):
        counts += np.bincount(part.ravel().astype(np.int32) + (1 << 15), minlength=1 << 16)
    if np.count_nonzero(counts) < _LEAST_VALUES:
        return ""
    return _hash(f"{sorted(values.shape[1:])}".encode() + counts.astype("<i8").tobytes())


def _values(image: Scan | Image) -> np.ndarray:
    """(C, spatial...); nothing where all of them are the same, or one is no number."""
    values = image.array
    if (values == values[:1]).all():  # grey, saved in colour
        values = values[:1]
    same = not np.isfinite(float(np.abs(values).max())) or bool((values == values.flat[0]).all())
    return values[:0] if same else values


def _rounded(values: np.ndarray) -> Iterator[np.ndarray]:
    """Fourteen bits of each value, so that readers that round their last bit otherwise agree: quarters of a HU. Part by
    part: a copy of a whole scan takes much memory."""
    scale = np.float32(2.0 ** (14 - np.frexp(float(np.abs(values).max()))[1])) if values.size else 1
    for part in values.reshape(-1, *values.shape[-2:]):
        yield np.rint(part * scale).astype("<i2")


def identifier_hashes(path: str | Path) -> tuple[str, ...]:
    """Of the patient, the study and the series that a DICOM file, or the first one in a folder, names; else none.

    A patient's number counts where it can be no other's: with the date of birth or the issuer, or with six characters
    and a digit among them.
    """
    named = _identifiers(Path(path))
    patient = "/".join(named[tag] for tag in TAGS[:3]) if named else ""
    number = named.get("PatientID", "")
    own = len(number) >= 6 and any(letter.isdigit() for letter in number)
    found = [f"patient {patient}"] if number and (own or patient != f"{number}//") else []
    found += [f"{tag} {named[tag]}" for tag in TAGS[3:] if named.get(tag)]
    return tuple(_hash(text.encode()) for text in found)


def patient_of(path: str | Path) -> str:
    """The PatientID of a DICOM file, or of the first one in a folder; empty where there is none."""
    path = Path(path)
    other = path.name.lower().endswith(SCAN_SUFFIXES + PICTURE_SUFFIXES) and path.is_file()
    return "" if other else _identifiers(path).get("PatientID", "")


def _identifiers(path: Path) -> dict[str, str]:
    try:
        files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
        file = next((file for file in files if is_dicom_image(file)), None)
        if file is None:
            return {}
        import pydicom

        with warnings.catch_warnings(action="ignore"):  # what is wrong with the file, its reader says
            header: Any = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS), force=True)
        return {tag: str(header.get(tag) or "").strip("\0 ") for tag in TAGS}
    except Exception:  # pydicom raises nearly anything for a damaged head; the image itself was read
        return {}


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGITS]
