"""Patch-shuffling: the whole cube from one whose small patches changed places (context restoration, Chen et al. 2019).

The publication takes two patches of an image at random and swaps them if they do not overlap, again and again (patches
that were moved may be moved on), so that the intensities stay and their context does not; the image is restored by the
squared error of all of it. Its network ends in what the target task needs: a few layers for classification, the
decoder of the segmentation's network for segmentation.

What differs here. In 3D patches are boxes. The network is the paper's U-Net, with skip connections: it can copy what
did not move, and has to see by itself what did. The size and the number of the patches are settings.
"""

from __future__ import annotations

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from ..transforms._common import moved, random_integers
from .protocol import Batch, MethodSettings, Views
from .restoring import Restoring


class PatchShufflingSettings(MethodSettings):
    patch: float = Field(default=0.2, gt=0, le=0.5)
    """Sides of a patch, as a share of the cube's."""
    swaps: PositiveInt = 10
    """Pairs of patches drawn for each cube, one after the other; those that overlap stay."""


class PatchShuffling(Restoring):
    name = "patch_shuffling"
    title = "patch-shuffling"
    about = "The network restores cubes in which pairs of small patches were swapped."
    source = "Chen et al., Self-supervised learning using image context restoration, Medical Image Analysis 2019"
    corruptions = ("shuffled",)
    Settings = PatchShufflingSettings

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        shuffled = swap_patches(batch.cubes, generator, self.settings.patch, self.settings.swaps)
        return Views((shuffled,), {"restoration": batch.cubes})

    def asked(self, kind: str) -> str:
        return "restoration of shuffled patches"


def swap_patches(cubes: Tensor, generator: torch.Generator, patch: float, swaps: int) -> Tensor:
    """Cubes (N, C, spatial...) in each of which pairs of patches were swapped, one pair after the other.

    All channels of a cube move together. The draws are made where the cubes are, and none is read.
    """
    shape = cubes.shape[2:]
    size = [max(1, round(patch * side)) for side in shape]
    numbers = torch.arange(shape.numel(), device=cubes.device).view(shape)
    frame = numbers[tuple(slice(side) for side in size)].flatten()
    steps, sides, room = (
        moved(torch.tensor(each), cubes.device)
        for each in (numbers.stride(), size, [side - part for side, part in zip(shape, size, strict=True)])
    )
    flat = cubes.flatten(2).clone(memory_format=torch.contiguous_format)
    for _ in range(swaps):
        corner = random_integers(torch.zeros_like(room).expand(2, len(cubes), -1), room, generator)
        apart = ((corner[0] - corner[1]).abs() >= sides).any(1)
        first, second = (corner * steps).sum(-1)
        second = torch.where(apart, second, first)  # with itself nothing is swapped
        here, there = ((at[:, None, None] + frame).expand(-1, flat.shape[1], -1) for at in (first, second))
        old = flat.gather(2, here), flat.gather(2, there)
        flat = flat.scatter_(2, here, old[1]).scatter_(2, there, old[0])
    return flat.view(cubes.shape)
