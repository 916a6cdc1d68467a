"""Files that were dropped on the page: below one folder, within limits, under checked names."""

from __future__ import annotations

import contextlib
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
        self._last = 0
        self._lock = threading.Lock()

    def begin(self) -> int:
        """The number of a new upload."""
        with self._lock:
            self._last += 1
            number = self._last
        self._sizes[number] = {}
        self.path(number).mkdir()
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
        place, sizes = self._place(number, name), self._sizes[number]
        with self._lock:
            held = sum(sum(files.values()) for files in self._sizes.values()) - sizes.get(place, 0)
            if len(sizes) >= self.most_files and place not in sizes:
                raise InvalidInputError(f"more than {self.most_files} files at once: give the folder of one scan")
            if held + length > self.most_bytes:
                raise InvalidInputError(
                    f"{name} has {length / 1e6:.0f} MB, and with it more than {self.most_bytes / 1e6:.0f} MB would be "
                    "held: close other scans, or name this one on the command line, which copies nothing: sg-hub view "
                    "SCAN"
                )
            sizes[place] = length  # what is being written counts
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(place, "wb") as file:
                left = length
                while left:
                    part = stream.read(min(left, _CHUNK))
                    if not part:
                        raise ReadError(f"{name} ended after {length - left} of {length} bytes: drop it again")
                    file.write(part)
                    left -= len(part)
        except OSError as error:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)
            sizes.pop(place, None)
            if isinstance(error, ReadError):
                raise
            raise unwritable(place, error) from error

    def drop(self, number: int) -> None:
        """Remove an upload, if it is there."""
        if self._sizes.pop(number, None) is not None:
            shutil.rmtree(self.folder / str(number), ignore_errors=True)

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
