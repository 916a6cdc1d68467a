"""The items of a target as arrays: read once, kept on disk as the network takes them."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sg_hub.errors import InvalidInputError, SgHubError
from sg_hub.io.files import unwritable

from ...targets import Item, Target
from ...targets.label_maps import UnknownLabelError
from . import PROTOCOL
from .content_hashes import ContentHashes

Pair = tuple[Tensor, Tensor]
ITEMS = "items"
"""Folder of what is kept of items, below that of the results."""
_LOOKED_AT = 1 << 16
"""Values of an image that tell it from others."""


class ItemArrays:
    """Reads items of a target, and keeps them below `folder` (images in half precision, labels in a byte).

    What was kept is used again while the files of the item have the same content and the target's grid is the same.
    A sha256 stands behind each array: what a kill cut off, or has flipped bits, is read again from the item's files.
    Arrays are mapped, so a trial's memory does not grow with the data set, but for `memory_mib` of the first ones.
    """

    def __init__(self, target: Target, folder: str | Path, memory_mib: int = 512) -> None:
        self.target = target
        self.folder = Path(folder) / f"{target.reader}-{target.grid_key()}-{PROTOCOL}"
        self._hashes = ContentHashes(Path(folder) / "content.json")
        self._left = memory_mib * 2**20
        self._held: dict[str, Pair] = {}
        self._whole: set[str] = set()
        """Items whose arrays were found to be whole."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_held": {}, "_whole": set()}  # another process reads what it needs

    def prepare(self, items: Sequence[Item], *, progress: bool = True) -> dict[str, str]:
        """Read every item that is not kept yet.

        Returns:
            why, by the name of the item, of each that cannot be read.

        Raises:
            UnknownLabelError: a number in a label map that no class has.
        """
        name, unreadable, missing = self.target.name, {}, []
        for item in tqdm(items, f"looking at {name}", unit="item", disable=not progress, leave=False):
            try:
                if not all(path.is_file() for path in self._paths(item)):
                    missing.append(item)
            except SgHubError as error:
                unreadable[item.name] = str(error)
        self._hashes.save()
        for item in tqdm(missing, f"reading {name}", unit="item", disable=not progress, leave=False):
            try:
                self._read(item)
            except UnknownLabelError:
                raise
            except SgHubError as error:
                unreadable[item.name] = str(error)
        return unreadable

    def content(self, item: Item) -> tuple[str, str]:
        """Hashes of what is in the files of an item: its image, all sequences of it, and its label where that is a
        file."""
        images = "".join(self._hashes.of(file) for file in (item.image, *item.sequences))
        return images, self._hashes.of(item.label) if isinstance(item.label, str) else ""

    def pixels(self, item: Item) -> str:
        """A hash of the image as it is kept: the same of the same pixels, whatever file they came from."""
        return pixel_hash(self._arrays(item)[0])

    def save_hashes(self) -> None:
        """Write down what was computed of files, for the next process."""
        self._hashes.save()

    def classes(self, item: Item) -> set[int]:
        """The classes that occur in the mask of an item."""
        return set(np.flatnonzero(np.bincount(self._arrays(item)[1].ravel())).tolist()) - {0}

    def __getitem__(self, item: Item) -> Pair:
        """Image (C, spatial...) half precision in 0..1, and label (segmentation: uint8 per voxel; else int64)."""
        if item.name in self._held:
            return self._held[item.name]
        image, label = self._arrays(item)
        size, pair = image.nbytes + label.nbytes, (torch.from_numpy(image), torch.from_numpy(np.asarray(label)))
        if size <= self._left:
            self._left -= size
            self._held[item.name] = (pair[0].clone(), pair[1].clone())
            return self._held[item.name]
        return pair

    def _arrays(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Image and label as they are kept, mapped; read again where they are not there, or not whole."""
        image, label = self._paths(item)
        if item.name not in self._whole:
            if not (_is_whole(image) and _is_whole(label)):
                self._read(item)
            self._whole.add(item.name)
        return np.load(image, mmap_mode="c"), np.load(label, mmap_mode="c")

    def _paths(self, item: Item) -> tuple[Path, Path]:
        text = repr((item.name, None if isinstance(item.label, str) else item.label, item.place, self.content(item)))
        stem = hashlib.sha256(text.encode()).hexdigest()[:20]
        return self.folder / f"{stem}.image.npy", self.folder / f"{stem}.label.npy"

    def _read(self, item: Item) -> None:
        loaded = self.target.load(item)
        image = loaded.image
        if image.shape[0] != self.target.channels:
            raise InvalidInputError(
                f"{item.image} has {image.shape[0]} channels: set channels = {image.shape[0]} in {self.target.name}"
            )
        for path, array in zip(self._paths(item), (image.astype(np.float16), loaded.label), strict=True):
            _keep(path, array)


def pixel_hash(image: np.ndarray) -> str:
    """Of an item's image (C, spatial...) in half precision: of its size and its middle, so that little of it is read.
    Empty where that is all the same: such images are no one's."""
    start = max(0, image.size - _LOOKED_AT) // 2
    middle = image.reshape(-1)[start : start + _LOOKED_AT].astype(np.float16)
    if (middle == middle[0]).all():
        return ""
    return hashlib.sha256(f"{image.shape}".encode() + middle.tobytes()).hexdigest()


def _keep(path: Path, array: np.ndarray) -> None:
    """Write an array and its sha256, which says whether it is whole: nothing has to wait for the disk.

    Raises:
        ReadError: it cannot be written.
    """
    buffer = io.BytesIO()
    np.save(buffer, array)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
    except OSError as error:
        raise unwritable(path, error) from error


def _is_whole(path: Path) -> bool:
    """Whether an array is there as it was written."""
    digest, size = hashlib.sha256(), hashlib.sha256().digest_size
    try:
        with open(path, "rb") as file:
            left = file.seek(0, os.SEEK_END) - size
            file.seek(0)
            while left > 0 and (block := file.read(min(left, 2**20))):
                digest.update(block)
                left -= len(block)
            return file.read() == digest.digest()
    except OSError:
        return False
