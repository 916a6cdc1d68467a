"""The items of a target as arrays: read once, kept on disk as the network takes them, and drawn into batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from sg_hub.errors import InvalidInputError, SgHubError

from ..targets import Item, Target
from ..targets.label_maps import UnknownLabelError
from . import PROTOCOL
from .content_hashes import ContentHashes

Pair = tuple[Tensor, Tensor]


class ItemArrays:
    """Reads items of a target, and keeps them below `folder` (images in half precision, labels in a byte).

    What was kept is used again while the files of the item have the same content and the target's grid is the same.
    Arrays are mapped, so a trial's memory does not grow with the data set, but for `memory_mib` of the first ones.
    """

    def __init__(self, target: Target, folder: str | Path, memory_mib: int = 512) -> None:
        self.target = target
        self.folder = Path(folder) / f"{target.reader}-{target.grid_key()}-{PROTOCOL}"
        self._hashes = ContentHashes(Path(folder) / "content.json")
        self._left = memory_mib * 2**20
        self._held: dict[str, Pair] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_held": {}}  # another process reads what it needs

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
        """Hashes of what is in the files of an item: its image, and its label where that is a file."""
        return self._hashes.of(item.image), self._hashes.of(item.label) if isinstance(item.label, str) else ""

    def classes(self, item: Item) -> set[int]:
        """The classes that occur in the mask of an item."""
        return set(np.flatnonzero(np.bincount(np.load(self._paths(item)[1]).ravel())).tolist()) - {0}

    def __getitem__(self, item: Item) -> Pair:
        """Image (C, spatial...) half precision in 0..1, and label (segmentation: uint8 per voxel; else int64)."""
        if item.name in self._held:
            return self._held[item.name]
        image, label = self._paths(item)
        if not (image.is_file() and label.is_file()):
            self._read(item)
        arrays = np.load(image, mmap_mode="c"), np.load(label, mmap_mode="c")
        size = sum(array.nbytes for array in arrays)
        pair = torch.from_numpy(arrays[0]), torch.from_numpy(np.asarray(arrays[1]))
        if size <= self._left:
            self._left -= size
            self._held[item.name] = (pair[0].clone(), pair[1].clone())
            return self._held[item.name]
        return pair

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
        self.folder.mkdir(parents=True, exist_ok=True)
        for path, array in zip(self._paths(item), (image.astype(np.float16), loaded.label), strict=True):
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            with open(temporary, "wb") as file:
                np.save(file, array)
            os.replace(temporary, path)


def axial_slices(x: Tensor) -> Tensor:
    """(..., X, Y, Z) to (Z, ..., H, W): rows from anterior to posterior, columns to the patient's left."""
    return x.movedim(-1, 0).transpose(-1, -2)


def from_axial_slices(x: Tensor) -> Tensor:
    """The way back: (Z, ..., H, W) to (..., X, Y, Z)."""
    return x.transpose(-1, -2).movedim(0, -1)


