"""Local shuffling of voxels inside small windows (Models and Semantic Genesis)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._common import check_batch, check_count, host, moved, random_integers

VOXELS_AT_ONCE = 4_000_000
"""About how many window voxels are handled together: bounds the memory of thousands of windows."""


@torch.no_grad()
def local_shuffle(batch: Tensor, generator: torch.Generator, *, windows: int = 5) -> Tensor:
    """Permute the voxels inside small random windows of each cube.

    Each side of a window is uniform in 1..a tenth of the cube's side (at least 1 voxel), and it lies anywhere
    inside the cube. A window reads from the original cube and is written into the result; where windows
    overlap, the later one is seen. All channels of a cube are permuted together.

    Args:
        batch: (N, C, H, W) or (N, C, X, Y, Z), floating, in 0..1.
        generator: on the batch's device.
        windows: windows per cube; 5 in Semantic Genesis, 10000 in Models Genesis.

    Returns:
        A new tensor of the batch's shape and dtype.

    Raises:
        InvalidInputError: the batch, generator or options cannot be used.

    Source: the paper's published settings.
    """
    check_batch(batch, generator)
    check_count("windows", windows)
    return shuffle_windows(batch, generator, windows)


def shuffle_windows(batch: Tensor, generator: torch.Generator, windows: int = 5) -> Tensor:
    """`local_shuffle` on a batch that was checked."""
    out = batch.clone(memory_format=torch.contiguous_format)
    if windows == 0:
        return out
    largest = math.prod(max(1, side // 10) for side in batch.shape[2:])
    step = max(1, VOXELS_AT_ONCE // (windows * largest))
    for start in range(0, len(batch), step):
        part = out[start : start + step]
        destination, source = _moves(part, generator, windows)
        # One row per channel, over all voxels of these cubes.
        flat = part.transpose(0, 1).flatten(1) if part.shape[1] > 1 else part.view(1, -1)
        values = flat.index_select(1, source)
        if part.shape[1] > 1:
            flat = flat.index_copy(1, destination, values)
            part.copy_(flat.view(part.transpose(0, 1).shape).transpose(0, 1))
        else:
            flat.index_copy_(1, destination, values)
    return out


def _moves(cubes: Tensor, generator: torch.Generator, windows: int) -> tuple[Tensor, Tensor]:
    """Which voxel gets which: (destinations, sources) among all the cubes' voxels.

    A destination that lies in several windows is there as often, each time with the same source.
    """
    n, shape, device, draws = len(cubes), cubes.shape[2:], cubes.device, host(generator)
    sides = torch.tensor(shape).expand(n, windows, -1)
    ones = torch.ones_like(sides)
    size = random_integers(ones, (sides // 10).clamp(min=1), draws)
    corner = random_integers(ones - 1, sides - size, draws)
    total = int(size.prod(-1).sum())
    size, corner = moved(size, device), moved(corner, device)
    volume = size.prod(-1).view(-1)
    # The window of each voxel in a window, over all the cubes.
    window = torch.repeat_interleave(volume, output_size=total)
    start = (volume.cumsum(0) - volume).index_select(0, window)
    position = torch.arange(len(window), device=device).sub_(start)  # counts the window's voxels
    index = (window // windows) * math.prod(shape)  # the cube's first voxel
    stride = 1
    for axis in reversed(range(len(shape))):
        length = size[..., axis].reshape(-1).index_select(0, window)
        rest = position // length if axis else torch.zeros_like(position)
        along = position - rest * length + corner[..., axis].reshape(-1).index_select(0, window)
        index += along * stride
        position = rest
        stride *= shape[axis]
    # Sorting by (window, random number) permutes the voxels of each window, and no others.
    key = torch.empty_like(window).random_(0, 1 << 32, generator=generator).add_(window << 32)
    source = index.index_select(0, torch.argsort(key, stable=True))
    # Of the windows that write to a voxel the last one counts, as the order of writing is not defined on a GPU: each
    # takes what that one, whose place in the list is the highest, writes.
    number = torch.arange(total, dtype=torch.int32, device=device)
    last = torch.empty(n * math.prod(shape), dtype=torch.int32, device=device)
    last.index_fill_(0, index, 0)  # only what is read: a few windows touch little of the batch
    last.scatter_reduce_(0, index, number, "amax")
    return index, source.index_select(0, last.index_select(0, index))
