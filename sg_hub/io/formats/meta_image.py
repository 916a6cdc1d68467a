"""MetaImage files (.mha, .mhd): the header is checked line by line, and the voxels are read as numbers.

The reader of ITK fills slices that are missing with whatever is in memory, takes 1 mm where a spacing is missing,
follows names of files wherever they lead, and ends the process on numbers that are none.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from sg_hub.errors import InvalidInputError, shortened
from sg_hub.io.formats.byte_stream import ByteStream, Packing, truncated
from sg_hub.io.formats.data_files import TEXT_HEADER, named_file, numbered_names, read_parts, real_numbers, whole_number
from sg_hub.io.formats.kinds import check_shape, looks_like_colour, refuse_colour
from sg_hub.io.formats.limits import refuse_large
from sg_hub.io.formats.orientation import (
    IDENTITY,
    Stored,
    Triple,
    check_spacing,
    planes_of,
    triple,
    warn_of_no_orientation,
)

SUFFIXES = (".mha", ".mhd")
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_START = re.compile(rb"\s*(ObjectType|NDims|Comment|ObjectSubType|DimSize)\s*=")
_UNITS = {"mm": 1.0, "cm": 10.0, "um": 0.001, "?": 1.0}
"""Millimetres in DistanceUnits; where it is not said they are mm, as everybody takes it."""
_OTHER_NAMES = {
    "Position": "Offset",
    "Origin": "Offset",
    "Rotation": "TransformMatrix",
    "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}


def is_meta_image(start: bytes) -> bool:
    """Whether a file begins like the header of a MetaImage."""
    return _START.match(start) is not None


def read_meta_image(path: Path, outside: bool = False) -> Stored:
    """A .mha or .mhd file.

    Args:
        outside: whether its voxels may be in a file of another folder.

    Raises:
        ReadError: truncated or damaged, or its data file is missing.
        InvalidInputError: not one volume of grey values, or a header that cannot be followed.
    """
    header = _Header(path)
    fields, sides, channels = header.fields, header.sides, header.channels
    voxels = _voxels(fields, path, header.offset, header.head, sides, channels, header.dtype, outside)
    planes = planes_of(np.moveaxis(voxels.reshape(*sides[2::-1], channels), -1, 1))
    key, spacing, origin, matrix = _place(fields, path, len(sides))
    return Stored(str(path), (sides[0], sides[1], sides[2]), channels, planes, spacing, key, origin, matrix)


def check_meta_image(path: Path) -> None:
    """Refuse what `read_meta_image` does, as far as the header says it, for those who read a part of the voxels by ITK.

    Raises:
        ReadError, InvalidInputError: see there; a spacing that is not there, or in another unit than mm.
    """
    fields, sides = (header := _Header(path)).fields, header.sides
    key, spacing, _, _ = _place(fields, path, len(sides))
    check_spacing(path, spacing, key)
    if _UNITS[fields.get("DistanceUnits", "mm").lower()] != 1:
        raise InvalidInputError(f"{path}: DistanceUnits is {fields['DistanceUnits']}; expected mm: convert it first")
    names = data_names(path)
    have = sum(named_file(path, name, outside=False).stat().st_size for name in names)
    needed = math.prod(sides) * header.channels * header.dtype.itemsize
    if names and not _yes(fields, "CompressedData", path) and have < needed:
        raise truncated(path, f"{have} bytes for {needed} bytes of voxels")


class _Header:
    """What a header says of its voxels, and where they begin."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            self.head = file.read(TEXT_HEADER)
        self.fields, self.offset = _fields(self.head, path)
        self.sides = _sides(self.fields, path)
        given = self.fields.get("ElementNumberOfChannels", "1")
        self.channels = whole_number(given, path, "ElementNumberOfChannels")
        if not 0 < self.channels <= 1 << 16:
            raise truncated(path, f"ElementNumberOfChannels is {self.channels}")
        self.dtype = _type(self.fields, path)
        if looks_like_colour(self.channels, 8 * self.dtype.itemsize, self.dtype.kind == "u"):
            refuse_colour(str(path), self.channels, "8-bit unsigned")
        refuse_large(path, (*self.sides, self.channels))
        _refuse_scaling(self.fields, path)


def _place(
    fields: dict[str, str], path: Path, dimensions: int
) -> tuple[str, list[float | None], Triple, tuple[float, ...]]:
    """What the spacing is called there, the spacing and the origin in mm, and the direction (row-major)."""
    matrix = IDENTITY
    if "TransformMatrix" in fields:
        numbers = real_numbers(fields["TransformMatrix"], path, "TransformMatrix", dimensions**2)
        matrix = tuple(np.array(numbers).reshape(dimensions, -1)[:3, :3].T.ravel().tolist())  # a row for each axis
    else:
        warn_of_no_orientation(path, "it has no TransformMatrix")
    unit = _UNITS.get(fields.get("DistanceUnits", "mm").lower())
    if unit is None:
        raise InvalidInputError(
            f"{path}: DistanceUnits is {shortened(fields['DistanceUnits'], 40)!r}; expected one of {', '.join(_UNITS)}"
        )
    origin = (0.0, 0.0, 0.0)
    if "Offset" in fields:
        origin = triple(np.array(real_numbers(fields["Offset"], path, "Offset", dimensions)[:3]) * unit)
    key = "ElementSpacing" if "ElementSpacing" in fields or "ElementSize" not in fields else "ElementSize"
    spacing: list[float | None] = [None] * 3
    if key in fields:
        spacing = [step * unit for step in real_numbers(fields[key], path, key, dimensions)[:3]]
    return key, spacing, origin, matrix


