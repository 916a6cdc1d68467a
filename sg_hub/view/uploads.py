"""Files that were dropped on the page: below one folder, within limits, under checked names."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import threading
from io import BufferedIOBase
from pathlib import Path

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.files import unwritable

MOST_BYTES = 8 << 30
"""Of all files that are held at once."""
MOST_FILES = 20_000
"""Of one upload: the slices of a folder."""
_LONGEST, _DEEPEST, _CHUNK = 200, 16, 1 << 20
_NEVER = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|\u2028\u2029]')


class Uploads:
    """Uploads by number, each in a folder of its own below `folder`."""

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> None:
        self.folder = folder.resolve()
        self.most_bytes, self.most_files = most_bytes, most_files
        self._sizes: dict[int, dict[Path, int]] = {}
        self._coming: dict[int, tuple[int, Path, int]] = {}
        """Upload, place and bytes of what is being written."""
        self._last, self._tickets = 0, itertools.count()
        self._lock = threading.Lock()  # of these tables; files are written without it

    def begin(self) -> int:
        """The number of a new upload."""
        with self._lock:
            self._last += 1
            number = self._last
            (self.folder / str(number)).mkdir()
            self._sizes[number] = {}
            return number

    def path(self, number: int) -> Path:
        """The folder of an upload.

        Raises:
            InvalidInputError: there is none of that number.
        """
        if number not in self._sizes:
            raise InvalidInputError(f"there is no upload {number}: begin one, or load the page again")
        return self.folder / str(number)

    def add(self, number: int, name: str, stream: BufferedIOBase, length: int) -> None:
        """Write a file of an upload.

        Args:
            name: with / between the folders that it is in.
            stream: of exactly `length` bytes, or more.

        Raises:
            InvalidInputError: a name that no file here may have, or beyond the limits.
            ReadError: it ends early, or the disk is full.
        """
        place = self._place(number, name)
        ticket = self._reserved(number, place, name, length)
        part = self.folder / f".{ticket}"  # several may be writing the same name
        try:
            with open(part, "wb") as file:
                left = length
                while left:
                    chunk = stream.read(min(left, _CHUNK))
                    if not chunk:
                        raise ReadError(f"{name} ended after {length - left} of {length} bytes: drop it again")
                    file.write(chunk)
                    left -= len(chunk)
            with self._lock:
                self.path(number)  # it may have been dropped meanwhile
                place.parent.mkdir(parents=True, exist_ok=True)
                part.replace(place)
                self._sizes[number][place] = length
        except OSError as error:
            if isinstance(error, ReadError):
                raise
            raise unwritable(place, error) from error
        finally:
            with self._lock:
                del self._coming[ticket]
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def drop(self, number: int) -> None:
        """Remove an upload, if it is there."""
        with self._lock:
            held = self._sizes.pop(number, None)
        if held is not None:
            shutil.rmtree(self.folder / str(number), ignore_errors=True)

    def _reserved(self, number: int, place: Path, name: str, length: int) -> int:
        """Room for a file that is going to be written: a number that no other has."""
        with self._lock:
            self.path(number)
            own = self._sizes[number]
            coming = {where for upload, where, _ in self._coming.values() if upload == number}
            if len({*own, *coming, place}) > self.most_files:
                raise InvalidInputError(f"more than {self.most_files} files at once: give the folder of one scan")
            held = sum(sum(files.values()) for files in self._sizes.values()) - own.get(place, 0)
            held += sum(size for _, _, size in self._coming.values())
            if held + length > self.most_bytes:
                raise InvalidInputError(
                    f"{name} has {length / 1e6:.0f} MB, and with it more than {self.most_bytes / 1e6:.0f} MB would be "
                    "held: close other scans, or name this one on the command line, which copies nothing: sg-hub view "
                    "SCAN"
                )
            ticket = next(self._tickets)
            self._coming[ticket] = number, place, length
            return ticket

    def _place(self, number: int, name: str) -> Path:
        folder, parts = self.path(number), name.split("/")
        wrong = (
            _NEVER.search(name)
            or len(parts) > _DEEPEST
            or any(not part or part.startswith(".") or len(os.fsencode(part)) > _LONGEST for part in parts)
        )
        place = folder.joinpath(*parts)
        if wrong or not place.resolve().is_relative_to(folder):
            raise InvalidInputError(
                f"{name[:_LONGEST]!r} is no name that a file can have here: expected folders and a name with / between "
                "them, none hidden; rename it"
            )
        return place
