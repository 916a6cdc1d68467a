"""One X-ray from a DICOM file: rescaled, windowed, and with bone bright whatever its photometric interpretation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError

if TYPE_CHECKING:
    import SimpleITK as sitk

_WHITE_IS_ZERO = "MONOCHROME1"
_KINDS = (_WHITE_IS_ZERO, "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")


def read_dicom_image(path: Path, bits: int | None = None) -> tuple[np.ndarray, tuple[float, float] | None]:
    """The image of a DICOM file as grey levels, and its pixel spacing.

    Args:
        bits: instead of the stored bits that the file names.

    Returns:
        (C, H, W) float32 in 0..1, and the distance along (rows, columns) in mm, where the file says it.

    Raises:
        ReadError: damaged, or no image in it.
        InvalidInputError: several frames, or a kind of image that is no grey or colour image.
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
    pixels = pixels.reshape(size[1], size[0], -1).astype(np.float64)
    spacing = _pair(reader, "0028|0030") or _pair(reader, "0018|1164")
    if pixels.shape[-1] > 1:
        unit = np.moveaxis(pixels[..., :3] / (2.0 ** (bits or 8) - 1), -1, 0).clip(0, 1)
        unit = unit[:1] if (unit == unit[:1]).all() else unit
        return np.ascontiguousarray(unit, dtype=np.float32), spacing
    unit = _windowed(reader, pixels[..., 0], kind == _WHITE_IS_ZERO, bits)
    return np.ascontiguousarray(unit[None], dtype=np.float32), spacing


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
