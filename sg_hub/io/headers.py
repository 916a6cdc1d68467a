"""What the headers of NIfTI, MetaImage and NRRD files say, read before SimpleITK repairs or overlooks it.

ITK reads a truncated NIfTI file as zeros, a damaged compressed MetaImage file as whatever was decompressed,
turns zero, negative or undefined spacings into others, and NaN in NIfTI into 0. Each of these is an error
here.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError

_CHUNK = 1 << 20
_TEXT_HEADER = 1 << 20
_META_BYTES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}


def check_header(path: Path) -> np.ndarray | None:
    """Refuse a NIfTI, MetaImage or NRRD file that is cut off, damaged, or of impossible spacing; others pass.

    Compressed data is decompressed once for that (about 0.3 s per 100 MB of voxels).

    Returns:
        of a NIfTI file with NaN or infinite voxels, which ITK reads as 0: where they are, flat, in the
            file's order.

    Raises:
        ReadError: truncated or damaged, or its data file is missing.
        InvalidInputError: a spacing that is not a positive number.
    """
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _check_nifti(path)
    if name.endswith((".mha", ".mhd")):
        _check_meta(path)
    elif name.endswith((".nrrd", ".nhdr")):
        _check_nrrd(path)
    return None


def check_spacing(path: Path | str, spacing: Sequence[float], field: str) -> None:
    """Raise InvalidInputError unless every spacing (mm) is positive and finite; `field` is its name."""
    if any(not math.isfinite(value) or value <= 0 for value in spacing):
        raise InvalidInputError(
            f"{path}: spacing ({', '.join(f'{value:g}' for value in spacing)}) in its header ({field}); "
            "expected positive numbers in mm. Convert the scan again from its source, or correct the header "
            "(SimpleITK: image.SetSpacing(...), then WriteImage)"
        )


def truncated(path: Path, reason: str) -> ReadError:
    """The error for a file that does not hold what its header promises."""
    return ReadError(f"{path} is truncated or damaged ({reason}): copy, download or export it again")


def _check_nifti(path: Path) -> np.ndarray | None:
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream: BinaryIO = gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[assignment]
        try:
            fields = _nifti_fields(stream.read(544))
            if fields is None:
                raise truncated(path, "it has no NIfTI header")
            check_spacing(path, fields.pixdim[1 : 1 + min(3, fields.dims[0])], "pixdim")
            if not fields.single_file:
                return None
            stream.seek(fields.offset)
            length, bad = 0, []
            for part in iter(lambda: stream.read(_CHUNK), b""):
                part = part[: max(0, fields.bytes - length)]
                length += len(part)
                if fields.floating is not None:
                    whole = len(part) - len(part) % fields.floating.itemsize
                    bad.append(~np.isfinite(np.frombuffer(part[:whole], dtype=fields.floating)))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise truncated(path, str(error)) from error
    if length < fields.bytes:
        raise truncated(path, f"{length} of {fields.bytes} bytes of voxels")
    mask = np.concatenate(bad) if bad else np.zeros(0, dtype=bool)
    return mask if mask.any() else None


class _Nifti(NamedTuple):
    dims: tuple[int, ...]
    pixdim: tuple[float, ...]
    offset: int
    """Of the voxels in the file."""
    bytes: int
    """Of all voxels."""
    floating: np.dtype | None
    """Type of the voxels, where they are floating point."""
    single_file: bool


def _nifti_fields(head: bytes) -> _Nifti | None:
    for order in "<>":
        if len(head) >= 348 and struct.unpack_from(order + "i", head)[0] == 348:
            dims = struct.unpack_from(order + "8h", head, 40)
            kind, bits = struct.unpack_from(order + "2h", head, 70)
            pixdim = struct.unpack_from(order + "8f", head, 76)
            offset = struct.unpack_from(order + "f", head, 108)[0]
            single = head[344:347] == b"n+1"
        elif len(head) >= 540 and struct.unpack_from(order + "i", head)[0] == 540:
            dims = struct.unpack_from(order + "8q", head, 16)
            kind, bits = struct.unpack_from(order + "2h", head, 12)
            pixdim = struct.unpack_from(order + "8d", head, 104)
            offset = struct.unpack_from(order + "q", head, 168)[0]
            single = head[4:7] == b"n+2"
        else:
            continue
        if not 1 <= dims[0] <= 7 or min(dims[1 : 1 + dims[0]]) < 0 or not 0 <= offset < math.inf:
            return None
        count = math.prod(max(1, side) for side in dims[1 : 1 + dims[0]])
        floating = {16: np.dtype(order + "f4"), 64: np.dtype(order + "f8")}.get(kind)
        return _Nifti(dims, pixdim, int(offset), count * bits // 8, floating, single)
    return None


def _check_meta(path: Path) -> None:
    with open(path, "rb") as file:
        head = file.read(_TEXT_HEADER)
    fields: dict[str, str] = {}
    offset = 0
    for line in head.split(b"\n"):
        offset += len(line) + 1
        key, _, value = line.decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    else:
        raise truncated(path, "its header has no ElementDataFile")
    key = "ElementSpacing" if "ElementSpacing" in fields else "ElementSize"
    check_spacing(path, _numbers(fields.get(key, "")), key)
    where = fields["ElementDataFile"]
    if where == "LOCAL":
        data = path
    elif where.startswith("LIST") or "%" in where:
        return  # one file per slice
    else:
        data, offset = path.parent / where, 0
        if not data.is_file():
            raise ReadError(f"{path}: its voxels are in {where}, which is not beside it: copy both files together")
    item = _META_BYTES.get(fields.get("ElementType", ""))
    if item is None or fields.get("HeaderSize", "0") != "0":
        return
    expected = item * math.prod(map(int, fields.get("DimSize", "0").split()))
    expected *= int(fields.get("ElementNumberOfChannels", "1"))
    if fields.get("CompressedData", "False").lower() == "true":
        length = _decompressed_length(data, offset)
    else:
        length = data.stat().st_size - offset
    if length < expected:
        raise truncated(data, f"{length} of {expected} bytes")


def _decompressed_length(path: Path, offset: int) -> int:
    """Bytes of the zlib or gzip stream that starts at `offset`."""
    length, stream = 0, zlib.decompressobj(wbits=47)
    with open(path, "rb") as file:
        file.seek(offset)
        try:
            while not stream.eof and (part := file.read(_CHUNK)):
                length += len(stream.decompress(part))
        except zlib.error as error:
            raise truncated(path, str(error)) from error
    if not stream.eof:
        raise truncated(path, "its compressed data ends too early")
    return length


def _check_nrrd(path: Path) -> None:
    with open(path, "rb") as file:
        head = file.read(_TEXT_HEADER)
    if not head.startswith(b"NRRD"):
        raise truncated(path, "it does not start with NRRD")
    blank = re.search(rb"\n\r?\n", head)
    text = head[: blank.start() if blank else None].decode("latin-1")
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if "spacings" in fields:
        spacing = _numbers(fields["spacings"])
        # The axis of the channels has no spacing, which is written as nan.
        known = spacing if len(spacing) == 3 else [value for value in spacing if not math.isnan(value)]
        check_spacing(path, known, "spacings")
    attached = "data file" not in fields and "datafile" not in fields
    if attached and fields.get("encoding", "").strip() in ("gzip", "gz"):
        if blank is None:
            raise truncated(path, "its header has no end")
        _decompressed_length(path, blank.end())


def _numbers(text: str) -> list[float]:
    values = []
    for part in text.split():
        try:
            values.append(float(part))
        except ValueError:
            values.append(math.nan)
    return values
