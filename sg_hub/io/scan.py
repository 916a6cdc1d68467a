"""Scans: read from any usual format into LPS order, and results written back in the geometry of the file."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.given import real, several
from sg_hub.io.files import LABEL_MAPS, check_output, given_path, writing
from sg_hub.io.formats.byte_stream import GZIP
from sg_hub.io.formats.dicom.files import SUFFIXES as DICOM_SUFFIXES
from sg_hub.io.formats.dicom.files import starts_as_dicom
from sg_hub.io.formats.kinds import check_image, looks_like_colour, lossy_labels, picture_format
from sg_hub.io.formats.meta_image import SUFFIXES as META_SUFFIXES
from sg_hub.io.formats.meta_image import is_meta_image, read_meta_image
from sg_hub.io.formats.nifti import SUFFIXES as NIFTI_SUFFIXES
from sg_hub.io.formats.nifti import is_nifti, read_nifti, write_nifti
from sg_hub.io.formats.nrrd import SUFFIXES as NRRD_SUFFIXES
from sg_hub.io.formats.nrrd import is_nrrd, read_nrrd
from sg_hub.io.formats.orientation import (
    IDENTITY,
    FileGrid,
    Stored,
    Triple,
    check_direction,
    check_spacing,
    check_values,
    from_affine,
    from_sitk,
    grid_of,
    in_units,
    is_spacing,
    lps_array,
    ras_affine,
    triple,
)
from sg_hub.io.formats.others import other_format, unzipped
from sg_hub.io.results import plain, smallest_type, write_with_itk

if TYPE_CHECKING:
    import SimpleITK as sitk

_FORMATS = "a DICOM folder, NIfTI (.nii, .nii.gz), MHA/MHD or NRRD"
_SUFFIXES = (*NIFTI_SUFFIXES, *META_SUFFIXES, *NRRD_SUFFIXES)


@dataclass(frozen=True, eq=False, repr=False)
class Scan:
    """A 3D scan in LPS order, and the way back to the file that it came from. Made by `load_scan`.

    Attributes:
        array: (C, X, Y, Z) float32 in the file's own units (HU for CT); x to the patient's left, y to
            posterior, z to superior, as near as the voxel grid allows.
        spacing: distance of voxels along (x, y, z) in mm.
        origin: centre of voxel (0, 0, 0) in LPS, in mm.
        direction: 3x3, row-major: column i is the direction of axis i in LPS. The identity but for oblique
            scans.
        source: file or folder.
        file_grid: the grid of the file, which `to_image` and `save` write; absent: the grid above.
        modality: as DICOM calls it (CT, MR, PT); empty where the file does not say it.
    """

    array: np.ndarray
    spacing: Triple = (1.0, 1.0, 1.0)
    origin: Triple = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY
    source: str = "array"
    file_grid: FileGrid | None = None
    modality: str = ""

    def __post_init__(self) -> None:
        array = self.array
        if not isinstance(array, np.ndarray) or array.ndim != 4 or array.dtype != np.float32 or array.size == 0:
            given = (
                f"array of shape {array.shape} and type {array.dtype}" if hasattr(array, "dtype") else repr(type(array))
            )
            raise InvalidInputError(
                f"{given}: a Scan takes (C, X, Y, Z) float32, for instance array[None].astype('float32')"
            )
        for name, count in (("spacing", 3), ("origin", 3), ("direction", 9)):
            object.__setattr__(self, name, self._numbers(name, count))
        check_spacing(self.source, self.spacing, "spacing")
        check_direction(self.source, self.direction)

    def _numbers(self, name: str, count: int) -> tuple[float, ...]:
        values = several(getattr(self, name), count)
        if values is None or (name != "spacing" and not np.isfinite(values).all()):
            raise InvalidInputError(
                f"{self.source}: {name}={shortened(repr(getattr(self, name)), 80)}; expected {count} numbers"
            )
        return values

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along (x, y, z)."""
        _, x, y, z = self.array.shape
        return x, y, z

    @property
    def extent(self) -> Triple:
        """Edge to edge along (x, y, z) in mm."""
        x, y, z = (count * step for count, step in zip(self.size, self.spacing, strict=True))
        return x, y, z

    def to_voxels(self, places: np.ndarray) -> np.ndarray:
        """Places (n, 3) in mm, LPS, in voxels: (0, 0, 0) is the centre of the first."""
        matrix = np.array(self.direction).reshape(3, 3)
        result: np.ndarray = np.linalg.solve(matrix, (np.asarray(places, dtype=float) - self.origin).T).T
        return result / self.spacing

    def to_mm(self, voxels: np.ndarray) -> np.ndarray:
        """The way back: voxels (n, 3), whole or not, in mm, LPS."""
        matrix = np.array(self.direction).reshape(3, 3)
        result: np.ndarray = (np.asarray(voxels, dtype=float) * self.spacing) @ matrix.T + self.origin
        return result

    def __repr__(self) -> str:
        size, extent = " x ".join(map(str, self.size)), " x ".join(f"{value:.0f}" for value in self.extent)
        spacing = " x ".join(f"{value:.4g}" for value in self.spacing)
        channels = f", {self.array.shape[0]} channels" if self.array.shape[0] > 1 else ""
        turned = f", file in {self.file_grid.orientation}" if self.file_grid else ""
        return (
            f"Scan({size} voxels{channels} of {spacing} mm, {extent} mm, values {self.array.min():g} to "
            f"{self.array.max():g}, LPS{turned}, {self.source})"
        )

    def to_image(self, array: Any) -> sitk.Image:
        """A result as a SimpleITK image in the file's own geometry (axes, flips, origin, direction, spacing).

        Args:
            array: (X, Y, Z), or (C, X, Y, Z), numpy or torch, on this scan's grid. Integers keep their type,
                everything else becomes float32; several channels become a vector image.

        Raises:
            InvalidInputError: another size.
        """
        import SimpleITK as sitk

        array, grid = self._result(array), self._grid()
        # SimpleITK takes (z, y, x) of the file, and the channels last.
        view = grid.file_view(array).transpose(*range(array.ndim - 1, array.ndim - 4, -1), *range(array.ndim - 3))
        image = sitk.GetImageFromArray(np.ascontiguousarray(view), isVector=array.ndim == 4)
        image.SetSpacing(grid.spacing)
        image.SetOrigin(grid.origin)
        image.SetDirection(grid.direction)
        return image

    def _grid(self) -> FileGrid:
        return self.file_grid or FileGrid(self.size, self.spacing, self.origin, self.direction, "LPS")

    def _result(self, array: Any) -> np.ndarray:
        result = plain(array)
        if result.ndim not in (3, 4) or result.shape[-3:] != self.size:
            raise InvalidInputError(
                f"result of shape {result.shape}: expected {self.size} or (channels, "
                f"{', '.join(map(str, self.size))}), "
                "the size of the scan that it belongs to"
            )
        return result[0] if result.ndim == 4 and result.shape[0] == 1 else result

    def save(self, array: Any, path: str | os.PathLike[str]) -> Path:
        """Write a result in the file's own geometry; an older file of that name stays until the new one is complete.

        A result of a scan that came from NIfTI gets that file's sform and qform, both as they were.

        Args:
            array: as for `to_image`. Whole numbers of 64 bits, as argmax gives them, are written as the smallest type
                that holds them, for many programs read no others.
            path: .nii.gz, .nii, .nrrd or .mha.

        Raises:
            InvalidInputError: another size or suffix, numbers that no type of 32 bits holds, or the scan's own file.
            ReadError: the folder is missing, or the file cannot be written, or was not written as it should be.
        """
        path = check_output(path, LABEL_MAPS, [self.source])
        result = smallest_type(self._result(array))
        if result.ndim == 4 and looks_like_colour(len(result), 8 * result.itemsize, result.dtype.kind == "u"):
            result = result.astype(np.int16)  # or others would take the channels for colours
        if path.name.lower().endswith((".nii", ".nii.gz")):
            check_spacing(path, self._grid().spacing, "spacing")
            with writing(path) as file:
                write_nifti(file, self._grid().file_view(result), self._grid(), path.name.lower().endswith(".gz"))
        else:
            write_with_itk(path, self.to_image(result))
        return path

    @classmethod
    def from_image(
        cls, image: sitk.Image, source: str = "image", *, nan: float | None = None, labels: bool = False
    ) -> Scan:
        """A scan from a SimpleITK image; arguments, result and errors as for `load_scan`."""
        check_image(image, source)
        return cls._of(from_sitk(image, source), nan=nan, labels=labels)

    @classmethod
    def from_affine(
        cls, array: np.ndarray, affine: Any, source: str = "array", *, nan: float | None = None, labels: bool = False
    ) -> Scan:
        """A scan from an array with any orientation; `to_image` and `save` bring results back into it.

        Args:
            array: (C, X, Y, Z), along whatever axes the affine says.
            affine: (4, 4), voxels to mm in RAS, as nibabel, MONAI and TorchIO have it.
            source: for messages.
            nan, labels: as for `load_scan`.

        Raises:
            InvalidInputError: as for `load_scan`, and a shape or an affine that is none.
        """
        return cls._of(from_affine(plain(array), affine, source), nan=nan, labels=labels)

    @property
    def affine(self) -> np.ndarray:
        """(4, 4): voxels of `array` to mm in RAS, as nibabel, MONAI and TorchIO have it."""
        return ras_affine(self.spacing, self.origin, self.direction)

    @classmethod
    def _of(cls, stored: Stored, *, nan: float | None, labels: bool, spacing: Sequence[float] | None = None) -> Scan:
        nan = None if nan is None else _given_nan(nan)
        if labels and stored.lossy:
            raise lossy_labels(stored.lossy, "DICOM, compressed with loss")
        grid = grid_of(stored, spacing)
        array = lps_array(stored, grid)
        check_values(array, stored.source, nan, labels)
        matrix = np.array(grid.direction).reshape(3, 3)
        signs = np.where(grid.flipped, -1.0, 1.0)
        corner = [grid.size[axis] - 1 if flipped else 0 for axis, flipped in zip(grid.axes, grid.flipped, strict=True)]
        steps = matrix[:, grid.axes] * np.array(grid.spacing)[list(grid.axes)]
        origin = np.array(grid.origin) + steps @ np.array(corner, dtype=float)
        return cls(
            array=array,
            spacing=triple(grid.spacing[axis] for axis in grid.axes),
            origin=triple(origin),
            direction=tuple(float(value) + 0.0 for value in (matrix[:, grid.axes] * signs).ravel()),
            source=stored.source,
            file_grid=grid,
            modality=stored.modality,
        )


