"""Scans: read from any usual format into LPS order, and results written back in the geometry of the file."""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.headers import check_header, check_spacing, truncated
from sg_hub.io.orientation import FileGrid, Triple, check_kind, check_values, grid_of, lps_array, triple

if TYPE_CHECKING:
    import SimpleITK as sitk

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_FORMATS = "a DICOM folder, NIfTI (.nii, .nii.gz), MHA/MHD or NRRD"
_SCAN_IOS = ("NiftiImageIO", "MetaImageIO", "NrrdImageIO")
_WRITTEN = (".nii.gz", ".nii", ".nrrd", ".mha")


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
    """

    array: np.ndarray
    spacing: Triple = (1.0, 1.0, 1.0)
    origin: Triple = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = _IDENTITY
    source: str = "array"
    file_grid: FileGrid | None = None

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or self.array.dtype != np.float32:
            raise InvalidInputError(
                f"array of shape {self.array.shape} and type {self.array.dtype}: a Scan takes (C, X, Y, Z) "
                "float32, "
                "for instance array[None].astype('float32')"
            )
        check_spacing(self.source, self.spacing, "spacing")

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

        array = _plain(array)
        if array.ndim not in (3, 4) or array.shape[-3:] != self.size:
            raise InvalidInputError(
                f"result of shape {array.shape}: expected {self.size} or (channels, "
                f"{', '.join(map(str, self.size))}), "
                "the size of the scan that it belongs to"
            )
        if array.ndim == 4 and array.shape[0] == 1:
            array = array[0]
        grid = self.file_grid or FileGrid(self.size, self.spacing, self.origin, self.direction, "LPS")
        spatial = array.ndim - 3
        flips = tuple(spatial + axis for axis, flipped in enumerate(grid.flipped) if flipped)
        array = np.flip(array, flips)
        # SimpleITK takes (z, y, x) of the file, and the channels last.
        order = [spatial + grid.axes.index(axis) for axis in (2, 1, 0)]
        array = np.ascontiguousarray(array.transpose(*order, *range(spatial)))
        image = sitk.GetImageFromArray(array, isVector=spatial == 1)
        image.SetSpacing(grid.spacing)
        image.SetOrigin(grid.origin)
        image.SetDirection(grid.direction)
        return image

    def save(self, array: Any, path: str | os.PathLike[str]) -> Path:
        """Write `to_image(array)`; an older file of that name stays until the new one is complete.

        Args:
            path: .nii.gz, .nii, .nrrd or .mha.

        Raises:
            InvalidInputError: another size or suffix.
            ReadError: the folder is missing, or the file cannot be written.
        """
        import SimpleITK as sitk

        path = Path(path).expanduser()
        suffix = next((suffix for suffix in _WRITTEN if path.name.lower().endswith(suffix)), None)
        if suffix is None:
            raise InvalidInputError(f"{path}: results are written as {', '.join(_WRITTEN)}; name the file so")
        if not path.parent.is_dir():
            raise ReadError(f"{path}: the folder {path.parent} does not exist; make it first")
        image = self.to_image(array)
        try:
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder, _quiet():
                temporary = os.path.join(folder, "result" + suffix)
                sitk.WriteImage(image, temporary, True)
                os.replace(temporary, path)
        except (RuntimeError, OSError) as error:
            raise ReadError(
                f"{path} cannot be written ({_reason(error)}): is there space, and may you write there?"
            ) from error
        return path

    @classmethod
    def from_image(
        cls, image: sitk.Image, source: str = "image", *, nan: float | None = None, labels: bool = False
    ) -> Scan:
        """A scan from a SimpleITK image; arguments, result and errors as for `load_scan`."""
        check_kind(source, image.GetDimension(), image.GetSize(), image.GetNumberOfComponentsPerPixel(), image)
        if image.GetDimension() == 4:
            image = image[:, :, :, 0]
        grid = grid_of(image, source)
        array = lps_array(image, grid)
        check_values(array, source, nan, labels)
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
            source=source,
            file_grid=grid,
        )


def load_scan(
    path: str | os.PathLike[str], *, series: str | None = None, nan: float | None = None, labels: bool = False
) -> Scan:
    """Read a scan into LPS order, whatever its file says.

    Args:
        path: DICOM folder (or a file in it, or a folder above it), NIfTI, MHA/MHD or NRRD.
        series: SeriesInstanceUID, where a DICOM folder holds several.
        nan: value that replaces NaN and infinite voxels.
        labels: a label map: whole numbers only, and one value everywhere is allowed.

    Returns:
        a `Scan`: array (C, X, Y, Z) float32 in the file's own units. C is 1 but for multi-channel files.

    Raises:
        ReadError: missing, empty, truncated or damaged, or no scan.
        InvalidInputError: not a 3D scan of grey values (2D, 4D, colour), an impossible geometry, missing
            slices, several series, NaN voxels, or the same value everywhere.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidInputError(f"load_scan takes a path, not a {type(path).__name__}: {_FORMATS}")
    path = Path(path).expanduser()
    if not path.exists():
        raise ReadError(_missing(path))
    with _quiet():
        image, source = _read(path, series)
        return Scan.from_image(image, source, nan=nan, labels=labels)


