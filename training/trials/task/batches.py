"""Batches of a target's training items, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sg_hub.preprocessing.steps import pad_to

from ...targets import Item, Target
from .item_arrays import ItemArrays, Pair
from .slices import axial_slices, middle_slices


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

    def draw(self, noise: torch.Generator, step: int = 0) -> Pair:
        """x (N, C, patch...) float32 and y: (N,) class numbers, (N, findings) float, or (N, patch...) class numbers.

        Args:
            step: how many batches there were before: turns of classes go on from one to the next.
        """
        one = self._item_patch if self.target.head == "segmentation" else self._whole_item
        size = self.target.settings.batch_size
        numbers = range(step * size, (step + 1) * size)
        pairs = [_moved(self.target, *one(number, noise), noise) for number in numbers]
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
    """The patch around a voxel, within the item where it fits; where it is larger, the item is in the middle and its
    border is repeated, as `predict` does it."""
    shape, sides = torch.tensor(label.shape), torch.tensor(tuple(size))
    corner = (centre - sides // 2).minimum(shape - sides).clamp(min=0)
    part = tuple(slice(int(c), int(c + s)) for c, s in zip(corner, sides, strict=True))
    image, label = image[(slice(None), *part)], label[part]
    if tuple(label.shape) == tuple(size):
        return image, label
    return (
        pad_to(image[None], size, mode="replicate")[0],
        pad_to(label[None, None].float(), size, mode="replicate")[0, 0].to(label.dtype),
    )


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
