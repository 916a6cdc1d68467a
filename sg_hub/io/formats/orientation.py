"""Scans as their files have them, the grids of voxels, and how they are turned into LPS order."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.given import several

if TYPE_CHECKING:
    import SimpleITK as sitk

Triple = tuple[float, float, float]
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_ORTHOGONAL_TOLERANCE = 1e-3
"""Largest deviation of the direction matrix times its transpose from the identity."""
_AGREEMENT = 0.01
"""Share by which a spacing that is given may differ from one that positions of slices give."""
_ROUNDING = 1e-3
"""Share by which it may differ from one that the file says, without a word."""
_EXACT = 1 << 24
"""Up to here float32 holds every whole number."""
_LPS_AND_RAS = np.diag((-1.0, -1.0, 1.0, 1.0))
_LEAST_SPACING, _MOST_SPACING = 1e-9, 1e6
"""mm, from a picometre to a kilometre: what is beyond is damage, not a distance of voxels."""
_SLAB = 16
"""Planes that are turned together: memory is then read and written in long enough pieces (three times faster)."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NiftiTransforms:
    """What a NIfTI file says of its place, twice over; results get the same, so that they overlay it in any viewer."""

    codes: tuple[int, int]
    """Of qform and sform; 0: not there."""
    pixdim: tuple[float, ...]
    """The first four: the sign of the quaternion's third axis, and the spacing in the file's unit."""
    quaternion: tuple[float, ...]
    """b, c, d and the offset of x, y, z."""
    rows: tuple[float, ...]
    """Of the sform, 3 x 4."""
    units: int


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
    nifti: NiftiTransforms | None = None

    @property
    def affine(self) -> np.ndarray:
        """(4, 4): voxels of the file to mm in RAS, as nibabel, MONAI and TorchIO have it."""
        return ras_affine(self.spacing, self.origin, self.direction)

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

    def file_view(self, array: np.ndarray) -> np.ndarray:
        """A view in the order of the file's axes, of an array (..., X, Y, Z) in LPS order."""
        lead = array.ndim - 3
        flipped = np.flip(array, tuple(lead + axis for axis, turned in enumerate(self.flipped) if turned))
        return flipped.transpose(*range(lead), *(lead + self.axes.index(axis) for axis in range(3)))


@dataclass(frozen=True)
class Stored:
    """A scan as a reader hands it over, its planes one after the other; nothing is turned yet."""

    source: str
    size: tuple[int, int, int]
    """Along the file's axes, the fastest first."""
    channels: int
    planes: Iterable[np.ndarray]
    """Along the file's third axis: (channels, second, first) each, in the file's own units."""
    spacing: Sequence[float | None]
    """Along the file's axes in mm; None where the file does not say it."""
    spacing_field: str
    """What the file calls it."""
    origin: Triple = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY
    measured: bool = False
    """Whether the third spacing is the distance of positions, which a given spacing does not replace."""
    nifti: NiftiTransforms | None = None
    modality: str = ""
    """As the file calls it (CT, MR, PT); empty where it does not say it, as of all formats but DICOM."""
    unscaled: str = ""
    """A modality (CT, PET), where the file does not say what its stored values mean; empty where they mean
    themselves."""
    lossy: str = ""
    """A file whose values were changed by a compression; empty where none is."""