def _read(path: Path, series: str | None) -> tuple[sitk.Image, str]:
    import SimpleITK as sitk

    from sg_hub.io import dicom_series as dicom

    try:
        if path.is_dir():
            return dicom.read_folder(path, series)
        if path.stat().st_size == 0:
            raise ReadError(f"{path} is empty: copy, download or export it again; expected {_FORMATS}")
        kind = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
        if kind == "GDCMImageIO":
            return dicom.read_beside(path, series)
        bad = check_header(path)
        if kind not in _SCAN_IOS:
            raise ReadError(_no_scan(path, kind))
        if series is not None:
            raise InvalidInputError(f"{path}: series={series!r} chooses among DICOM series; leave it out for a file")
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        check_kind(str(path), reader.GetDimension(), reader.GetSize(), reader.GetNumberOfComponents(), reader)
        image = reader.Execute()
        return (image if bad is None else _with_nan(image, bad)), str(path)
    except PermissionError as error:
        raise ReadError(f"{path} cannot be read ({error.strerror}): ask for the right to read it") from error
    except RuntimeError as error:
        raise _explain(path, error) from error


def _with_nan(image: sitk.Image, bad: np.ndarray) -> sitk.Image:
    """The image with NaN in the voxels `bad` of the file, whose channels come one after the other."""
    import SimpleITK as sitk

    channels = image.GetNumberOfComponentsPerPixel()
    array = sitk.GetArrayFromImage(image)
    array[bad.reshape(channels, -1).T.reshape(array.shape)] = np.nan
    repaired = sitk.GetImageFromArray(array, isVector=channels > 1)
    repaired.CopyInformation(image)
    return repaired


def _explain(path: Path, error: RuntimeError) -> Exception:
    text = str(error)
    if "orthonormal" in text or "determinant" in text:
        return InvalidInputError(
            f"{path}: its direction matrix is singular or sheared; expected a rectangular grid: correct the "
            "header, or "
            "convert the scan again from its source"
        )
    if "spacing is not supported" in text or "parsing space" in text:
        return InvalidInputError(
            f"{path}: a spacing in its header is zero or not a number; expected positive numbers in mm. "
            "Convert the scan "
            "again from its source, or correct the header"
        )
    return truncated(path, _reason(error))


def _reason(error: Exception) -> str:
    """The last line of what ITK says, which is the innermost."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__


def _no_scan(path: Path, kind: str) -> str:
    if kind:
        return (
            f"{path} is a 2D picture or the like ({kind.removesuffix('ImageIO')}), not a 3D scan: expected {_FORMATS}"
        )
    if path.name.lower().endswith((".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr", ".dcm")):
        return f"{path} is truncated or damaged (its header cannot be read): copy, download or export it again"
    return f"{path} is in no format that can be read: expected {_FORMATS}"


def _missing(path: Path) -> str:
    parent = path.parent
    if not parent.is_dir():
        return f"{path}: no such file or folder, and {parent} does not exist either; check the path"
    near = difflib.get_close_matches(path.name, sorted(p.name for p in parent.iterdir()), n=1)
    hint = f"did you mean {parent / near[0]}?" if near else "check the path"
    return f"{path}: no such file or folder; {hint} Expected {_FORMATS}"


def _plain(array: Any) -> np.ndarray:
    """Numpy of a type that SimpleITK has."""
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = array.float().numpy() if array.is_floating_point() else array.numpy()
    array = np.asarray(array)
    if array.dtype == bool:
        return array.astype(np.uint8)
    return array if np.issubdtype(array.dtype, np.integer) else array.astype(np.float32, copy=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ITK's warnings off: what matters is checked here and is an error."""
    import SimpleITK as sitk

    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)
