"""The store: what `prepare` writes and training reads by random crop, without decoding whole scans.

A zarr group (version 3), chunked and compressed, in a folder or on object storage through fsspec:

    patients.csv         patient, split, shape, channels, spacing, source, sha256, images; written last
    checksums.json       sha256 of the table and of the settings
    scans/<patient>      int16 (C, X, Y, Z) in HU, LPS order, clipped to the window and resampled

What the scans were prepared with (window, spacing, chunk; who is in which split by what) is in the group's attributes,
in zarr.json. A store of images holds one array (C, H, W) per image, with grey levels 0 to 4095, and its table has one
more column: the person whose image it is. Every chunk carries a checksum (crc32c), so that a flipped bit is an error
and no other voxel; stores that were written before have none, and are read as they are.
"""

from __future__ import annotations

import hashlib
import math
import operator
import os
import sys
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from sg_hub.errors import InvalidInputError, ReadError

from ..run.recipe import Prepare
from .remote import is_remote, open_remote
from .store_files import SETTINGS, TABLE, StoredItem, read_settings, read_table

MISSING = -32768
"""What zarr reads where a chunk is missing; no stored voxel has this value, so the loss is seen."""
LEVELS = (0, 4095)
"""What black and white are in a store of images."""


class Store:
    """A finished store. Can be pickled, and read from forked and spawned processes.

    Scans are cached, decoded, up to a number of bytes. A scan that does not fit beside those in the cache is
    read by chunk; once the chunks read of it add up to the scan, it replaces the least recently used ones. So
    small data sets are read from memory after a while, and in large ones no crop costs a whole scan.

    Args:
        url: folder or fsspec URL.
        items: rows of the table.
        settings: what `prepare` was told: window, spacing, chunk.
        cache_mib: decoded scans kept in memory, at most, in each process; 0: none.
        cache_dir: folder on a local disk where what is read from object storage is kept, as it is there.
    """

    def __init__(
        self,
        url: str,
        items: list[StoredItem],
        settings: dict[str, Any],
        cache_mib: int = 0,
        cache_dir: str | None = None,
    ) -> None:
        self.url, self.items, self.settings = url, items, settings
        low, high = settings["window"]
        self.window: tuple[float, float] = (float(low), float(high))
        """HU range that the voxels are clipped to; of images, what black and white are."""
        self.ndim = len(items[0].shape)
        """3: scans; 2: images."""
        self.spacing: tuple[float, float, float] | None = tuple(settings["spacing"] or ()) or None
        """(x, y, z) in mm of every scan; None: each has its own (`StoredItem.spacing`)."""
        self._by_name = {item.name: item for item in items}
        self._budget = cache_mib * 2**20
        # By fingerprint: what was kept of a store that was prepared anew is no part of it.
        self._kept = Path(cache_dir, self.fingerprint[:16]) if cache_dir and is_remote(url) else None
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._group: zarr.Group | None = None
        self._arrays: dict[str, Any] = {}
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()
        self._cached_bytes = 0
        self._read_by_chunk: Counter[str] = Counter()
        """Bytes of crops of each scan since it was in the cache."""

    @classmethod
    def open(cls, url: str | Path, cache_mib: int = 0, cache_dir: str | None = None) -> Store:
        """Open a finished store.

        Raises:
            ReadError: there is none, it is not finished, damaged, or of a newer version.
        """
        url = str(url)
        settings = read_settings(url)
        if settings is None:
            raise ReadError(f"{url} is not a store: run `sg-hub prepare` first")
        items, as_written = read_table(url)
        try:
            store = cls(url, items, settings, cache_mib, cache_dir)
        except (KeyError, ValueError, TypeError) as error:
            raise ReadError(f"{url}/{SETTINGS} is damaged ({error!r}): copy the store again") from error
        if not as_written:
            store._check_rows()
            print(f"warning: {url}/{TABLE} is not as `sg-hub prepare` wrote it", file=sys.stderr, flush=True)
        return store

    @property
    def patients(self) -> list[StoredItem]:
        """The items, by the name of their table."""
        return self.items

    @property
    def fingerprint(self) -> str:
        """sha256 over the table, which holds the hash of every item's voxels, and over the window where it is not the
        usual one: voxels that lie within both are the same of two windows, and what the network sees of them is not."""
        rows = [",".join(item.row()) for item in self.items]
        if self.window != (Prepare().window if self.ndim == 3 else LEVELS):
            rows.append(f"window {self.window[0]:g} {self.window[1]:g}")
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def names(self, split: str | None = None) -> list[str]:
        """Items of a split (train, validation or test), or all, in the order of the table."""
        return [item.name for item in self.items if split in (None, item.split)]

    def persons(self, split: str) -> list[str]:
        """Whose scans (or images) a split holds, each once, sorted."""
        return sorted({item.patient for item in self.items if item.split == split})

    def shape(self, name: str) -> tuple[int, ...]:
        """Voxels (X, Y, Z) of a patient, or pixels (H, W) of an image.

        Raises:
            InvalidInputError: no such patient.
        """
        return self._item(name).shape

    def crop(self, name: str, corner: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """(C, *size) int16 in HU (or grey levels) from voxel `corner` on, (x, y, z) or (row, column); a new array.

        Raises:
            InvalidInputError: no such patient, or a crop that reaches outside, or is not of whole voxels.
            ReadError: a chunk is missing or damaged.
        """
        shape = self._item(name).shape
        if len(corner) != len(shape) or len(size) != len(shape):
            raise InvalidInputError(f"crop at {corner} of size {size}: both take {len(shape)} numbers here")
        try:
            corner, size = [operator.index(c) for c in corner], [operator.index(s) for s in size]
        except TypeError:
            raise InvalidInputError(f"crop at {corner} of size {size}: both take whole numbers of voxels") from None
        if any(c < 0 or s < 1 or c + s > n for c, s, n in zip(corner, size, shape, strict=True)):
            raise InvalidInputError(
                f"crop at {tuple(corner)} of size {tuple(size)} reaches outside patient {name}, whose size is {shape}"
            )
        place = (slice(None), *(slice(c, c + s) for c, s in zip(corner, size, strict=True)))
        scan = self._cached(name)
        if scan is not None:
            return scan[place].copy()
        crop = self._read(name, place)
        self._read_by_chunk[name] += crop.nbytes
        return crop

    def whole(self, name: str) -> np.ndarray:
        """(C, X, Y, Z) int16 in HU, or (C, H, W) grey levels. May be the cache's own array: do not write into it.

        Raises:
            InvalidInputError: no such patient.
            ReadError: a chunk is missing or damaged.
        """
        scan = self._cached(name, whole=True)
        return self._read(name, ...) if scan is None else scan

    def _check_rows(self) -> None:
        """Refuse rows that do not say of the voxels what is written beside these.

        Raises:
            ReadError: naming the item.
        """
        for item in self.items:
            try:
                record = self._array(item.name).attrs["record"]
                written = replace(
                    item,
                    shape=tuple(record["shape"]),
                    channels=record["channels"],
                    spacing=tuple(record["spacing"]),
                    sha256=record["sha256"],
                    images=tuple(record.get("images", ())),
                )
                same = (written.row(), written.images) == (item.row(), item.images)
            except Exception as error:  # every kind of storage has its own
                raise ReadError(f"{self.url}/{TABLE} is damaged ({item.name}: {error}): run prepare again") from error
            if not same:
                raise ReadError(f"{self.url}/{TABLE} is damaged (patient {item.name}): run `sg-hub prepare` again")

    def _item(self, name: str) -> StoredItem:
        try:
            return self._by_name[name]
        except KeyError:
            raise InvalidInputError(f"no patient {name!r} in the store {self.url}") from None

    def _cached(self, name: str, whole: bool = False) -> np.ndarray | None:
        """The decoded scan, when it is in the cache, or is worth its room there."""
        if name in self._cache:
            self._cache.move_to_end(name)
            return self._cache[name]
        item = self._item(name)
        size = 2 * item.channels * math.prod(item.shape)
        worth = whole or self._read_by_chunk[name] >= size or self._cached_bytes + size <= self._budget
        if size > self._budget or not worth:
            return None
        while self._cached_bytes + size > self._budget:
            _, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= dropped.nbytes
        self._read_by_chunk[name] = 0
        self._cache[name] = self._read(name, ...)
        self._cached_bytes += size
        return self._cache[name]

    def _read(self, name: str, where: Any) -> np.ndarray:
        try:
            voxels = self._array(name)[where]
        except Exception as error:  # every codec and every kind of storage has its own
            raise ReadError(
                f"patient {name} of the store {self.url} cannot be read ({error}): copy the store again, or "
                "remove the patient's folder in scans/ and run prepare again"
                + (f"; {self._kept} holds what was read of it before, and can be removed" if self._kept else "")
            ) from error
        if voxels.min() == MISSING:
            raise ReadError(
                f"patient {name} of the store {self.url} lacks chunks: copy the store again, or remove the "
                "patient's folder in scans/ and run prepare again"
            )
        return voxels

    def _array(self, name: str) -> Any:
        if self._process != os.getpid():  # a fork: connections and their threads stayed in the parent
            self._group, self._arrays, self._process = None, {}, os.getpid()
        if name not in self._arrays:
            if self._group is None:
                remote = is_remote(self.url)
                self._group = open_remote(self.url, self._kept) if remote else zarr.open_group(self.url, mode="r")
            array: Any = self._group[f"scans/{name}"]
            item = self._item(name)
            chunk = (item.channels, *(min(c, s) for c, s in zip(self.settings["chunk"], item.shape, strict=True)))
            expected = ((item.channels, *item.shape), chunk, np.dtype(np.int16), MISSING)
            if (array.shape, array.chunks, array.dtype, array.fill_value) != expected:
                raise ValueError("its zarr.json is another than the table and the settings say")
            self._arrays[name] = array
        return self._arrays[name]

    def __getstate__(self) -> dict[str, Any]:
        cache = ("_process", "_group", "_arrays", "_cache", "_cached_bytes", "_read_by_chunk")
        return {key: value for key, value in self.__dict__.items() if key not in cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()
