"""DICOM files: told by their content, whatever they are called."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".dcm", ".dicom", ".ima")
"""Files that are called so are taken for DICOM even where their content does not show it: the error that they cause
says more than silence."""
_MARK = slice(128, 132)
_NO_IMAGES = (
    "1.2.840.10008.1.3.10",  # DICOMDIR
    "1.2.840.10008.5.1.4.1.1.9.",  # waveforms
    "1.2.840.10008.5.1.4.1.1.11.",  # presentation states
    "1.2.840.10008.5.1.4.1.1.66",  # raw data, registrations, fiducials, segmentations
    "1.2.840.10008.5.1.4.1.1.67",  # real world values
    "1.2.840.10008.5.1.4.1.1.88.",  # reports
    "1.2.840.10008.5.1.4.1.1.104.",  # documents
    "1.2.840.10008.5.1.4.1.1.481.3",  # structures, plans and treatment records of radiotherapy
    "1.2.840.10008.5.1.4.1.1.481.4",
    "1.2.840.10008.5.1.4.1.1.481.5",
    "1.2.840.10008.5.1.4.1.1.481.6",
    "1.2.840.10008.5.1.4.1.1.481.7",
    "1.2.840.10008.5.1.4.1.1.481.8",
    "1.2.840.10008.5.1.4.1.1.481.9",
)
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def is_dicom(path: Path) -> bool:
    """Whether a file is called DICOM, or is DICOM: with the mark at byte 128, or beginning with an early data element,
    as files without preamble do. False where it cannot be opened."""
    return path.name.lower().endswith(SUFFIXES) or starts_as_dicom(_start(path))


def is_dicom_image(path: Path) -> bool:
    """The same, but for files that say that they hold none: directories, reports, structures, segmentations."""
    return is_dicom(path) and not without_image(storage_class(path))


def without_image(storage: str) -> bool:
    """Whether files of a storage class hold no image of a patient, but something about one. They may lie beside it."""
    return storage.startswith(_NO_IMAGES)


def starts_as_dicom(start: bytes) -> bool:
    """Whether the first 132 bytes (or more) of a file are those of DICOM."""
    if start[_MARK] == b"DICM":
        return True
    if start[:2] == b"\x00\x08":  # big-endian
        return start[2:3] == b"\x00" and _is_type(start[4:6])
    if start[:2] not in (b"\x02\x00", b"\x08\x00") or start[3:4] != b"\x00":
        return False
    length = int.from_bytes(start[4:8], "little")
    return _is_type(start[4:6]) or (length % 2 == 0 and length <= 64 and start[2] <= 0x18)


def storage_class(path: Path) -> str:
    """Media Storage SOP Class UID of a file's head; empty where there is none."""
    import pydicom

    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        return str(meta.get("MediaStorageSOPClassUID", "")).strip("\0 ")
    except Exception:  # pydicom raises nearly anything for a damaged head; reading the file itself says why
        return ""


def _is_type(letters: bytes) -> bool:
    return len(letters) == 2 and letters.isalpha() and letters.isupper()


def _start(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with open(path, "rb") as file:
            return file.read(132)
    except OSError:
        return b""