def data_names(path: Path) -> list[str]:
    """The files that a header names for its voxels; none where they follow it. Errors as for `read_meta_image`."""
    with open(path, "rb") as file:
        head = file.read(TEXT_HEADER)
    fields, offset = _fields(head, path)
    where = fields["ElementDataFile"]
    if where.upper() == "LOCAL":
        return []
    several = where.startswith("LIST") or "%" in where
    return _names(where, path, head[offset:], _sides(fields, path)) if several else [where]


def _fields(head: bytes, path: Path) -> tuple[dict[str, str], int]:
    """Values by key, and where the header ends."""
    fields: dict[str, str] = {}
    offset = 0
    for line in head.split(b"\n"):
        offset += len(line) + 1
        key, equals, value = line.decode("utf-8", "surrogateescape").partition("=")
        key = _OTHER_NAMES.get(key.strip(), key.strip())
        if equals and fields.setdefault(key, value.strip()) != value.strip() and key != "Comment":
            raise truncated(path, f"its header gives {shortened(key, 40)} twice")
        if key == "ElementDataFile" and equals:
            return fields, offset
    raise truncated(path, "its header has no ElementDataFile")


def _sides(fields: dict[str, str], path: Path) -> list[int]:
    sides = [whole_number(part, path, "DimSize") for part in fields.get("DimSize", "").split()]
    dimensions = whole_number(fields.get("NDims", ""), path, "NDims")
    if dimensions != len(sides) or not 0 < dimensions <= 8 or min(sides) < 1:
        raise truncated(path, f"DimSize is {shortened(fields.get('DimSize', ''), 60)!r} and NDims {dimensions}")
    check_shape(str(path), sides)
    return sides


def _type(fields: dict[str, str], path: Path) -> np.dtype:
    given = fields.get("ElementType", "")
    if given not in _TYPES:
        raise InvalidInputError(
            f"{path}: ElementType is {shortened(given, 40)!r}; expected one of {', '.join(_TYPES)}: convert the scan "
            "again from its source"
        )
    return np.dtype(_TYPES[given]).newbyteorder(">" if _yes(fields, "BinaryDataByteOrderMSB", path) else "<")


def _refuse_scaling(fields: dict[str, str], path: Path) -> None:
    for key, neutral in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if key in fields and real_numbers(fields[key], path, key, 1)[0] != neutral:
            raise InvalidInputError(
                f"{path}: {key} is {shortened(fields[key], 40)}, which some programs apply to the voxels and others do "
                "not; expected stored values that are meant as they are: convert the scan again from its source"
            )


def _voxels(
    fields: dict[str, str],
    path: Path,
    offset: int,
    head: bytes,
    sides: list[int],
    channels: int,
    dtype: np.dtype,
    outside: bool,
) -> np.ndarray:
    count = math.prod(sides) * channels
    length = count * dtype.itemsize
    where = fields["ElementDataFile"]
    skip = whole_number(fields.get("HeaderSize", "0"), path, "HeaderSize")
    if skip < -1:
        raise truncated(path, f"HeaderSize is {skip}")
    packing: Packing = "deflate" if _yes(fields, "CompressedData", path) else "none"
    if not _yes(fields, "BinaryData", path, default=True):
        return _text(path, offset, where, count).astype(dtype)
    if where.upper() == "LOCAL":
        with open(path, "rb") as file:
            file.seek(max(offset, skip))  # from the start of the file, as everybody takes it
            stream = ByteStream(file, path, packing)
            if skip < 0:
                stream.to_end(length)
            data = stream.voxels(length)
            stream.finish()
        return data.view(dtype)
    return read_parts(path, _names(where, path, head[offset:], sides), length, packing, outside, skip).view(dtype)


def _names(where: str, path: Path, rest: bytes, sides: list[int]) -> list[str]:
    """The files that ElementDataFile names: one, a list below it, or a pattern."""
    kind, *more = where.split() or [""]
    if kind == "LIST":
        dimensions = whole_number(more[0].rstrip("Dd"), path, "ElementDataFile") if more else len(sides) - 1
        names = [line.strip() for line in rest.decode("utf-8", "surrogateescape").splitlines() if line.strip()]
        wanted = math.prod(sides[dimensions:]) if 0 < dimensions <= len(sides) else 0
        if len(names) != wanted:
            raise InvalidInputError(
                f"{path} lists {len(names)} files, but its {' x '.join(map(str, sides))} voxels are in {wanted}: is "
                "the list complete? Copy or export the scan again"
            )
        return names
    if "%" in where:
        if len(more) < 3:
            raise truncated(path, f"ElementDataFile is {shortened(where, 60)!r}")
        first, last, step = (whole_number(part, path, "ElementDataFile") for part in more[:3])
        names = numbered_names(kind, first, last, step, path)
        if len(names) != sides[-1]:
            raise InvalidInputError(f"{path} names {len(names)} files for {sides[-1]} slices; correct the header")
        return names
    return [where]


def _text(path: Path, offset: int, where: str, count: int) -> np.ndarray:
    """Voxels that are written out as numbers."""
    if where.upper() != "LOCAL":
        raise InvalidInputError(f"{path}: its voxels are text in another file; expected BinaryData = True")
    with open(path, "rb") as file:
        file.seek(offset)
        parts = file.read(64 * count).split()
    try:
        numbers = np.array(parts, dtype="S32").astype(np.float64)
    except ValueError as error:
        raise truncated(path, shortened(error, 80)) from error
    if len(numbers) != count:
        raise truncated(path, f"{len(numbers)} of {count} voxels")
    return numbers


def _yes(fields: dict[str, str], key: str, path: Path, default: bool = False) -> bool:
    given = fields.get(key, str(default)).lower()
    if given not in ("true", "false", "t", "f", "1", "0"):
        raise truncated(path, f"{key} is {shortened(given, 40)!r}; expected True or False")
    return given in ("true", "t", "1")
