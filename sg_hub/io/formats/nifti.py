"""NIfTI files, read from the bytes that were checked and written byte by byte; nibabel knows the header.

ITK opens other files than it is asked for (`ct.nii` for `ct.nii.gz`, where both are there), reads what is cut off as
zeros and NaN as 0, and reports no error when a disk is full.
"""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.io.formats.byte_stream import GZIP, ByteStream, Packing, truncated
from sg_hub.io.formats.kinds import check_shape, looks_like_colour, refuse_colour, refuse_complex
from sg_hub.io.formats.limits import refuse_large
from sg_hub.io.formats.orientation import (
    IDENTITY,
    FileGrid,
    NiftiTransforms,
    Stored,
    Triple,
    planes_of,
    triple,
    warn_of_no_orientation,
)

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")
_log = logging.getLogger(__name__)
_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in the unit of xyzt_units: not given (mm, as everybody takes it), m, mm, micron."""
_MOST_OFFSET = 1 << 28
"""Bytes of extensions before the voxels; more is a damaged header."""
_SAME_SCALE, _SAME_SIDE, _SAME_PLACE = 0.01, 0.7, 0.5
"""sform and qform agree within this share of the spacing, this cosine of their axes (45 degrees), and this many voxels
at every corner."""
_ROUNDING = 1e-4
"""Share by which pixdim, rounded, differs from the sform and is taken: over 500 voxels it moves none by a tenth."""
_LPS = np.diag([-1.0, -1.0, 1.0])
"""NIfTI's axes go right, anterior, superior."""
_GZIP_LEVEL = 4
"""Of what is written: a tenth larger than level 6, in half of the time."""


def is_nifti(start: bytes) -> bool:
    """Whether the first 348 bytes of a file are those of a header, also of ANALYZE 7.5."""
    return len(start) >= 348 and {start[:4], start[3::-1]} & {_number(348), _number(540)} != set()


def read_nifti(path: Path) -> Stored:
    """A NIfTI-1 or -2 file, gzipped or not, or a pair of .hdr and .img of which either may be given.

    Raises:
        ReadError: truncated or damaged.
        InvalidInputError: not one volume of grey values, or a header that contradicts itself.
    """
    head_path = _named(path, "hdr") if path.name.lower().endswith((".img", ".img.gz")) else path
    with open(head_path, "rb") as file:
        stream = ByteStream(file, head_path, _packing(file))
        header, single = _header(stream, head_path)
        sides, channels = _sides(header, head_path)
        dtype = _type(header, head_path, channels)
        refuse_large(head_path, (*sides, channels))
        offset = _offset(header, head_path, single)
        length = math.prod(sides) * channels * dtype.itemsize
        if single:
            stream.skip(offset - int(header.sizeof_hdr) - 4)
            voxels = stream.voxels(length)
            stream.finish()
    if not single:
        data_path = _named(path, "img")
        with open(data_path, "rb") as file:
            stream = ByteStream(file, data_path, _packing(file))
            stream.skip(offset)
            voxels = stream.voxels(length)
            stream.finish()
    return _stored(header, head_path, voxels.view(dtype).reshape(channels, *sides[::-1]))


def _stored(header: Nifti1Header, path: Path, voxels: np.ndarray) -> Stored:
    pixdim = [float(value) for value in header["pixdim"][:4]]
    scale = _unit(header, path)
    try:
        slope, inter = header.get_slope_inter()  # none where the slope is 0 or NaN, which says that there is none
        if math.isinf(header["scl_slope"]):
            raise ValueError("an infinite slope")
    except Exception as error:  # nibabel's own kinds of error
        raise InvalidInputError(f"{path}: {shortened(error)} (scl_slope, scl_inter): correct the header") from error
    spacing, origin, direction = _place(header, path, [value * scale for value in pixdim[1:]], scale)
    transforms = NiftiTransforms(
        (int(header["qform_code"]), int(header["sform_code"])),
        tuple(pixdim),
        tuple(float(header[f"{key}"]) for key in _QUATERNION),
        tuple(float(value) for row in "xyz" for value in header[f"srow_{row}"]),
        int(header["xyzt_units"]),
    )
    channels, third, second, first = voxels.shape
    planes = planes_of(voxels.swapaxes(0, 1), 1.0 if slope is None else slope, 0.0 if inter is None else inter)
    size = (first, second, third)
    return Stored(str(path), size, channels, planes, spacing, "pixdim", origin, direction, nifti=transforms)


