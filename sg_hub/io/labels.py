"""Label maps: whole numbers of classes on the grid of a scan or an image. What would change them is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.files import given_path
from sg_hub.io.formats.kinds import lossy_labels
from sg_hub.io.formats.picture_files import COMPRESSION, opened, packing, white_is_zero
from sg_hub.io.scan import Scan, load_scan

_LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")
_LOSSY_TIFF = (6, 7, 33003, 33005, 34712, 50001)
"""Compressions of TIFF that change values: JPEG, JPEG 2000, WebP."""
_EXPECTED = "a picture of labels (PNG or TIFF, one number a pixel)"

_ROUNDING = 1e-3
"""Of a header's numbers, in voxels."""


def load_labels(
    path: str | os.PathLike[str],
    *,
    series: str | None = None,
    spacing: Sequence[float] | None = None,
    outside: bool = False,
) -> Scan:
    """Read the label map of a scan: one layer of whole numbers.

    Args:
        path, series, spacing, outside: as for `load_scan`.

    Returns:
        a `Scan`: array (1, X, Y, Z) float32 of whole numbers.

    Raises:
        ReadError, InvalidInputError: as for `load_scan`; fractions; or several layers, of which only one could be used.
    """
    scan = load_scan(path, series=series, labels=True, spacing=spacing, outside=outside)
    layers = scan.array.shape[0]
    if layers > 1:
        raise InvalidInputError(
            f"{scan.source} has {layers} layers, as 3D Slicer saves segments that overlap; expected a label map of one "
            "layer, with a number for each class. Save it so (in 3D Slicer: Segmentations, export to a labelmap), and "
            "decide there which class a voxel of two segments has"
        )
    return scan


def check_same_place(labels: Scan, scan: Scan, hint: str = "") -> None:
    """Refuse a label map of a scan's size that lies elsewhere by its header.

    Args:
        hint: what else may be done.

    Raises:
        InvalidInputError: they are more than half a voxel apart along some axis.
    """
    theirs, own = _corners(labels), _corners(scan)
    apart = float(np.abs(theirs - own).max())
    if np.abs(scan.to_voxels(theirs) - scan.to_voxels(own)).max() > 0.5 + _ROUNDING:
        raise InvalidInputError(
            f"{labels.source} lies elsewhere than {scan.source}: by their headers (origin, spacing, direction) they "
            f"are up to {apart:.1f} mm apart. Resample the first onto the second; if voxels of the same index belong "
            f"together give it the header of the second (SimpleITK: first.CopyInformation(second)){hint}"
        )


def _corners(scan: Scan) -> np.ndarray:
    """The first voxel and the last one of each axis, (4, 3) in mm."""
    return scan.to_mm(np.vstack([np.zeros(3), np.diag(np.array(scan.size) - 1.0)]))


def read_label_image(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W) whole numbers of a picture of labels: PNG, TIFF or BMP of one channel, or the places in a palette.

    Raises:
        ReadError: missing or damaged, in colour, or saved with loss (JPEG).
        InvalidInputError: several pictures, white as zero, grey levels of 2 or 4 bits, or fractions.
    """
    path = given_path(path, _EXPECTED)
    if path.exists() and not path.is_file():
        raise ReadError(f"{path} is neither a file nor a folder: expected {_EXPECTED}")
    try:
        with opened(path, ("PNG", "TIFF", "BMP", *_LOSSY), _EXPECTED) as picture:
            _refuse_lossy(path, picture)
            if white_is_zero(picture):
                raise InvalidInputError(
                    f"{path} is a TIFF with white as zero, whose numbers programs read differently; expected "
                    f"{_EXPECTED}: save it again with black as zero"
                )
            if packing(picture) in ("L;2", "L;4"):
                raise InvalidInputError(
                    f"{path} holds grey levels of {packing(picture)[2:]} bits, which programs read as they are, or "
                    f"spread over 0 to 255 (1 as 85 or 17); expected {_EXPECTED}: save it again with 8 bits"
                )
            from PIL import ImageOps

            array = np.asarray(ImageOps.exif_transpose(picture))
    except OSError as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path} cannot be read as a picture of labels ({error.strerror or error})") from error
    if array.ndim != 2:
        raise ReadError(f"{path} is in colour: expected a picture of labels, one number per pixel")
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        if not np.array_equal(array, np.rint(array)):
            raise InvalidInputError(f"{path} is no label map: it holds fractions; expected whole numbers")
        return array.astype(np.int64)
    return array


def _refuse_lossy(path: Path, picture: object) -> None:
    tags = getattr(picture, "tag_v2", {})
    kind = getattr(picture, "format", "")
    if kind in _LOSSY or tags.get(COMPRESSION) in _LOSSY_TIFF:
        raise lossy_labels(path, "JPEG in a TIFF" if kind == "TIFF" else kind)