def ras_affine(spacing: Sequence[float], origin: Sequence[float], direction: Sequence[float]) -> np.ndarray:
    """(4, 4): voxels to mm in RAS, of a grid in LPS."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(direction, dtype=float).reshape(3, 3) * np.array(spacing, dtype=float)
    affine[:3, 3] = origin
    return _LPS_AND_RAS @ affine


def from_affine(array: np.ndarray, affine: np.ndarray, source: str) -> Stored:
    """An array (C, i, j, k) with its affine (4, 4), voxels to mm in RAS.

    Raises:
        InvalidInputError: another shape, or an affine that is none.
    """
    try:
        affine = np.asarray(affine, dtype=float)
    except (TypeError, ValueError):
        affine = np.empty(0)
    if array.ndim != 4 or 0 in array.shape or affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise InvalidInputError(
            f"{source}: array of shape {array.shape} with an affine of shape {affine.shape}; expected (C, X, Y, Z), "
            "channels first, and (4, 4) finite numbers"
        )
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        raise InvalidInputError(
            f"{source}: the last row of its affine is {affine[3].tolist()}; expected 0, 0, 0, 1 (is it transposed?)"
        )
    lps = _LPS_AND_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / np.where(spacing > 0, spacing, 1)
    _, first, second, third = array.shape
    return Stored(
        source,
        (first, second, third),
        len(array),
        array.transpose(3, 0, 2, 1),
        spacing.tolist(),
        "affine",
        triple(lps[:3, 3]),
        tuple(direction.ravel().tolist()),
    )


def is_spacing(values: Sequence[float]) -> bool:
    """Whether they can be distances of voxels in mm."""
    return all(_LEAST_SPACING <= value <= _MOST_SPACING for value in values)


def check_spacing(source: Path | str, spacing: Sequence[float | None], field: str) -> None:
    """Raise InvalidInputError unless every spacing (mm) is positive and finite; `field` is its name."""
    if any(value is None for value in spacing):
        raise InvalidInputError(
            f"{source} does not say its spacing ({field}), and none is made up: give it in mm, along x (left), y "
            "(posterior) and z (superior): load_scan(path, spacing=(x, y, z)) (command: --spacing X Y Z)"
        )
    if not is_spacing([value for value in spacing if value is not None]):
        raise InvalidInputError(
            f"{source}: spacing ({', '.join(f'{value:g}' for value in spacing)}) in its header ({field}); "
            f"expected positive numbers in mm, {_LEAST_SPACING:g} to {_MOST_SPACING:g}. Convert the scan again from "
            "its source, correct the header (SimpleITK: image.SetSpacing(...), then WriteImage), or give the spacing: "
            "load_scan(path, spacing=(x, y, z)) (command: --spacing X Y Z)"
        )


def in_units(stored: Stored, rescale: Sequence[float] | None, labels: bool) -> Stored:
    """The values in the units of the modality. Label maps have none: their numbers are taken as they are stored.

    Args:
        rescale: slope and intercept, where the file does not say them.

    Raises:
        InvalidInputError: it does not, and nobody gave them; or they were given, and it needs none.
    """
    if stored.unscaled and rescale is None and not labels:
        raise InvalidInputError(
            f"{stored.source} is {stored.unscaled} and does not say what its stored values mean (RescaleSlope, "
            "RescaleIntercept), and nothing is made up: give both: load_scan(path, rescale=(slope, intercept)) "
            "(command: --rescale SLOPE INTERCEPT, 1 0 where they are stored as they are meant)"
        )
    if rescale is None:
        return stored
    slope, intercept = several(rescale, 2) or (math.nan, math.nan)
    if not math.isfinite(slope) or not math.isfinite(intercept) or slope == 0:
        raise InvalidInputError(f"rescale={rescale!r}: expected a slope other than 0 and an intercept")
    if not stored.unscaled:
        raise InvalidInputError(
            f"{stored.source}: rescale={tuple(rescale)} was given, which is for DICOM files of CT or PET that do not "
            "say their own: leave it out"
        )
    return replace(stored, planes=(plane * np.float64(slope) + intercept for plane in stored.planes))


def grid_of(stored: Stored, spacing: Sequence[float] | None = None) -> FileGrid:
    """The grid of a scan.

    Args:
        spacing: along x, y, z in mm, instead of what the file says.

    Raises:
        InvalidInputError: no spacing or an impossible one, a direction matrix that is not one, or a spacing that
            contradicts the positions of the slices.
    """
    if spacing is None:
        check_spacing(stored.source, stored.spacing, stored.spacing_field)
    orientation = _orientation(stored.source, stored.direction)
    grid = FileGrid(stored.size, (1.0, 1.0, 1.0), triple(stored.origin), stored.direction, orientation)
    if not all(math.isfinite(value) for value in grid.origin):
        raise InvalidInputError(f"{stored.source}: its origin {grid.origin} is not three numbers; correct the header")
    own, nifti = list(stored.spacing), stored.nifti
    if spacing is not None:
        given = [0.0] * 3
        for axis, value in zip(grid.axes, spacing, strict=True):
            given[axis] = value
        found = own[2]
        if stored.measured and found is not None and abs(given[2] - found) > _AGREEMENT * found:
            raise InvalidInputError(
                f"{stored.source}: spacing {tuple(spacing)} was given, with {given[2]:g} mm between slices, but they "
                f"are {found:.4g} mm apart by their positions; expected {found:.4g} there"
            )
        said = [value for value in own if value is not None and 0 < value < math.inf]
        if len(said) == 3 and not np.allclose(said, given, rtol=_ROUNDING):
            says, now = (" x ".join(f"{value:.4g}" for value in values) for values in (said, given))
            _log.warning(
                "%s: its own spacing of %s mm (along the file's axes) is replaced by the one that was given, %s mm",
                stored.source,
                says,
                now,
            )
        own[:], nifti = given, nifti if own == given else None
    return FileGrid(stored.size, triple(own), grid.origin, grid.direction, orientation, nifti)


def lps_array(stored: Stored, grid: FileGrid) -> np.ndarray:
    """(C, X, Y, Z) float32 in LPS order."""
    first, second, third = stored.size
    sides = [stored.size[axis] for axis in grid.axes]
    array = np.empty((stored.channels, *sides), dtype=np.float32)
    target = grid.file_view(array).transpose(0, 3, 2, 1)
    slab = np.empty((stored.channels, min(_SLAB, third), second, first), dtype=np.float32)
    start = count = 0
    for plane in stored.planes:
        with np.errstate(over="ignore", invalid="ignore"):  # what does not fit is infinite, and refused as such
            slab[:, count] = plane
        count += 1
        if count == slab.shape[1] or start + count == third:
            target[:, start : start + count] = slab[:, :count]
            start, count = start + count, 0
    if start != third:
        raise ReadError(
            f"{stored.source}: {start + count} of its {third} planes could be read: copy or export it again"
        )
    return array


def from_sitk(image: sitk.Image, source: str) -> Stored:
    """An image of SimpleITK that `kinds.check_image` has accepted."""
    import SimpleITK as sitk

    view = sitk.GetArrayViewFromImage(image)  # ([1,] z, y, x[, channels]) of the file, as long as the caller holds it
    if image.GetDimension() == 4:
        view, image = view[0], image[:, :, :, 0]
    view = view[:, None] if view.ndim == 3 else np.moveaxis(view, -1, 1)
    spacing = triple(image.GetSpacing())
    size = (view.shape[3], view.shape[2], view.shape[0])
    return Stored(
        source, size, view.shape[1], view, spacing, "spacing", triple(image.GetOrigin()), image.GetDirection()
    )


def planes_of(voxels: np.ndarray, slope: float = 1.0, inter: float = 0.0) -> Iterator[np.ndarray]:
    """The planes of (third, C, second, first) stored values, scaled in double precision."""
    for plane in voxels:
        yield plane if (slope, inter) == (1.0, 0.0) else plane.astype(np.float64) * slope + inter


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
        if max(-low, high) >= _EXACT:  # the next number has become this one
            raise InvalidInputError(
                f"{source} is no label map that can be read: its values reach {max(-low, high, key=abs):.0f}; from "
                f"{_EXACT} on neighbouring ones are no longer told apart. Number the labels from 1 on"
            )
    elif low == high:
        raise InvalidInputError(
            f"{source}: every voxel is {low:g}, so there is nothing to see; expected a scan. Check the "
            "export or the conversion that wrote it"
        )


def warn_of_no_orientation(source: Path | str, lacks: str) -> None:
    """Say what is taken where a file does not say where its axes go.

    Args:
        lacks: what would have said it.
    """
    _log.warning(
        "%s says nothing of its orientation (%s): its axes are taken to go left, posterior and superior", source, lacks
    )


def triple(values: Any) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z


def check_direction(source: str, direction: Sequence[float]) -> None:
    """Raise InvalidInputError unless the axes (3x3, row-major) are of length one and at right angles."""
    matrix = np.array(direction, dtype=float).reshape(3, 3)
    with np.errstate(all="ignore"):
        deviation = float(np.abs(matrix.T @ matrix - np.eye(3)).max())
    if not deviation <= _ORTHOGONAL_TOLERANCE:
        raise InvalidInputError(
            f"{source}: its direction matrix {tuple(float(round(value, 4)) for value in direction)} is "
            "singular or sheared; expected a rectangular grid: correct the header, or resample the scan onto one"
        )


def _orientation(source: str, direction: Sequence[float]) -> str:
    """Where the axes point, as three letters."""
    import SimpleITK as sitk

    check_direction(source, direction)
    return str(sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(tuple(direction)))
