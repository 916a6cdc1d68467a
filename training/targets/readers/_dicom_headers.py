"""DICOM headers, without the pixels."""

from __future__ import annotations

from pathlib import Path

import pydicom

from sg_hub.errors import ReadError


def read_header(path: Path, *keywords: str) -> pydicom.Dataset:
    """The elements of these names, as far as the file has them.

    Raises:
        ReadError: truncated, damaged, or no DICOM.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*keywords, "Rows"])
    except Exception as error:  # pydicom raises nearly anything for damaged bytes
        raise ReadError(f"{path} is truncated or damaged, or no DICOM ({error}): download it again") from error
    if "Rows" not in header:  # which stands behind all that is asked for
        raise ReadError(f"{path} is truncated, or holds no image: download it again")
    return header