_QUATERNION = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")


# -- the header -------------------------------------------------------------------------------------------------


def _header(stream: ByteStream, path: Path) -> tuple[Nifti1Header, bool]:
    """The header, and whether the voxels are in the same file; the stream stands four bytes behind it."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    start = stream.take(352)
    if start.startswith(GZIP):
        raise InvalidInputError(f"{path} is compressed twice: unpack it once (gunzip), and give what comes of it")
    if not is_nifti(start):
        raise truncated(path, "it has no NIfTI header")
    kind: type[Nifti1Header]
    if _number(540) in (start[:4], start[3::-1]):
        kind, start, magic = Nifti2Header, start + stream.take(544 - len(start)), start[4:7]
    else:
        kind, magic = Nifti1Header, start[344:347]
    if magic not in (b"n+1", b"ni1", b"n+2", b"ni2"):
        raise InvalidInputError(
            f"{path} is an ANALYZE 7.5 header, which does not say which side is left; expected NIfTI: convert the scan "
            "again from its source"
        )
    size = int(kind.sizeof_hdr)
    order = "<" if start[:4] == _number(size) else ">"
    if len(start) < size:
        raise truncated(path, "its header is cut off")
    single = magic[1:2] == b"+"
    if single == path.name.lower().endswith((".hdr", ".hdr.gz")):
        wanted = "of a single file" if single else "of a pair of .hdr and .img"
        raise InvalidInputError(f"{path} has the header {wanted}: give it the name that belongs to it")
    return kind(start[:size], endianness=order, check=False), single


def _sides(header: Nifti1Header, path: Path) -> tuple[list[int], int]:
    """Voxels along the three axes of space, and the channels."""
    count, *dims = (int(value) for value in header["dim"])
    sides = dims[: max(count, 0)]
    if not 1 <= count <= 7 or min(sides) < 1:
        raise truncated(path, f"its header gives the size {' x '.join(map(str, sides)) or count}")
    while len(sides) > 3 and sides[-1] == 1:
        sides.pop()
    channels = 1
    if len(sides) == 5 and sides[3] == 1:
        channels, sides = sides[4], sides[:3]
    check_shape(str(path), sides)
    return sides[:3], channels


def _type(header: Nifti1Header, path: Path, channels: int) -> np.dtype:
    try:
        dtype: np.dtype[Any] = np.dtype(header.get_data_dtype())
    except Exception as error:  # nibabel's own kinds of error, for codes that there are not
        raise InvalidInputError(f"{path}: datatype {int(header['datatype'])} is no type of NIfTI") from error
    if dtype.names:
        refuse_colour(str(path), len(dtype.names), "8-bit unsigned")
    if dtype.kind == "c":
        refuse_complex(str(path), f"{8 * dtype.itemsize}-bit complex")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InvalidInputError(f"{path} holds values of type {dtype}; expected whole or floating-point numbers")
    bits = int(header["bitpix"])
    if bits not in (0, 8 * dtype.itemsize):
        raise truncated(path, f"its header says {bits} bits a voxel (bitpix) and the type {dtype} (datatype)")
    if looks_like_colour(channels, 8 * dtype.itemsize, dtype.kind == "u"):
        refuse_colour(str(path), channels, "8-bit unsigned")
    return dtype


def _offset(header: Nifti1Header, path: Path, single: bool) -> int:
    """Of the voxels in their file."""
    least = int(header.single_vox_offset) if single else 0
    given = float(header["vox_offset"])
    if not (least <= given <= _MOST_OFFSET and given == int(given)):
        raise truncated(path, f"its voxels begin at byte {given:g} (vox_offset); expected {least} or more")
    return int(given)


def _unit(header: Nifti1Header, path: Path) -> float:
    code = int(header["xyzt_units"]) % 8
    if code not in _UNITS:
        raise InvalidInputError(f"{path}: its unit of length has the code {code} (xyzt_units); expected 1, 2 or 3")
    return _UNITS[code]


# -- its place --------------------------------------------------------------------------------------------------


def _place(
    header: Nifti1Header, path: Path, pixdim: Sequence[float], scale: float
) -> tuple[list[float | None], Triple, tuple[float, ...]]:
    """Spacing and origin in mm and direction (row-major), in LPS.

    As viewers do, the sform is followed where there is one, else the qform. Where both are there they have to agree in
    what cannot be chosen: which side is left, and how large a voxel is.
    """
    sform, qform = _affine(header, "sform", scale), _affine(header, "qform", scale)
    if sform is not None and qform is not None and not _rectangular(sform):
        _log.warning("%s: its sform is no rectangular grid and is left out; its qform is followed", path)
        sform = None
    affine = qform if sform is None else sform
    if affine is None:
        warn_of_no_orientation(path, "qform_code and sform_code are 0")
        return [*pixdim], (0.0, 0.0, 0.0), IDENTITY
    lengths = np.sqrt((affine[:3, :3] ** 2).sum(0))
    spacing = list(pixdim)
    if sform is not None and _rectangular(sform) and all(math.isfinite(value) and value > 0 for value in pixdim):
        apart = np.abs(lengths / pixdim - 1).max()
        if apart > _SAME_SCALE:
            _scales_differ(path, lengths, pixdim, qform is not None)
        elif qform is not None and np.isfinite(qform).all():
            _compare(header, path, sform, qform)
        if apart > _ROUNDING:
            spacing = lengths.tolist()
    with np.errstate(all="ignore"):
        direction = _LPS @ affine[:3, :3] / lengths
        origin = triple(_LPS @ affine[:3, 3])
    return [*spacing], origin, tuple(direction.ravel().tolist())


def _affine(header: Nifti1Header, name: str, scale: float) -> np.ndarray | None:
    """(4, 4) to mm in RAS; None where it is not coded. A qform that is none (its quaternion is too long) is NaN."""
    if int(header[f"{name}_code"]) <= 0:
        return None
    header = header.copy()
    pixdim = header["pixdim"][1:4]
    pixdim[~(np.isfinite(pixdim) & (pixdim > 0))] = 1  # the direction is known without the spacing
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # of which the sign alone counts
    try:
        affine = np.array(header.get_sform() if name == "sform" else header.get_qform(), dtype=float)
    except Exception:  # nibabel's own kinds of error
        return np.full((4, 4), np.nan)
    affine[:3] *= scale
    return affine


def _rectangular(affine: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        matrix = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(0))
        return bool(np.abs(matrix.T @ matrix - np.eye(3)).max() <= 1e-3 and np.isfinite(affine).all())


def _scales_differ(path: Path, lengths: np.ndarray, pixdim: Sequence[float], both: bool) -> None:
    sizes = [" x ".join(f"{value:.4g}" for value in values) for values in (lengths, pixdim)]
    message = f"{path}: voxels of {sizes[0]} mm by its sform, of {sizes[1]} by its pixdim"
    if both:
        raise InvalidInputError(
            f"{message}, which its qform has too: which of them is right cannot be told. Correct the header (nibabel: "
            "image.set_qform(image.get_sform()), or image.set_sform(image.get_qform()))"
        )
    _log.warning("%s; the sform is followed, the only transform of the file", message)


def _compare(header: Nifti1Header, path: Path, sform: np.ndarray, qform: np.ndarray) -> None:
    """Warn where the two place the scan elsewhere; refuse them where they do not name the same sides."""
    from nibabel.orientations import aff2axcodes

    one, other = (affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(0)) for affine in (sform, qform))
    if (one * other).sum(0).min() < _SAME_SIDE:
        codes = ["".join(map(str, aff2axcodes(affine))) for affine in (sform, qform)]
        raise InvalidInputError(
            f"{path}: its axes go {codes[0]} by its sform and {codes[1]} by its qform, so which side is left cannot be "
            "told. Correct the header (nibabel: image.set_qform(image.get_sform()), or the other way round)"
        )
    ends = np.ones((4, 4))
    ends[:3] = np.column_stack([np.zeros(3), np.diag(header["dim"][1:4].astype(float) - 1)])
    spacing = np.sqrt((sform[:3, :3] ** 2).sum(0)).max()
    apart = float(np.abs((sform - qform) @ ends).max())
    if apart > _SAME_PLACE * spacing:
        _log.warning(
            "%s: its sform and its qform place it up to %.4g mm apart; the sform is followed. Results saved as NIfTI "
            "get both",
            path,
            apart,
        )


# -- files ------------------------------------------------------------------------------------------------------


def _packing(file: IO[bytes]) -> Packing:
    start = file.read(2)
    file.seek(0)
    return "deflate" if start == GZIP else "none"


def pair_of(path: Path) -> list[Path]:
    """The .hdr and the .img that belong together, where one of them is given. Errors as for `read_nifti`."""
    return [_named(path, "hdr"), _named(path, "img")]


def _named(path: Path, kind: str) -> Path:
    """The .hdr or .img of a pair, packed or not.

    Raises:
        ReadError: there is none.
        InvalidInputError: there are two.
    """
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    stem, given = name[:-4], name[-4:]
    if given[1:].lower() == kind:
        return path
    suffix = f".{kind.upper() if given.isupper() else kind}"
    found = [file for end in ("", ".gz") if (file := path.with_name(f"{stem}{suffix}{end}")).is_file()]
    if not found:
        raise ReadError(f"{path}: there is no {stem}{suffix} beside it: copy both files together")
    if len(found) > 1:
        raise InvalidInputError(f"{path}: {found[0].name} and {found[1].name} are beside it: leave the one of them")
    return found[0]


def _number(value: int) -> bytes:
    return value.to_bytes(4, "little")


# -- writing ----------------------------------------------------------------------------------------------------


def write_nifti(file: IO[bytes], voxels: np.ndarray, grid: FileGrid, packed: bool) -> None:
    """Write (first, second, third) or (channels, first, second, third) in the order of the file's axes.

    Args:
        packed: as a .nii.gz is.
    """
    from nibabel.nifti1 import Nifti1Image
    from nibabel.nifti2 import Nifti2Image

    if voxels.ndim == 4:
        voxels = np.moveaxis(voxels, 0, -1)[:, :, :, None]
    kind: Any = Nifti1Image if max(voxels.shape) < 1 << 15 else Nifti2Image
    affine = np.eye(4)
    affine[:3, :3] = _LPS @ np.array(grid.direction).reshape(3, 3) * np.array(grid.spacing)
    affine[:3, 3] = _LPS @ np.array(grid.origin)
    header = kind.header_class()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    header.set_xyzt_units("mm")
    if voxels.ndim == 5:
        header.set_intent("vector")
    if grid.nifti is not None:
        _as_it_was(header, grid.nifti)
    image = kind(voxels, header.get_best_affine(), header)  # another affine would replace both transforms
    if packed:
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=_GZIP_LEVEL, mtime=0) as stream:
            image.to_stream(cast(IO[bytes], stream))
    else:
        image.to_stream(file)


def _as_it_was(header: Nifti1Header, transforms: NiftiTransforms) -> None:
    header["qform_code"], header["sform_code"] = transforms.codes
    header["pixdim"][:4] = transforms.pixdim
    for key, value in zip(_QUATERNION, transforms.quaternion, strict=True):
        header[key] = value
    for number, row in enumerate("xyz"):
        header[f"srow_{row}"] = transforms.rows[4 * number : 4 * number + 4]
    header["xyzt_units"] = transforms.units
