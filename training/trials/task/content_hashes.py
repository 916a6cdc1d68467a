"""Hashes of what is in files: two machines agree on them, and a file that was changed has another one."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from sg_hub.errors import ReadError
from sg_hub.io.files import write_atomic
from sg_hub.io.scan_files import files_of


class ContentHashes:
    """Hashes of files and folders; what a file of the same size and time had is remembered in `store`."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._seen: dict[str, str] = {}
        self._kept: dict[str, list[Any]] | None = None
        self._changed = False

    def of(self, path: str) -> str:
        """16 hexadecimal digits; of a folder those of its files, of a header also its voxels'; empty where nothing is.

        Raises:
            ReadError: a file that may not be read.
        """
        if path not in self._seen:
            self._seen[path] = self._look_up(path)
        return self._seen[path]

    def save(self) -> None:
        """Write down what was computed, for the next process."""
        if self._changed:
            write_atomic(self._store, json.dumps(self._kept))
            self._changed = False

    def _look_up(self, path: str) -> str:
        try:
            return self._computed(path)
        except OSError as error:
            raise ReadError(f"{path} cannot be read ({error.strerror}): may you read it?") from error

    def _computed(self, path: str) -> str:
        files = files_of(Path(path))
        if not files:
            return ""
        stamp = hashlib.sha256(repr([(file.name, *_stamp(file)) for file in files]).encode()).hexdigest()[:16]
        if self._kept is None:
            self._kept = _read(self._store)
        place = os.path.abspath(path)
        if self._kept.get(place, [""])[0] != stamp:
            digest = hashlib.sha256()
            for file in files:
                digest.update(f"{file.suffix} {content_hash(file)}\n".encode())
            self._kept[place] = [stamp, digest.hexdigest()[:16]]
            self._changed = True
        return str(self._kept[place][1])


def content_hash(path: Path) -> str:
    """sha256 of a file's size and bytes."""
    digest = hashlib.sha256(f"{path.stat().st_size}\n".encode())
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _read(store: Path) -> dict[str, list[Any]]:
    try:
        kept = dict(json.loads(store.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}
    texts = [str, str]
    return {key: value for key, value in kept.items() if isinstance(value, list) and [*map(type, value)] == texts}
