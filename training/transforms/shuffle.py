"""Local shuffling of voxels inside small windows (Models and Semantic Genesis)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ._common import bit_generator, check_batch, check_count, host, moved

VOXELS_AT_ONCE = 1_000_000
"""About how many window voxels are handled together: bounds the memory of thousands of windows."""
WORTH_SORTING = 1000
"""Window voxels for each size that a window can have, from which a CPU takes the windows of one size together."""


@torch.no_grad()
def local_shuffle(batch: Tensor, generator: torch.Generator, *, windows: int = 5) -> Tensor:
    """Permute the voxels inside small random windows of each cube.

    Each side of a window is uniform in 1..a tenth of the cube's side (at least 1 voxel), and it lies anywhere
    inside the cube. A window reads from the original cube and is written into the result; where windows
    overlap, the later one is seen. All channels of a cube are permuted together. A cube whose sides are all below 20
    voxels has windows of one voxel alone, and comes out as it went in.

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
    return shuffle_windows(batch, generator, check_count("windows", windows))


def shuffle_windows(batch: Tensor, generator: torch.Generator, windows: int = 5) -> Tensor:
    """`local_shuffle` on a batch that was checked."""
    out = batch.clone(memory_format=torch.contiguous_format)
    if windows == 0:
        return out
    largest = [max(1, side // 10) for side in batch.shape[2:]]
    usual = math.prod((side + 1) / 2 for side in largest)
    step = max(1, int(VOXELS_AT_ONCE / (windows * usual)))
    for start in range(0, len(batch), step):
        part = out[start : start + step]
        size, corner = _drawn(part, largest, windows, host(generator))
        total = int(size.prod(-1).sum())
        # One row per channel, over all voxels of these cubes.
        flat = part.transpose(0, 1).reshape(part.shape[1], -1)
        if batch.device.type == "cpu" and total >= WORTH_SORTING * math.prod(largest):
            flat = flat.index_select(1, _sources(part.shape[2:], size, corner, largest, generator))
        else:
            destination, source = _moves(part, size, corner, total, generator)
            flat = flat.index_copy_(1, destination, flat.index_select(1, source))
        if flat.data_ptr() != part.data_ptr():
            part.copy_(flat.view(part.transpose(0, 1).shape).transpose(0, 1))
    return out


def _drawn(cubes: Tensor, largest: Sequence[int], windows: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Size and corner in voxels, (n, windows, axes) each, on the CPU."""
    n, axes = len(cubes), cubes.ndim - 2
    bits = bit_generator(draws).random_raw(n * windows * axes).view(np.uint32).astype(np.int64)
    bits = bits.reshape(2, n, windows, axes)
    size = (bits[0] * np.array(largest) >> 32) + 1
    corner = bits[1] * (np.array(cubes.shape[2:]) + 1 - size) >> 32
    return torch.from_numpy(size), torch.from_numpy(corner)


def _moves(
    cubes: Tensor, size: Tensor, corner: Tensor, total: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Which voxel gets which: (destinations, sources) among all the cubes' voxels.

    A destination that lies in several windows is there as often, each time with the same source.
    """
    shape, device, windows = cubes.shape[2:], cubes.device, size.shape[1]
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
    last = torch.empty(len(cubes) * math.prod(shape), dtype=torch.int32, device=device)
    last.index_fill_(0, index, 0)  # only what is read: a few windows touch little of the batch
    last.scatter_reduce_(0, index, number, "amax")
    return index, source.index_select(0, last.index_select(0, index))


def _sources(
    shape: Sequence[int], size: Tensor, corner: Tensor, largest: Sequence[int], generator: torch.Generator
) -> Tensor:
    """For each voxel of the cubes, the one whose value it gets, by number; for many windows, on a CPU.

    Windows of one size are rows of one table, which numpy sorts ten times as fast as torch sorts all of them at once.
    Each voxel keeps the greatest of (window, source), so that the last window counts.
    """
    voxels, (n, windows) = np.arange(math.prod(shape)).reshape(shape), corner.shape[:2]
    strides = torch.tensor([math.prod(shape[axis + 1 :]) for axis in range(len(shape))])
    cube = torch.arange(n)[:, None] * voxels.size
    kind = np.ravel_multi_index((size.flatten(0, 1) - 1).numpy().T, tuple(largest))
    order = np.argsort(kind.astype(np.min_scalar_type(kind.max())), kind="stable")  # 16 bits or less: by counting
    first = (corner * strides).sum(-1)
    corners = (first + cube).numpy().ravel()[order, None]
    # (window, source) as one number: the source, a voxel of the same cube, is in the lower bits.
    cell = (voxels.size - 1).bit_length()
    number = np.int32 if windows.bit_length() + cell <= 31 and n * voxels.size < 2**31 else np.int64
    window = torch.arange(1, windows + 1).mul_(1 << cell).add(first).numpy().astype(number).ravel()[order, None]
    bits = bit_generator(generator)
    # A voxel's key is 16 random bits or more above its place in the window: sorting permutes the places. A tie, one in
    # 65 536 pairs at most, leaves two as they were.
    place = int(voxels[tuple(side - 1 for side in largest)]).bit_length()
    wide = np.uint32 if place <= 16 else np.uint64
    sources, done = torch.from_numpy(np.tile(voxels.ravel().astype(number), n)), 0
    for last, count in zip(np.ndindex(*largest), np.bincount(kind, minlength=math.prod(largest)).tolist(), strict=True):
        if not count:
            continue
        rows = slice(done, done + count)
        within = voxels[tuple(slice(end + 1) for end in last)].ravel()  # of a window at the first voxel
        total = count * within.size
        key = bits.random_raw(-(-total * wide().itemsize // 8)).view(wide)[:total].reshape(count, within.size)
        key <<= wide(place)
        key |= within.astype(wide)
        key.sort(axis=1)
        key &= wide((1 << place) - 1)
        found = key.view(number) if key.itemsize == window.itemsize else key.astype(number)
        found += window[rows]
        index = corners[rows] + within
        sources.scatter_reduce_(0, torch.from_numpy(index.ravel()), torch.from_numpy(found.ravel()), "amax")
        done = rows.stop
    return sources.bitwise_and_((1 << cell) - 1).view(n, -1).add_(cube).view(-1)
