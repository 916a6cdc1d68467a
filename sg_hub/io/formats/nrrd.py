"""NRRD files (.nrrd, .nhdr): the header is checked field by field, and the voxels are read as numbers.

The reader of ITK overlooks the unit of space, takes 1 mm where a spacing is missing, follows names of files wherever
they lead, and ends the process on directions that are no numbers. http://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sg_hub.errors import InvalidInputError, shortened
from sg_hub.io.formats.byte_stream import ByteStream, Packing, truncated
from sg_hub.io.formats.data_files import TEXT_HEADER, numbered_names, read_parts, real_numbers, whole_number
from sg_hub.io.formats.kinds import check_shape, looks_like_colour, refuse_colour, refuse_complex
from sg_hub.io.formats.limits import refuse_large
from sg_hub.io.formats.orientation import IDENTITY, Stored, Triple, planes_of, triple, warn_of_no_orientation

SUFFIXES = (".nrrd", ".nhdr")
_log = logging.getLogger(__name__)
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_TYPE_OF = {name: kind for kind, names in _TYPES.items() for name in names}
_PACKING: dict[str, Packing] = {"raw": "none", "gzip": "deflate", "gz": "deflate", "bzip2": "bzip2", "bz2": "bzip2"}
_TEXT, _HEX = ("txt", "text", "ascii"), ("hex",)
_UNITS = {
    1.0: ("mm", "millimeter", "millimeters", "millimetre", "millimetres", "", "???"),
    1000.0: ("m", "meter", "meters", "metre", "metres"),
    10.0: ("cm", "centimeter", "centimeters", "centimetre", "centimetres"),
    0.001: ("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"),
    0.000001: ("nm", "nanometer", "nanometers", "nanometre", "nanometres"),
}
_SCALE = {name: scale for scale, names in _UNITS.items() for name in names}
_SIDES = {"left": (0, 1), "right": (0, -1), "posterior": (1, 1), "anterior": (1, -1), "superior": (2, 1)}
_SIDES["inferior"] = (2, -1)
_LETTERS = {name[0]: name for name in _SIDES}
_FREE = ("scanner-xyz", "3d-right-handed", "3d-left-handed", "")
"""Spaces that do not say where the patient's left is; taken for LPS, as everybody does."""
_SPATIAL = ("domain", "space", "???", "none", "")
_OTHER_NAMES = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "axismins": "axis mins",
    "centerings": "centers",
}
_VECTOR = re.compile(r"none|\(([^()]*)\)")


def is_nrrd(start: bytes) -> bool:
    """Whether a file begins like one."""
    return start.startswith(b"NRRD")


@dataclass(frozen=True)
class _Axes:
    """Which axes of the file are those of space, fastest first, and which one (if any) holds the channels."""

    space: tuple[int, ...]
    channels: int | None


def read_nrrd(path: Path, outside: bool = False) -> Stored:
    """A .nrrd or .nhdr file.

    Args:
        outside: whether its voxels may be in a file of another folder.

    Raises:
        ReadError: truncated or damaged, or its data file is missing.
        InvalidInputError: not one volume of grey values, or a header that cannot be followed.
    """
    with open(path, "rb") as file:
        head = file.read(TEXT_HEADER)
    fields, listed, offset = _fields(head, path)
    dimension = whole_number(fields.get("dimension", ""), path, "dimension")
    sizes = [whole_number(part, path, "sizes") for part in fields.get("sizes", "").split()]
    if not 1 <= dimension <= 16 or len(sizes) != dimension or min(sizes) < 1:
        raise truncated(path, f"sizes is {shortened(fields.get('sizes', ''), 60)!r} and dimension {dimension}")
    dtype = _type(fields, path)
    directions = _vectors(fields, "space directions", path, dimension)
    axes = _axes(fields, path, sizes, directions, dtype)
    channels = 1 if axes.channels is None else sizes[axes.channels]
    refuse_large(path, sizes)
    spacing, origin, matrix = _place(fields, path, axes, directions)
    voxels = _voxels(fields, listed, path, offset, math.prod(sizes), dtype, outside).reshape(sizes[::-1])
    order = [dimension - 1 - axis for axis in axes.space[::-1]]
    if axes.channels is None:
        voxels = voxels.reshape([1, *sizes[::-1]])
        order = [0, *(axis + 1 for axis in order)]
    else:
        order = [dimension - 1 - axes.channels, *order]
    voxels = voxels.transpose([*order, *(axis for axis in range(voxels.ndim) if axis not in order)])
    voxels = voxels.reshape(voxels.shape[:4])  # what is left has one value along it
    size = (sizes[axes.space[0]], sizes[axes.space[1]], sizes[axes.space[2]])
    field = "spacings" if "spacings" in fields else "space directions"
    return Stored(str(path), size, channels, planes_of(voxels.swapaxes(0, 1)), spacing, field, origin, matrix)


