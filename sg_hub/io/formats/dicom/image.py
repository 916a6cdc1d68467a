"""One X-ray from a DICOM file: rescaled, windowed, and with bone bright whatever its photometric interpretation."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sg_hub.errors import InvalidInputError
from sg_hub.io.formats.dicom.frames import Groups, frame_count, modality_of, refuse_no_image
from sg_hub.io.formats.dicom.header import numbers, read_dataset, reading, text, whole
from sg_hub.io.formats.dicom.pixels import Pixels, by_table, rescaled
from sg_hub.io.formats.limits import IMAGE_BYTES
from sg_hub.io.formats.orientation import is_spacing

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_log = logging.getLogger(__name__)
_WHITE_IS_ZERO, _PALETTE = "MONOCHROME1", "PALETTE COLOR"
_KINDS = (_WHITE_IS_ZERO, "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", _PALETTE)


def read_dicom_image(path: Path, bits: int | None = None) -> tuple[np.ndarray, tuple[float, float] | None]:
    """The image of a DICOM file as grey levels, and its pixel spacing.

    Args:
        bits: instead of the stored bits that the file names.

    Returns:
        (C, H, W) float32 in 0..1, and the distance along (rows, columns) in mm, where the file says it.

    Raises:
        ReadError: damaged, or no image in it.
        InvalidInputError: several frames, a kind of image that is no grey or colour image, or one that is too large.
    """
    data = read_dataset(path)
    refuse_no_image(data, path)
    with reading(path):
        count = frame_count(data, path)
        if count > 1:
            raise InvalidInputError(f"{path} holds {count} frames: expected one image; a scan is read by load_scan")
        kind = text(data, "PhotometricInterpretation") or "MONOCHROME2"
        if kind not in _KINDS:
            raise InvalidInputError(
                f"{path} has the photometric interpretation {kind!r}: expected one of {', '.join(_KINDS)}"
            )
        with Pixels() as pixels:
            stored = pixels.stored(data, path, 0, IMAGE_BYTES)
        groups = Groups(data, 0)
        spacing = _spacing(groups)
        if stored.ndim == 3 or kind == _PALETTE:
            unit = _colours(data, stored, kind, bits)
        else:
            unit = _grey(data, groups, stored, path, bits)[None]
            unit = 1 - unit if kind == _WHITE_IS_ZERO else unit
            _doubt_direction(data, kind, path)
            unit = np.where(_padding(data, stored), 0, unit)
        return np.ascontiguousarray(unit, dtype=np.float32), spacing


def _doubt_direction(data: Dataset, kind: str, path: Path) -> None:
    """Warn where two elements say opposite things of which end is white (PS3.3, C.7.6.3.1.2 and C.11.6.1.2): only
    MONOCHROME1 and INVERSE go together, and MONOCHROME2 and IDENTITY. Of such files some programs follow the one
    element, some the other.
    """
    shape = text(data, "PresentationLUTShape").upper()
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != (kind == _WHITE_IS_ZERO):
        _log.warning(
            "%s: PhotometricInterpretation %s and PresentationLUTShape %s contradict each other; it is read by the "
            "first. Look at it: bone is to be bright; if it is dark, mend the first",
            path,
            kind,
            shape,
        )


def _colours(data: Dataset, stored: np.ndarray, kind: str, bits: int | None) -> np.ndarray:
    """(C, H, W) in 0..1; one channel where all three are the same."""
    from pydicom.pixels import apply_color_lut

    depth = bits or whole(data, "BitsStored", 8)
    if kind == _PALETTE:
        stored = apply_color_lut(stored, data)
        depth = bits or 8 * stored.dtype.itemsize
    unit = np.moveaxis(stored[..., :3] / np.float32(2.0**depth - 1), -1, 0).clip(0, 1)
    return unit[:1] if (unit == unit[:1]).all() else unit


def _grey(data: Dataset, groups: Groups, stored: np.ndarray, path: Path, bits: int | None) -> np.ndarray:
    """Grey levels (H, W) in 0..1: the modality's values through the window or table for display, black as 0."""
    modality = modality_of(data, groups, path)
    values = rescaled(stored, modality, path)
    ends = _ends(data, modality, bits)
    display = groups.item("FrameVOILUTSequence") or data
    unit = None
    if bits is None:
        tables = display.get("VOILUTSequence")
        if tables:
            unit = by_table(values, tables[0], data) / (2.0 ** tables[0].LUTDescriptor[2] - 1)
        else:
            unit = _by_window(display, values)
    if unit is None or unit.min() == unit.max():  # a window that misses the image, as some exports have it
        unit = ((values - ends[0]) / (ends[1] - ends[0])).clip(0, 1)
    return unit


def _padding(data: Dataset, stored: np.ndarray) -> np.ndarray:
    """Where stored values only fill up the rows and are none of the image (PS3.3, C.7.5.1.1.2): black, whichever of the
    greys is zero. Some files write the value of signed pixels as an unsigned one."""
    value, limit = (data.get(f"PixelPadding{which}") for which in ("Value", "RangeLimit"))
    if not isinstance(value, int):
        return np.zeros(stored.shape, dtype=bool)
    ends = np.array([value, limit if isinstance(limit, int) else value])
    low, high = np.sort(ends.astype(np.int16) if stored.dtype == np.int16 else ends)
    filling: np.ndarray = (stored >= low) & (stored <= high)
    return filling


def _ends(data: Dataset, modality: Dataset, bits: int | None) -> tuple[float, float]:
    """What the values may be at least and at most."""
    if "ModalityLUTSequence" in modality:
        return 0.0, 2.0 ** modality.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    depth = bits or whole(data, "BitsStored", 16)
    least, most = (0, 2**depth - 1)
    if whole(data, "PixelRepresentation", 0) == 1:
        least, most = -(2 ** (depth - 1)), 2 ** (depth - 1) - 1
    slope, intercept = modality.get("RescaleSlope", 1.0), modality.get("RescaleIntercept", 0.0)
    low, high = sorted((slope * least + intercept, slope * most + intercept))
    return low, high


def _by_window(display: Dataset, values: np.ndarray) -> np.ndarray | None:
    """Grey levels by the first window, if there is one: DICOM PS3.3, C.11.2.1.2: LINEAR, LINEAR_EXACT or SIGMOID."""
    centre, width = (_first(display, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    if math.isnan(centre) or not width > 0:
        return None
    function = text(display, "VOILUTFunction") or "LINEAR"
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return ((values - centre) / width + 0.5).clip(0, 1)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return ((values - (centre - 0.5)) / (width - 1) + 0.5).clip(0, 1)


def _first(data: Dataset, keyword: str) -> float:
    """The first number of an element; of several windows the first is the one that is shown."""
    try:
        return float(text(data, keyword))
    except ValueError:
        return math.nan


def _spacing(groups: Groups) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        found = numbers(groups.get("PixelMeasuresSequence", keyword), 2)
        if found and is_spacing(found):
            return found[0], found[1]
    return None
