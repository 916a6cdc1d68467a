"""Single entries of a DICOM header, without the pixels."""

from __future__ import annotations

from pathlib import Path

from sg_hub.errors import ReadError

SERIES, PATIENT = "0020|000e", "0010|0020"
PIXEL_SPACING, SLICE_THICKNESS = "0028|0030", "0018|0050"


def read_tags(path: Path, *tags: str) -> list[str]:
    """Values of `tags` (group|element, hexadecimal), each without blanks; empty where the file has none.

    Raises:
        ReadError: truncated, damaged, or no DICOM.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ReadError(f"{path} is truncated or damaged: download it again") from error
    return [reader.GetMetaData(tag).strip("\0 ") if reader.HasMetaDataKey(tag) else "" for tag in tags]