def data_names(path: Path) -> list[str]:
    """The files that a header names for its voxels; none where they follow it. Errors as for `read_nrrd`."""
    with open(path, "rb") as file:
        fields, listed, _ = _fields(file.read(TEXT_HEADER), path)
    return listed or (_names(fields["data file"], path) if "data file" in fields else [])


def _fields(head: bytes, path: Path) -> tuple[dict[str, str], list[str], int]:
    """Values by field, the files that are listed below the last one, and where the header ends."""
    if not is_nrrd(head):
        raise truncated(path, "it does not start with NRRD")
    fields: dict[str, str] = {}
    offset, lines = 0, head.split(b"\n")
    for number, raw in enumerate(lines):
        offset += len(raw) + 1
        line = raw.decode("utf-8", "surrogateescape").rstrip("\r")
        if not line.strip():
            return fields, [], offset
        name, colon, value = line.partition(": ")
        name = name.strip().lower()
        if number == 0 or line.startswith("#") or not colon or ":=" in line.partition(" ")[0]:
            continue
        name = _OTHER_NAMES.get(name, name)
        if fields.setdefault(name, value.strip()) != value.strip():
            raise truncated(path, f"its header gives {shortened(name, 40)} twice")
        if name == "data file" and value.split()[:1] == ["LIST"]:
            below = [entry.decode("utf-8", "surrogateescape").strip() for entry in lines[number + 1 :]]
            return fields, [entry for entry in below if entry], len(head)
    if "data file" not in fields:
        raise truncated(path, "its header has no end")
    return fields, [], len(head)


def _type(fields: dict[str, str], path: Path) -> np.dtype:
    kind = _TYPE_OF.get(" ".join(fields.get("type", "").lower().split()))
    if kind is None:
        raise InvalidInputError(
            f"{path}: its type is {shortened(fields.get('type', ''), 40)!r}; expected numbers, such as short or float"
        )
    dtype, order = np.dtype(kind), fields.get("endian", "").lower()
    encoding = fields.get("encoding", "").lower()
    if dtype.itemsize > 1 and encoding not in _TEXT and order not in ("little", "big"):
        raise truncated(path, f"endian is {shortened(order, 40)!r}; expected little or big")
    return dtype.newbyteorder(">" if order == "big" else "<")


def _axes(
    fields: dict[str, str],
    path: Path,
    sizes: Sequence[int],
    directions: list[tuple[float, ...] | None] | None,
    dtype: np.dtype,
) -> _Axes:
    kinds = fields.get("kinds", "").lower().split() or [""] * len(sizes)
    if len(kinds) != len(sizes):
        raise truncated(path, f"it has {len(sizes)} axes and {len(kinds)} kinds")
    if directions is not None:
        space = [axis for axis, vector in enumerate(directions) if vector is not None]
    else:
        spacings = fields.get("spacings", "").lower().split()
        unknown = "kinds" not in fields and len(sizes) == len(spacings) == 4 and spacings.count("nan") == 1
        space = [axis for axis, kind in enumerate(kinds) if kind in (*_SPATIAL, "time")]
        if unknown:  # the axis of the channels has no spacing
            space.remove(spacings.index("nan"))
    others = [axis for axis in range(len(sizes)) if axis not in space]
    for axis in others:
        if kinds[axis].endswith("-color"):
            refuse_colour(str(path), sizes[axis], kinds[axis])
        if kinds[axis] == "complex":
            refuse_complex(str(path), "complex")
    channels = [axis for axis in others if kinds[axis] != "time" and sizes[axis] > 1]
    if len(channels) > 1:
        raise InvalidInputError(f"{path} has {len(channels)} axes beside those of space; expected one of channels")
    times = [axis for axis in others if kinds[axis] == "time"]
    check_shape(str(path), [sizes[axis] for axis in (*space, *times)])
    named = channels and kinds[channels[0]] == "list"
    if channels and not named and looks_like_colour(sizes[channels[0]], 8 * dtype.itemsize, dtype.kind == "u"):
        refuse_colour(str(path), sizes[channels[0]], "8-bit unsigned")
    return _Axes(tuple(space[:3]), channels[0] if channels else None)


