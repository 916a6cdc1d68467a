"""What the headers of NIfTI, MetaImage and NRRD files say, read before SimpleITK repairs or overlooks it.

ITK reads a truncated NIfTI file as zeros, a damaged compressed MetaImage file as whatever was decompressed,
and turns zero, negative or undefined spacings into others. Each of these is an error here.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from sg_hub.errors import InvalidInputError, ReadError

_CHUNK = 1 << 20
_TEXT_HEADER = 1 << 16
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


def check_header(path: Path) -> None:
    """Refuse a NIfTI, MetaImage or NRRD file that is cut off, damaged, or of impossible spacing; others pass.

    Compressed data is decompressed once for that (about 0.3 s per 100 MB of voxels).

    Raises:
        ReadError: truncated or damaged, or its data file is missing.
        InvalidInputError: a spacing that is not a positive number.
    """
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        _check_nifti(path)
    elif name.endswith((".mha", ".mhd")):
        _check_meta(path)
    elif name.endswith((".nrrd", ".nhdr")):
        _check_nrrd(path)


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


def _check_nifti(path: Path) -> None:
    with open(path, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream: BinaryIO = gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[assignment]
        try:
            head = stream.read(544)
            fields = _nifti_fields(head)
            if fields is None:
                raise truncated(path, "it has no NIfTI header")
            dims, bits, pixdim, offset, single_file = fields
            check_spacing(path, pixdim[1 : 1 + min(3, dims[0])], "pixdim")
            if not single_file:
                return
            length = len(head) + sum(len(part) for part in iter(lambda: stream.read(_CHUNK), b""))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise truncated(path, str(error)) from error
    expected = int(offset) + math.prod(dims[1 : 1 + dims[0]]) * bits // 8
    if length < expected:
        raise truncated(path, f"{length} of {expected} bytes")


def _nifti_fields(head: bytes) -> tuple[tuple[int, ...], int, tuple[float, ...], float, bool] | None:
    """dim, bits per voxel, pixdim, offset of the voxels, and whether they are in the same file."""
    for order in "<>":
        if len(head) >= 348 and struct.unpack_from(order + "i", head)[0] == 348:
            dims = struct.unpack_from(order + "8h", head, 40)
            bits = struct.unpack_from(order + "h", head, 72)[0]
            pixdim = struct.unpack_from(order + "8f", head, 76)
            offset = struct.unpack_from(order + "f", head, 108)[0]
            single = head[344:347] == b"n+1"
        elif len(head) >= 540 and struct.unpack_from(order + "i", head)[0] == 540:
            dims = struct.unpack_from(order + "8q", head, 16)
            bits = struct.unpack_from(order + "h", head, 14)[0]
            pixdim = struct.unpack_from(order + "8d", head, 104)
            offset = struct.unpack_from(order + "q", head, 168)[0]
            single = head[4:7] == b"n+2"
        else:
            continue
        return (dims, bits, pixdim, offset, single) if 1 <= dims[0] <= 7 else None
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
            raise ReadError(
                f"{path}: its voxels are in {where}, which is not beside it: copy both files together"
            )
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
    text = head.split(b"\n\n")[0].split(b"\r\n\r\n")[0].decode("latin-1")
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == "spacings":
            spacing = _numbers(value)
            # The axis of the channels has no spacing, which is written as nan.
            check_spacing(
                path, spacing if len(spacing) == 3 else [v for v in spacing if not math.isnan(v)], key
            )


def _numbers(text: str) -> list[float]:
    values = []
    for part in text.split():
        try:
            values.append(float(part))
        except ValueError:
            values.append(math.nan)
    return values
