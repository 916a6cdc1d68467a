"""Cubes in blocks of which some are masked, as many in each cube, so that no size depends on values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def grid_of(cubes: Tensor, block: int) -> list[int]:
    """Blocks of that many voxels along each axis of (N, C, spatial...)."""
    return [side // block for side in cubes.shape[2:]]


def visible_blocks(n: int, grid: Sequence[int], masked: float, generator: torch.Generator) -> Tensor:
    """(N, visible) numbers of the blocks of n cubes that stay: all but that share, at least one, and not all."""
    blocks = math.prod(grid)
    kept = min(max(blocks - round(masked * blocks), 1), blocks - 1)
    return torch.rand(n, blocks, generator=generator, device=generator.device).argsort(1)[:, :kept]


def mask_of(visible: Tensor, grid: Sequence[int]) -> Tensor:
    """(N, 1, *grid) float32, 1 where a block is masked."""
    masked = torch.ones(len(visible), math.prod(grid), device=visible.device)
    return masked.scatter(1, visible, 0.0).view(-1, 1, *grid)


def voxels_of(visible: Tensor, grid: Sequence[int], sides: Sequence[int]) -> Tensor:
    """Which voxels of a map (N, spatial...) with these sides, counted through, lie in visible blocks; no order."""
    n, axes = len(visible), len(grid)
    split = [part for side, blocks in zip(sides, grid, strict=True) for part in (blocks, side // blocks)]
    number = torch.arange(n * math.prod(sides), device=visible.device).view(n, *split)
    number = number.permute(0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2)).reshape(n, math.prod(grid), -1)
    return number.gather(1, visible[:, :, None].expand(-1, -1, number.shape[2])).flatten()


def block_means(cubes: Tensor, grid: Sequence[int]) -> Tensor:
    """(N, C, *grid) of (N, C, spatial...)."""
    return F.interpolate(cubes, list(grid), mode="area")