def _place(
    fields: dict[str, str], path: Path, axes: _Axes, directions: list[tuple[float, ...] | None] | None
) -> tuple[list[float | None], Triple, tuple[float, ...]]:
    """Spacing and origin in mm and direction (row-major), in LPS."""
    turn = _space(fields.get("space", ""), path)
    units = _units(fields.get("space units", ""), path, "space units", 3, (0, 1, 2))
    origin = np.zeros(3)
    if "space origin" in fields:
        (given,) = _vectors(fields, "space origin", path, 1) or [None]
        if given is None:
            raise truncated(path, "space origin is none; expected (x,y,z)")
        with np.errstate(invalid="ignore"):
            origin = turn @ (np.array(given) * units)
    if directions is not None:
        if not fields.get("space"):
            _log.warning("%s has space directions and no space, so where left is is not said; taken for LPS", path)
        _refuse_others(fields, path)
        vectors = np.array([directions[axis] for axis in axes.space], dtype=float) * units
        with np.errstate(all="ignore"):
            lengths = np.sqrt((vectors**2).sum(1))
            matrix = turn @ (vectors / lengths[:, None]).T
        return [float(value) for value in lengths], triple(origin), tuple(matrix.ravel().tolist())
    if fields.get("space"):
        _log.warning("%s names its space but no directions: its axes are taken for those of the space", path)
    else:
        warn_of_no_orientation(path, "it has neither space nor space directions")
    spacing: list[float | None] = [None] * 3
    if "spacings" in fields:
        count = whole_number(fields["dimension"], path, "dimension")
        numbers = real_numbers(fields["spacings"], path, "spacings", count)
        scales = _units(fields.get("units", ""), path, "units", count, axes.space)
        spacing = [numbers[axis] * float(scales[axis]) for axis in axes.space]
        if "axis mins" in fields and "space origin" not in fields:  # of the edge of the first voxel, or of its centre
            starts = real_numbers(fields["axis mins"], path, "axis mins", count)
            centers = (fields.get("centers", "").lower().split() or ["cell"]) + [""] * count
            inside = [0.0 if centers[axis] == "node" else numbers[axis] / 2 for axis in axes.space]
            first = [starts[axis] + half for axis, half in zip(axes.space, inside, strict=True)]
            origin = np.nan_to_num(np.array(first) * [float(scales[axis]) for axis in axes.space], nan=0.0)
    return spacing, triple(origin), tuple(turn.ravel().tolist()) if fields.get("space") else IDENTITY


def _refuse_others(fields: dict[str, str], path: Path) -> None:
    """Spacings, or units of the axes, beside directions: the format forbids them, and they may say something else."""
    said = {"spacings": fields.get("spacings", ""), "units": fields.get("units", "")}
    empty = {"nan", '""', '"???"', "???", '"mm"', "mm"}
    for field, text in said.items():
        if set(text.lower().split()) - empty:
            raise InvalidInputError(
                f"{path} has space directions and {field} ({shortened(text, 60)}), of which one may be wrong; expected "
                f"its distances in one of them: take {field} out of the header, or the directions"
            )


def _space(name: str, path: Path) -> np.ndarray:
    """(3, 3): from the file's space to LPS."""
    name = name.strip()
    parts = name.lower().split("-")
    if re.fullmatch(r"[LRPASI]{3}", name):
        parts = [_LETTERS[letter] for letter in name.lower()]
    if name.lower() in _FREE:
        if name:
            _log.warning("%s: its space is %s, which does not say where left is; it is taken for LPS", path, name)
        return np.eye(3)
    turn = np.zeros((3, 3))
    for column, side in enumerate(parts[:3]):
        row, sign = _SIDES.get(side, (0, 0))
        turn[row, column] = sign
    if len(parts) != 3 or abs(np.linalg.det(turn)) != 1:
        raise InvalidInputError(f"{path}: its space is {shortened(name, 60)!r}; expected left-posterior-superior, say")
    return turn


