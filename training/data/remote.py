"""Stores on object storage: what a network loses is asked for again, and what was read is kept on a local disk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import FsspecStore, WrapperStore

from sg_hub.io.files import write_atomic

TRIES = 3
"""Of what cannot be read; the library of each kind of storage has its own before, and takes its time."""
PAUSE = 0.5
"""Seconds before the second try; twice as long before each further one."""
FINAL = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, ImportError, ValueError)
"""Errors that a second try would not mend."""


def is_remote(url: str) -> bool:
    """Whether it is the address of something but a folder."""
    return "://" in url and not url.startswith(("file://", "local://"))


def open_remote(url: str, kept: Path | None) -> zarr.Group:
    """The group of a store.

    Args:
        kept: folder on a local disk for what is read; absent: it is read again each time.
    """
    store = _Patient(FsspecStore.from_url(url, read_only=True), kept)
    return zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=False)


class _Patient(WrapperStore[FsspecStore]):
    """A store that tries again, and keeps what it read."""

    def __init__(self, store: FsspecStore, kept: Path | None = None) -> None:
        super().__init__(store)
        self.kept = kept

    def _with_store(self, store: FsspecStore) -> _Patient:
        return _Patient(store, self.kept)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Bytes of a key, or None where there are none."""
        path = self.kept / key if self.kept is not None and byte_range is None else None
        if path is not None and path.is_file():
            return prototype.buffer.from_bytes(await asyncio.to_thread(path.read_bytes))
        value = await self._patiently(key, prototype, byte_range)
        if path is not None and value is not None:
            await asyncio.to_thread(write_atomic, path, value.to_bytes())
        return value

    async def _patiently(self, key: str, prototype: Any, byte_range: Any) -> Any:
        for number in range(TRIES - 1):
            try:
                return await self._store.get(key, prototype, byte_range)
            except FINAL:
                raise
            except Exception:  # every kind of storage has its own
                await asyncio.sleep(PAUSE * 2**number)
        return await self._store.get(key, prototype, byte_range)
