"""What a file is that is none of those that are wanted, told by its first bytes: an archive, a web page, a pointer.

Such a file is often whole and good: it is named, and not called damaged.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from sg_hub.io.formats.byte_stream import GZIP
from sg_hub.io.formats.kinds import picture_format

_UNPACK = "unpack it, and give what is in it"
_MARKS = {
    b"PK\x03\x04": f"is a ZIP archive: {_UNPACK}",
    b"PK\x05\x06": "is an empty ZIP archive",
    b"BZh": f"is compressed by bzip2: {_UNPACK} (bunzip2)",
    b"\xfd7zXZ\0": f"is compressed by xz: {_UNPACK} (unxz)",
    b"\x28\xb5\x2f\xfd": f"is compressed by Zstandard: {_UNPACK} (unzstd)",
    b"7z\xbc\xaf\x27\x1c": f"is a 7-Zip archive: {_UNPACK}",
    b"Rar!\x1a\x07": f"is a RAR archive: {_UNPACK}",
    b"\x89HDF\r\n\x1a\n": "is an HDF5 file (MINC, MATLAB or others), which is not read here: convert it first",
    b"CDF\x01": "is a NetCDF or MINC file, which is not read here: convert it first",
    b"CDF\x02": "is a NetCDF or MINC file, which is not read here: convert it first",
    b"MATLAB 5.0": "is a MATLAB file, which says nothing of its geometry: save it as NIfTI or NRRD",
    b"\x93NUMPY": "is an array of NumPy, which says nothing of its geometry: save it as NIfTI or NRRD",
    b"%PDF": "is a PDF document",
    b"version https://git-lfs": "is a pointer of git LFS, not the file itself (git lfs pull gets it)",
}
_WEB = (b"<!doctype html", b"<html")
_XML = re.compile(rb"<[?!a-z]")
_TAR = slice(257, 262)
_INSIDE = (
    (slice(0, 4), b"NRRD", "NRRD file"),
    (slice(0, 10), b"ObjectType", "MetaImage"),
    (slice(128, 132), b"DICM", "DICOM file"),
    (_TAR, b"ustar", "tar archive"),
)
"""What may be in a gzip file that is no NIfTI: where it is told, by what, and what it is."""


def other_format(start: bytes) -> str:
    """The rest of a sentence that begins with the file's name; empty where nothing is known of it.

    Args:
        start: its first bytes, 512 or more of them.
    """
    text = start.lstrip().lower()
    if text.startswith(_WEB):
        return "is a web page, not the file itself (a download that asked for a login or failed?)"
    if _XML.match(text) and b"\0" not in start[:64]:  # voxels may begin with a 60 as well
        return "is an XML text, not the file itself"
    if start[_TAR] == b"ustar":
        return f"is a tar archive: {_UNPACK}"
    if start.startswith(GZIP):
        inside = unzipped(start)
        kind = next((kind for place, mark, kind in _INSIDE if inside[place] == mark), "")
        return f"is a gzipped {kind}: {_UNPACK}" if kind else ""
    return next((what for mark, what in _MARKS.items() if start.startswith(mark)), "")


def other_format_of(path: Path) -> str:
    """The same for a file, of which also a picture is another format; empty where it cannot be opened."""
    try:
        with open(path, "rb") as file:
            start = file.read(1024)
    except OSError:
        return ""
    kind = picture_format(start)
    return f"is a 2D picture ({kind})" if kind else other_format(start)


def unzipped(start: bytes) -> bytes:
    """What the first bytes of a gzip file unpack to, 512 bytes at most; nothing where they are damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(start, 512)
    except zlib.error:
        return b""