def _units(text: str, path: Path, field: str, count: int, needed: Sequence[int]) -> np.ndarray:
    """(count,) mm of the unit of each axis, of which those of the axes in `needed` have to be known."""
    names = re.findall(r'"([^"]*)"', text) if '"' in text else text.split()
    if not names:
        return np.ones(count)
    if len(names) != count or any(names[axis].strip().lower() not in _SCALE for axis in needed):
        raise InvalidInputError(
            f"{path}: {field} is {shortened(text, 60)!r}; expected a unit of length for each of {count} axes, such as "
            '"mm" or "um"'
        )
    return np.array([_SCALE.get(name.strip().lower(), math.nan) for name in names])


def _vectors(fields: dict[str, str], field: str, path: Path, count: int) -> list[tuple[float, ...] | None] | None:
    """A vector of three numbers for each axis, or None for an axis that has none."""
    if field not in fields:
        return None
    text = fields[field]
    found = list(_VECTOR.finditer(text))
    if _VECTOR.sub("", text).strip() or len(found) != count:
        raise truncated(path, f"{field} is {shortened(text, 60)!r}; expected {count} of the form (x,y,z)")
    return [
        None if entry.group(1) is None else real_numbers(entry.group(1).replace(",", " "), path, field, 3)
        for entry in found
    ]


def _voxels(
    fields: dict[str, str], listed: list[str], path: Path, offset: int, count: int, dtype: np.dtype, outside: bool
) -> np.ndarray:
    encoding, length = fields.get("encoding", "").lower(), count * dtype.itemsize
    byte_skip = whole_number(fields.get("byte skip", "0"), path, "byte skip")
    if whole_number(fields.get("line skip", "0"), path, "line skip") or byte_skip < -1:
        raise InvalidInputError(f"{path} skips lines of its data file; expected its voxels from a byte on (byte skip)")
    if encoding in (*_TEXT, *_HEX):
        return _written_out(path, encoding, offset, count, dtype, "data file" in fields)
    if encoding not in _PACKING:
        raise InvalidInputError(
            f"{path}: its encoding is {shortened(encoding, 40)!r}; expected raw, gzip, bzip2, text or hex"
        )
    packing = _PACKING[encoding]
    if "data file" in fields:
        names = listed or _names(fields["data file"], path)
        return read_parts(path, names, length, packing, outside, byte_skip).view(dtype)
    with open(path, "rb") as file:
        file.seek(offset)
        stream = ByteStream(file, path, packing)
        if byte_skip < 0:
            stream.to_end(length)
        stream.skip(max(0, byte_skip))
        data = stream.voxels(length)
        stream.finish()
    return data.view(dtype)


def _names(text: str, path: Path) -> list[str]:
    """The files that the field names: one, or a pattern with its numbers."""
    name, *more = text.split() or [""]
    if "%" not in text or len(more) not in (3, 4):
        return [text]
    first, last, step = (whole_number(part, path, "data file") for part in more[:3])
    return numbered_names(name, first, last, step, path)


def _written_out(path: Path, encoding: str, offset: int, count: int, dtype: np.dtype, elsewhere: bool) -> np.ndarray:
    """Voxels as text: numbers, or bytes in hexadecimal."""
    if elsewhere:
        raise InvalidInputError(f"{path}: its voxels are text in another file; expected raw or gzip")
    with open(path, "rb") as file:
        file.seek(offset)
        text = file.read(64 * count)
    try:
        if encoding in _HEX:
            numbers = np.frombuffer(bytes.fromhex(text.decode("ascii")), dtype=dtype)
        else:
            numbers = np.array(text.replace(b",", b" ").split(), dtype="S32").astype(np.float64)
    except ValueError as error:
        raise truncated(path, shortened(error, 80)) from error
    if len(numbers) != count:
        raise truncated(path, f"{len(numbers)} of {count} voxels")
    return numbers
