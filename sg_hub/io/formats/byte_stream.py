"""The bytes of a file in order, unpacked where they are packed, and never more of them than were asked for."""

from __future__ import annotations

import bz2
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from sg_hub.errors import ReadError

Packing = Literal["none", "deflate", "bzip2"]
"""deflate: gzip or zlib, told by their first bytes."""
GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
_SPARE, _PADDING = 512, b"\0 \r\n"
"""How many bytes may follow the voxels, as some programs pad their files to whole blocks, and which."""
_MOST_PACKED = {"none": 1, "deflate": 1040, "bzip2": 50_000}
"""How many bytes one byte of a file can stand for at most."""
_MOST_EMPTY = 100
"""Parts of a gzip file (it may have many) that hold nothing."""


def truncated(path: Path | str, reason: str) -> ReadError:
    """The error for a file that does not hold what its header promises."""
    return ReadError(f"{path} is truncated or damaged ({reason}): copy, download or export it again")


class ByteStream:
    """Reads an open file from where it stands.

    Every method raises ReadError where the data is cut off or damaged. The checksum of packed data is checked by
    `finish`, and with it that no more is packed than what was asked for.
    """

    def __init__(self, file: BinaryIO, path: Path, packing: Packing = "none") -> None:
        self._file, self._path, self._packing = file, path, packing
        self._unpacker = _unpacker(packing)
        self._waiting, self._empty = b"", 0

    def take(self, count: int) -> bytes:
        """The next bytes, fewer where the data ends; `count` is small."""
        parts = []
        while count > 0 and (part := self._next(count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Pass over bytes that nobody needs."""
        if self._packing == "none":
            self._file.seek(count, os.SEEK_CUR)
            return
        while count > 0 and (part := self._next(min(count, _PIECE))):
            count -= len(part)

    def to_end(self, count: int) -> None:
        """Pass over everything but the last `count` bytes of a file that is not packed."""
        if self._packing == "none":
            size = os.fstat(self._file.fileno()).st_size
            self._file.seek(max(self._file.tell(), size - count))

    def voxels(self, count: int) -> np.ndarray:
        """(count,) uint8: the next bytes, of which none may be missing."""
        rest = os.fstat(self._file.fileno()).st_size
        if self._packing == "none":  # of packed bytes some may be in the unpacker already
            rest = max(0, rest - self._file.tell())
        if rest * _MOST_PACKED[self._packing] < count:
            packed = "" if self._packing == "none" else "packed "
            raise truncated(self._path, f"{rest} {packed}bytes for {count} bytes of voxels")
        array = np.empty(count, dtype=np.uint8)
        view, done = memoryview(array.data), 0
        while done < count and (part := self._next(min(_PIECE, count - done))):
            view[done : done + len(part)] = part
            done += len(part)
        if done < count:
            raise truncated(self._path, f"{done} of {count} bytes of voxels")
        return array

    def rest(self, most: int) -> bytes:
        """Everything that is left, which is at most `most` bytes or an error."""
        data = self.take(most + 1)
        if len(data) > most:
            raise truncated(self._path, "it holds more than its header says")
        return data

    def finish(self, padding: bool = True) -> None:
        """Look at what follows the voxels: more than a little padding means that the header is of another file. Packed
        data is read to its end, where its checksum stands.

        Args:
            padding: that a little may only be padding, and no other bytes.
        """
        if self._packing == "none":
            spare = os.fstat(self._file.fileno()).st_size - self._file.tell()
            if spare > _SPARE or (padding and self._file.read(_SPARE).strip(_PADDING)):
                raise truncated(self._path, f"it holds {spare} bytes more than its header says")
            return
        spare = 0
        while part := self._next(_PIECE):
            spare += len(part)
            if spare > _SPARE or (padding and part.strip(_PADDING)):
                raise truncated(self._path, "it unpacks to more than its header says")
        if not self._unpacker.eof:
            raise truncated(self._path, "its packed data ends too early")

    def _next(self, most: int) -> bytes:
        """Up to `most` bytes; none at the end."""
        if self._packing == "none":
            return self._file.read(most)
        while True:
            if self._unpacker.eof:
                if self._packing != "deflate" or not self._unpacker.unused_data.startswith(GZIP):
                    return b""
                self._waiting, self._unpacker = self._unpacker.unused_data, _unpacker(self._packing)
                self._empty += 1
                if self._empty > _MOST_EMPTY:
                    raise truncated(self._path, "its packed data has many empty parts")
            piece = self._waiting
            if not piece and getattr(self._unpacker, "needs_input", True):
                piece = self._file.read(_PIECE)
            try:
                part: bytes = self._unpacker.decompress(piece, most)
            except (zlib.error, OSError, ValueError, EOFError) as error:
                raise truncated(self._path, str(error)) from error
            self._waiting = getattr(self._unpacker, "unconsumed_tail", b"")
            if part:
                self._empty = 0
                return part
            if not piece and not self._unpacker.eof:
                return b""


def _unpacker(packing: Packing) -> Any:
    if packing == "bzip2":
        return bz2.BZ2Decompressor()
    return zlib.decompressobj(wbits=47) if packing == "deflate" else None
