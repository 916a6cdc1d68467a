"""Images of SimpleITK: what is accepted as a scan, its grid, and its voxels in LPS order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sg_hub.errors import InvalidInputError
from sg_hub.io.headers import check_spacing

if TYPE_CHECKING:
    import SimpleITK as sitk

Triple = tuple[float, float, float]
_ORTHOGONAL_TOLERANCE = 1e-3
"""Largest deviation of the direction matrix times its transpose from the identity."""


@dataclass(frozen=True)
class FileGrid:
    """The grid of voxels as the file has it, and how it is turned into LPS order."""

    size: tuple[int, int, int]
    spacing: Triple
    origin: Triple
    direction: tuple[float, ...]
    """3x3, row-major: column i is the direction of the file's axis i in LPS."""
    orientation: str
    """Where the file's axes point, for instance RAS."""

    @property
    def axes(self) -> tuple[int, ...]:
        """For x, y, z: the axis of the file."""
        return tuple(
            next(i for i, letter in enumerate(self.orientation) if letter in pair) for pair in ("LR", "PA", "SI")
        )

    @property
    def flipped(self) -> tuple[bool, ...]:
        """For x, y, z: whether the file runs the other way."""
        return tuple(self.orientation[axis] in "RAI" for axis in self.axes)


def check_kind(source: str, dimension: int, size: tuple[int, ...], components: int, image: Any) -> None:
    """Refuse what is not a 3D scan of grey values; `image` has GetPixelID (a reader of the header, too)."""
    import SimpleITK as sitk

    pixel = image.GetPixelID() if isinstance(image, sitk.Image) else image.GetPixelIDValue()
    kind = sitk.GetPixelIDValueAsString(pixel)
    if "complex" in kind:
        raise InvalidInputError(f"{source} holds {kind} values; expected real ones: save the magnitude")
    if components in (3, 4) and "unsigned" in kind:
        raise InvalidInputError(
            f"{source} is a colour image ({'RGB' if components == 3 else 'RGBA'}, {kind}); expected a scan "
            "of grey values, such as HU: convert the original scan, not a picture of it"
        )
    if dimension == 2 or (dimension == 3 and 1 in size):
        raise InvalidInputError(
            f"{source} is a 2D image (size {' x '.join(map(str, size))}); expected a 3D scan: give the "
            "folder with all its slices, or the whole volume"
        )
    if dimension == 4 and size[3] > 1:
        raise InvalidInputError(
            f"{source} is 4D: {size[3]} volumes of {' x '.join(map(str, size[:3]))}; expected one 3D "
            "volume. Save the one you need: SimpleITK.WriteImage(SimpleITK.ReadImage(path)[:, :, :, 0], "
            "'volume.nii.gz')"
        )
    if dimension > 4:
        raise InvalidInputError(f"{source} has {dimension} dimensions (size {size}); expected one 3D volume")


def grid_of(image: sitk.Image, source: str) -> FileGrid:
    import SimpleITK as sitk

    spacing, direction = image.GetSpacing(), image.GetDirection()
    check_spacing(source, spacing, "spacing")
    matrix = np.array(direction).reshape(3, 3)
    deviation = float(np.abs(matrix.T @ matrix - np.eye(3)).max())
    if not deviation <= _ORTHOGONAL_TOLERANCE:
        singular = abs(np.linalg.det(matrix)) < 1e-6
        raise InvalidInputError(
            f"{source}: its direction matrix {tuple(round(value, 4) for value in direction)} is "
            f"{'singular' if singular else 'sheared (its axes are not at right angles)'}; "
            "expected a rectangular grid: correct the header, or resample the scan onto one"
        )
    orientation = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction)
    return FileGrid(_sizes(image.GetSize()), triple(spacing), triple(image.GetOrigin()), tuple(direction), orientation)


def lps_array(image: sitk.Image, grid: FileGrid) -> np.ndarray:
    import SimpleITK as sitk

    view = sitk.GetArrayViewFromImage(image)  # (z, y, x[, channels]) of the file
    view = view[None] if view.ndim == 3 else np.moveaxis(view, -1, 0)
    view = view.transpose(0, *(3 - axis for axis in grid.axes))
    view = np.flip(view, tuple(1 + axis for axis, flipped in enumerate(grid.flipped) if flipped))
    return np.array(view, dtype=np.float32, order="C")


def check_values(array: np.ndarray, source: str, nan: float | None, labels: bool) -> None:
    """Refuse (or replace in place) NaN and infinite voxels; refuse constant scans and fractional labels."""
    low, high = float(array.min()), float(array.max())
    if not np.isfinite(low + high):
        bad = ~np.isfinite(array)
        if nan is None:
            raise InvalidInputError(
                f"{source}: {int(bad.sum())} of {array.size} voxels are NaN or infinite; expected numbers. "
                "Replace them, for instance by air: load_scan(path, nan=-1000) (command: --nan -1000)"
            )
        array[bad] = nan
        low, high = float(array.min()), float(array.max())
    if labels:
        if not np.array_equal(array, np.rint(array)):
            raise InvalidInputError(f"{source} is no label map: it holds fractions; expected whole numbers")
    elif low == high:
        raise InvalidInputError(
            f"{source}: every voxel is {low:g}, so there is nothing to see; expected a scan. Check the "
            "export or the conversion that wrote it"
        )


def triple(values: Any) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _sizes(values: Any) -> tuple[int, int, int]:
    x, y, z = (int(value) for value in values)
    return x, y, z