def load_scan(
    path: str | os.PathLike[str],
    *,
    series: str | None = None,
    nan: float | None = None,
    labels: bool = False,
    spacing: Sequence[float] | None = None,
    rescale: Sequence[float] | None = None,
    outside: bool = False,
) -> Scan:
    """Read a scan into LPS order, whatever its file says.

    Args:
        path: DICOM folder (or a file in it, or a folder above it), NIfTI, MHA/MHD or NRRD.
        series: SeriesInstanceUID, where a DICOM folder holds several.
        nan: value that replaces NaN and infinite voxels.
        labels: a label map: whole numbers only, and one value everywhere is allowed.
        spacing: distance of voxels along x (left), y (posterior) and z (superior) in mm, where the file does not say it
            or says it wrongly. The distance of DICOM slices follows from their positions, which it has to agree with.
        rescale: slope and intercept of the stored values, where DICOM files of CT or PET do not say them.
        outside: whether an .mhd or .nhdr file may name a file of voxels outside its own folder.

    Returns:
        a `Scan`: array (C, X, Y, Z) float32 in the file's own units. C is 1 but for multi-channel files.

    Raises:
        ReadError: missing, empty, truncated or damaged, or no scan.
        InvalidInputError: not a 3D scan of grey values (2D, 4D, colour), an impossible or contradictory geometry, no
            spacing, CT or PET without rescaling, missing slices, several series, NaN voxels, the same value everywhere,
            or more voxels than are read (SG_HUB_MAX_BYTES in the environment allows more).
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidInputError(f"load_scan takes a path, not a {type(path).__name__}: {_FORMATS}")
    path = given_path(path, _FORMATS)
    if spacing is not None:
        spacing = _given_spacing(spacing)
    try:
        if not path.exists():
            raise ReadError(_missing(path))
        stored = in_units(_read(path, series, outside), rescale, labels)
        return Scan._of(stored, nan=nan, labels=labels, spacing=spacing)
    except OSError as error:
        if isinstance(error, ReadError):
            raise
        what = "ask for the right to read it" if isinstance(error, PermissionError) else "check the path and the disk"
        raise ReadError(f"{error.filename or path} cannot be read ({error.strerror or error}): {what}") from error
    except MemoryError as error:
        raise ReadError(f"{path} does not fit into the memory of this machine: read it on a larger one") from error


def _read(path: Path, series: str | None, outside: bool) -> Stored:
    from sg_hub.io.formats.dicom.series import read_beside, read_folder

    if path.is_dir():
        return read_folder(path, series)
    if not path.is_file():
        raise ReadError(f"{path} is neither a file nor a folder: expected {_FORMATS}")
    with open(path, "rb") as file:
        start = file.read(1024)
    if not start:
        raise ReadError(f"{path} is empty: copy, download or export it again; expected {_FORMATS}")
    other = other_format(start)
    if other:
        raise ReadError(f"{path} {other}; expected {_FORMATS}")
    name = path.name.lower()
    kind = picture_format(start)
    if kind:
        raise ReadError(
            f"{path} is a 2D picture or the like ({kind}), not a 3D scan: expected {_FORMATS}; pictures take 2D "
            "weights, such as semantic-genesis-2d-tiny"
        )
    if not (is_nrrd(start) or name.endswith(_SUFFIXES)) and (starts_as_dicom(start) or name.endswith(DICOM_SUFFIXES)):
        return read_beside(path, series)
    if series is not None:
        raise InvalidInputError(f"{path}: series={series!r} chooses among DICOM series; leave it out for a file")
    if is_nrrd(start):
        return read_nrrd(path, outside)
    if is_meta_image(start):
        return read_meta_image(path, outside)
    if start.startswith(GZIP) and not name.endswith(NIFTI_SUFFIXES):
        inside = unzipped(start)
        if inside and not inside.startswith(GZIP) and not is_nifti(inside):
            hint = (
                "of FreeSurfer, which is not read here (mri_convert makes NIfTI of it)" if name.endswith(".mgz") else ""
            )
            raise ReadError(f"{path} is a gzipped file {hint or 'of no format that can be read'}: expected {_FORMATS}")
    if start.startswith(GZIP) or is_nifti(start) or name.endswith(NIFTI_SUFFIXES):
        return read_nifti(path)
    if name.endswith(META_SUFFIXES):
        return read_meta_image(path, outside)
    if name.endswith(NRRD_SUFFIXES):
        return read_nrrd(path, outside)
    raise ReadError(f"{path} is in no format that can be read: expected {_FORMATS}")


def _given_spacing(spacing: Sequence[float]) -> tuple[float, ...]:
    values = several(spacing, 3)
    if values is None or not is_spacing(values):
        raise InvalidInputError(f"spacing={spacing!r}: expected three positive numbers (x, y, z) in mm")
    return values


def _given_nan(nan: Any) -> float:
    value = real(nan)
    if value is None or abs(value) > float(np.finfo(np.float32).max):
        raise InvalidInputError(f"nan={nan!r}: expected a number to replace NaN and infinite voxels by, such as -1000")
    return value


def _missing(path: Path) -> str:
    parent = path.parent
    if path.is_symlink():
        return f"{path} is a link to {os.readlink(path)}, which is not there: mend the link, or give the file itself"
    if not parent.is_dir():
        return f"{path}: no such file or folder, and {parent} does not exist either; check the path"
    near = difflib.get_close_matches(path.name, sorted(p.name for p in parent.iterdir()), n=1)
    hint = f"did you mean {parent / near[0]}?" if near else "check the path."
    return f"{path}: no such file or folder; {hint} Expected {_FORMATS}"
