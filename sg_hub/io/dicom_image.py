"""One X-ray from a DICOM file: rescaled, windowed, and with bone bright whatever its photometric interpretation."""

from __future__ import annotations

import logging
import math
import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError

if TYPE_CHECKING:
    import SimpleITK as sitk

_log = logging.getLogger(__name__)
_WHITE_IS_ZERO = "MONOCHROME1"
_KINDS = (_WHITE_IS_ZERO, "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
# A sequence that holds an item, with or without its type before its length: ITK shows no sequences. Little-endian.
_MODALITY_TABLE, _DISPLAY_TABLE = (
    re.compile(tag + rb"(?:SQ\0\0)?.{4}\xfe\xff\x00\xe0", re.DOTALL)
    for tag in (rb"\x28\x00\x00\x30", rb"\x28\x00\x10\x30")
)


def read_dicom_image(path: Path, bits: int | None = None) -> tuple[np.ndarray, tuple[float, float] | None]:
    """The image of a DICOM file as grey levels, and its pixel spacing.

    Args:
        bits: instead of the stored bits that the file names.

    Returns:
        (C, H, W) float32 in 0..1, and the distance along (rows, columns) in mm, where the file says it.

    Raises:
        ReadError: damaged, or no image in it.
        InvalidInputError: several frames, a kind of image that is no grey or colour image, a layout of its values that
            ITK does not invert, or a lookup table of the modality.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = reader.GetSize()
        if len(size) > 2 and size[2] > 1:
            raise InvalidInputError(f"{path} holds {size[2]} frames: expected one image; a scan is read by load_scan")
        _refuse_layout(reader, path)
        pixels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ReadError(
            f"{path} is truncated, damaged or no DICOM image ({lines[-1][:200] if lines else 'no reason given'}): copy "
            "or export it again"
        ) from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
    kind = _text(reader, "0028|0004") or "MONOCHROME2"
    if kind not in _KINDS:
        raise InvalidInputError(
            f"{path} has the photometric interpretation {kind!r}: expected one of {', '.join(_KINDS)}"
        )
    _look_for_tables(path)
    pixels = pixels.reshape(size[1], size[0], -1).astype(np.float64)
    spacing = _pair(reader, "0028|0030") or _pair(reader, "0018|1164")
    if pixels.shape[-1] > 1:
        unit = np.moveaxis(pixels[..., :3] / (2.0 ** (bits or 8) - 1), -1, 0).clip(0, 1)
        unit = unit[:1] if (unit == unit[:1]).all() else unit
        return np.ascontiguousarray(unit, dtype=np.float32), spacing
    unit = _windowed(reader, pixels[..., 0], kind == _WHITE_IS_ZERO, bits)
    return np.ascontiguousarray(unit[None], dtype=np.float32), spacing


def _refuse_layout(reader: sitk.ImageFileReader, path: Path) -> None:
    """White-is-zero values that ITK fails on (signed, fewer bits than room) or inverts wrongly (32 bits)."""
    allocated, stored = int(_number(reader, "0028|0100", 16)), int(_number(reader, "0028|0101", 16))
    signed = _number(reader, "0028|0103", 0) == 1
    if _text(reader, "0028|0004") == _WHITE_IS_ZERO and (allocated > 16 or (signed and stored != allocated)):
        raise InvalidInputError(
            f"{path}: {'signed' if signed else 'unsigned'} values of {stored} in {allocated} bits with white as zero "
            f"({_WHITE_IS_ZERO}) are not supported: export the image as MONOCHROME2, or as PNG of 16 bits"
        )


def _look_for_tables(path: Path) -> None:
    """Lookup tables are not applied: without the modality's the values mean nothing, without the other they look so."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        modality, display = _MODALITY_TABLE.search(data), _DISPLAY_TABLE.search(data)
    if modality:
        raise InvalidInputError(
            f"{path} turns its values into others by a table (Modality LUT Sequence, 0028,3000), which is not "
            "supported: export the image with the table applied, or as PNG"
        )
    if display:
        _log.warning(
            "%s: its table for display (VOI LUT Sequence, 0028,3010) is not applied, but its window, or the range of "
            "its bits; contrast differs from what a viewer shows. Export it as PNG where that matters",
            path,
        )


def _windowed(reader: sitk.ImageFileReader, values: np.ndarray, white_is_zero: bool, bits: int | None) -> np.ndarray:
    """Grey levels in 0..1 of rescaled values (H, W); black is 0."""
    slope, intercept = _number(reader, "0028|1053", 1.0), _number(reader, "0028|1052", 0.0)
    stored = int(_number(reader, "0028|0101", 16))
    signed = _number(reader, "0028|0103", 0) == 1
    if white_is_zero:
        # ITK has inverted the stored values s to (least + most) - s before rescaling them; the window is meant for the
        # values before that.
        both = -1 if signed else 2**stored - 1
        values = slope * both + 2 * intercept - values
    depth = bits or stored
    least, most = (-(2 ** (depth - 1)), 2 ** (depth - 1) - 1) if signed else (0, 2**depth - 1)
    ends = sorted((slope * least + intercept, slope * most + intercept))
    centre, width = _number(reader, "0028|1050", math.nan), _number(reader, "0028|1051", 0.0)
    if math.isnan(centre) or width <= 0 or bits is not None:
        unit = ((values - ends[0]) / (ends[1] - ends[0])).clip(0, 1)
    else:
        unit = _window(values, centre, width, _text(reader, "0028|1056") or "LINEAR")
        if unit.min() == unit.max():  # a window that misses the image, as some exports have it
            unit = ((values - ends[0]) / (ends[1] - ends[0])).clip(0, 1)
    return 1 - unit if white_is_zero else unit


def _window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """DICOM PS3.3, C.11.2.1.2: LINEAR, LINEAR_EXACT or SIGMOID."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return ((values - centre) / width + 0.5).clip(0, 1)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return ((values - (centre - 0.5)) / (width - 1) + 0.5).clip(0, 1)


def _text(reader: sitk.ImageFileReader, tag: str) -> str:
    return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""


def _number(reader: sitk.ImageFileReader, tag: str, absent: float) -> float:
    """The first value of a tag; of several windows the first is the one that is shown."""
    try:
        return float(_text(reader, tag).split("\\")[0])
    except ValueError:
        return absent


def _pair(reader: sitk.ImageFileReader, tag: str) -> tuple[float, float] | None:
    try:
        rows, columns = (float(value) for value in _text(reader, tag).split("\\"))
    except ValueError:
        return None
    return (rows, columns) if rows > 0 and columns > 0 else None
