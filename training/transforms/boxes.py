"""Random boxes of voxels, of each cube its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._common import moved, random_integers


def random_box(
    cubes: Tensor, low: Sequence[int], high: Sequence[int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Corner and size, (N, axes) each, of a box anywhere in each cube, with sides from low to high voxels."""
    shape, smallest, largest = (
        moved(torch.tensor(sides), cubes.device).expand(len(cubes), -1) for sides in (cubes.shape[2:], low, high)
    )
    size = random_integers(smallest, largest, generator)
    return random_integers(torch.zeros_like(size), shape - size, generator), size


def middle(cubes: Tensor) -> tuple[Tensor, Tensor]:
    """Corner and size, (N, axes) each, of the box of half of each side in the middle."""
    sides = moved(torch.tensor(cubes.shape[2:]), cubes.device).expand(len(cubes), -1)
    return sides // 4, sides // 2


def inside(cubes: Tensor, corner: Tensor, size: Tensor, border: Sequence[int] = (0, 0, 0)) -> Tensor:
    """(N, 1, spatial...) bool: which voxels of cubes (N, C, spatial...) lie in a box, or in its border.

    Args:
        corner, size: (N, axes) in voxels.
        border: voxels on both sides of each axis.
    """
    found = torch.ones_like(cubes[:, :1], dtype=torch.bool)
    for axis, side in enumerate(cubes.shape[2:]):
        place = torch.arange(side, device=cubes.device) - corner[:, axis, None]
        along = (place >= -border[axis]) & (place < size[:, axis, None] + border[axis])
        found &= along.view(-1, 1, *[side if a == axis else 1 for a in range(cubes.ndim - 2)])
    return found