def middle_slices(image: Tensor, count: int) -> Tensor:
    """(n, C, H, W): the `count` slices around the middle of (C, X, Y, Z), or all where there are fewer."""
    slices = axial_slices(image)
    start = max(0, (len(slices) - count) // 2)
    return slices[start : start + count]


class Batches:
    """Batches of a target's training items, drawn at random.

    Classification: any item, or with `balanced` each class as often. Segmentation: patches, every other one around a
    voxel of some class. Mirrored and shifted as the settings say.
    """

    def __init__(self, target: Target, arrays: ItemArrays, items: Sequence[Item]) -> None:
        self.target, self.arrays, self.items = target, arrays, list(items)
        groups: dict[int, list[Item]] = {}
        if target.head == "classification" and target.exclusive and target.settings.balanced:
            for item in self.items:
                groups.setdefault(int(item.label), []).append(item)  # type: ignore[arg-type]
        self._groups = [group for _, group in sorted(groups.items())] or [self.items]
        self._voxels: dict[str, list[Tensor]] = {}

    def draw(self, noise: torch.Generator) -> Pair:
        """x (N, C, patch...) float32 and y: (N,) class numbers, (N, findings) float, or (N, patch...) class numbers."""
        one = self._item_patch if self.target.head == "segmentation" else self._whole_item
        pairs = [_moved(self.target, *one(number, noise), noise) for number in range(self.target.settings.batch_size)]
        x, y = torch.stack([image.float() for image, _ in pairs]), torch.stack([label for _, label in pairs])
        return x, y.long() if self.target.head == "segmentation" or self.target.exclusive else y.float()

    def _whole_item(self, number: int, noise: torch.Generator) -> Pair:
        items = self._groups[number % len(self._groups)]
        image, label = self.arrays[items[_random(len(items), noise)]]
        if self.target.sliced:
            slices = middle_slices(image, self.target.settings.slices)
            image = slices[_random(len(slices), noise)]
        return image, label

    def _item_patch(self, number: int, noise: torch.Generator) -> Pair:
        item = self.items[_random(len(self.items), noise)]
        image, label = self.arrays[item]
        patch, sliced = self.target.patch, self.target.sliced
        size = (patch[1], patch[0], 1) if sliced else patch
        if tuple(label.shape) != tuple(size):
            centre = torch.tensor([_random(side, noise) for side in label.shape])
            classes = [voxels for voxels in self._class_voxels(item, label) if len(voxels)]
            if number % 2 == 0 and classes:
                voxels = classes[_random(len(classes), noise)]
                centre = voxels[_random(len(voxels), noise)]
            image, label = _cut(image, label, centre, size)
        return (axial_slices(image)[0], axial_slices(label)[0]) if sliced else (image, label)

    def _class_voxels(self, item: Item, label: Tensor) -> list[Tensor]:
        """Voxels (n, ndim) of each class; of large ones a few thousand."""
        if item.name not in self._voxels:
            found = [torch.nonzero(label == number) for number in range(1, len(self.target.classes) + 1)]
            self._voxels[item.name] = [voxels[:: 1 + len(voxels) // 5000].clone() for voxels in found]
        return self._voxels[item.name]


def _cut(image: Tensor, label: Tensor, centre: Tensor, size: Sequence[int]) -> Pair:
    """The patch around a voxel, within the item where it fits, padded with 0 where it is larger."""
    shape, sides = torch.tensor(label.shape), torch.tensor(tuple(size))
    corner = (centre - sides // 2).minimum(shape - sides).clamp(min=0)
    part = tuple(slice(int(c), int(c + s)) for c, s in zip(corner, sides, strict=True))
    image, label = image[(slice(None), *part)], label[part]
    short = [int(s - have) for s, have in zip(sides, label.shape, strict=True)]
    padding = [value for amount in reversed(short) for value in (0, amount)]
    return (F.pad(image, padding), F.pad(label, padding)) if any(short) else (image, label)


def _moved(target: Target, image: Tensor, label: Tensor, noise: torch.Generator) -> Pair:
    """Mirrored along each of `mirror` half of the time, and shifted by up to `shift` along the in-plane axes."""
    dense = target.head == "segmentation"
    dims = {"x": 0, "y": 1, "z": 2} if target.ndim == 3 else {"x": 1, "y": 0}  # a slice has no z
    for axis in target.settings.mirror:
        if axis in dims and _random(2, noise):
            image, label = image.flip(1 + dims[axis]), label.flip(dims[axis]) if dense else label
            if axis == "x" and target.mirror_pairs:
                label = _of_other_side(target, label)
    if target.settings.shift:
        most = target.settings.shift
        for dim in (0, 1):
            by = _random(2 * most + 1, noise) - most
            places = (torch.arange(image.shape[1 + dim]) + by).clamp(0, image.shape[1 + dim] - 1)
            image = image.index_select(1 + dim, places)
            label = label.index_select(dim, places) if dense else label
    return image, label


def _of_other_side(target: Target, label: Tensor) -> Tensor:
    """Classes of the two sides of the body in each other's place."""
    other = torch.tensor(target.mirrored_classes)
    if target.head == "segmentation" or target.exclusive:
        return other[label.long()].to(label.dtype)
    return label[other]


def _random(high: int, noise: torch.Generator) -> int:
    return int(torch.randint(high, (), generator=noise))
