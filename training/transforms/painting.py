"""In-painting and out-painting with uniform noise (Models and Semantic Genesis)."""

from __future__ import annotations

import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError

from ._common import check_batch, check_count, check_probability, host, moved, random_integers, uniform_noise

MARGIN = 3
"""Voxels between a box and the border, where the side has room for them."""


@torch.no_grad()
def in_paint(batch: Tensor, generator: torch.Generator, *, boxes: int = 1, continuing: float = 1.0) -> Tensor:
    """Fill a random box of each cube with uniform noise.

    A box's side is uniform in a sixth to a third of the cube's. It keeps 3 voxels from the border; along a
    side too short for that, as many as fit.

    Args:
        batch: (N, C, H, W) or (N, C, X, Y, Z), floating, in 0..1; sides of 6 voxels or more.
        generator: on the batch's device.
        boxes: at most so many boxes; 1 in Semantic Genesis, 5 in Models Genesis.
        continuing: probability of each box, the first included, given the one before; 0.95 in Models Genesis.

    Returns:
        A new tensor of the batch's shape and dtype.

    Raises:
        InvalidInputError: the batch, generator or options cannot be used.

    Source: the paper's published settings.
    """
    check_batch(batch, generator)
    return paint_inside(batch, generator, *_checked(batch, boxes, continuing, smallest=6))


@torch.no_grad()
def out_paint(batch: Tensor, generator: torch.Generator, *, boxes: int = 1, continuing: float = 1.0) -> Tensor:
    """Replace everything outside a random box of each cube by uniform noise.

    A box's side is uniform in 3/7 to 4/7 of the cube's. It keeps 3 voxels from the border; along a side
    too short for that, as many as fit.

    Args:
        batch: (N, C, H, W) or (N, C, X, Y, Z), floating, in 0..1; sides of 7 voxels or more.
        generator: on the batch's device.
        boxes: at most so many boxes, whose union is kept; 1 in Semantic Genesis, 5 in Models Genesis.
        continuing: probability of each box after the first, given the one before; 0.95 in Models Genesis.

    Returns:
        A new tensor of the batch's shape and dtype.

    Raises:
        InvalidInputError: the batch, generator or options cannot be used.

    Source: the paper's published settings.
    """
    check_batch(batch, generator)
    return paint_outside(batch, generator, *_checked(batch, boxes, continuing, smallest=7))


def paint_inside(batch: Tensor, generator: torch.Generator, boxes: int = 1, continuing: float = 1.0) -> Tensor:
    """`in_paint` on a batch that was checked."""
    out = batch.clone(memory_format=torch.contiguous_format)
    shape, device, draws = batch.shape[2:], batch.device, host(generator)
    sides = torch.tensor(shape)
    present = _present(len(batch), boxes, continuing, draws)
    # A frame of the largest box's size, moved so that it lies inside the cube, holds the box: the frames
    # of all cubes have one size and are read, filled and written back together.
    frame = sides // 3
    for drawn in present:
        size, corner = _box(sides // 6, sides // 3, sides, len(batch), draws)
        parts = (torch.minimum(corner, sides - frame), corner, corner + size, drawn)
        start, corner, end, drawn = (moved(part, device) for part in parts)
        places = [start[:, axis, None] + torch.arange(shape[axis] // 3, device=device) for axis in range(len(shape))]
        inside = [(p >= corner[:, axis, None]) & (p < end[:, axis, None]) for axis, p in enumerate(places)]
        chosen = _outer(inside) & drawn.view(-1, *[1] * len(shape))
        where = _frames(places, batch.shape)
        old = out.view(-1).index_select(0, where.view(-1)).view(where.shape)
        noise = uniform_noise(where.shape, batch, generator)
        new = torch.where(chosen[:, None], noise, old)
        out.view(-1).index_copy_(0, where.view(-1), new.view(-1))
    return out


def paint_outside(batch: Tensor, generator: torch.Generator, boxes: int = 1, continuing: float = 1.0) -> Tensor:
    """`out_paint` on a batch that was checked."""
    shape, device, draws = batch.shape[2:], batch.device, host(generator)
    sides = torch.tensor(shape)
    smallest, largest = sides - 4 * sides // 7, sides - 3 * sides // 7
    drawn_boxes = [
        (drawn, *_box(smallest, largest, sides, len(batch), draws))
        for drawn in _present(len(batch), boxes, continuing, draws, first=1.0)
    ]
    if device.type == "cpu":  # no mask of all voxels, most of which are noise
        noise = uniform_noise(batch.shape, batch, generator)
        for drawn, size, corner in drawn_boxes:
            ends = torch.stack([corner, corner + size], dim=1).tolist()
            for number in drawn.nonzero()[:, 0].tolist():
                place = (number, slice(None), *map(slice, *ends[number]))
                noise[place] = batch[place]
        return noise
    kept = None
    for drawn, size, corner in drawn_boxes:
        corner, end, drawn = (moved(part, device) for part in (corner, corner + size, drawn))
        inside = []
        for axis, side in enumerate(shape):
            along = torch.arange(side, device=device)
            inside.append((along >= corner[:, axis, None]) & (along < end[:, axis, None]))
        inside[0] &= drawn[:, None]
        box = _outer(inside)
        kept = box if kept is None else kept | box
    assert kept is not None  # there is at least one box
    noise = uniform_noise(batch.shape, batch, generator)
    return torch.where(kept[:, None], batch, noise, out=noise)


def _checked(batch: Tensor, boxes: int, continuing: float, smallest: int) -> tuple[int, float]:
    count, probability = check_count("boxes", boxes), check_probability("continuing", continuing)
    if count == 0:
        raise InvalidInputError("boxes is at least 1, got 0")
    check_sides(batch, smallest)
    return count, probability


def check_sides(batch: Tensor, smallest: int) -> None:
    """Refuse cubes in which a box would have no voxel, or no room beside it."""
    if min(batch.shape[2:]) < smallest:
        raise InvalidInputError(
            f"a cube of {' x '.join(map(str, batch.shape[2:]))} voxels is too small for a box of noise: "
            f"each side needs at least {smallest} voxels"
        )


def _present(
    n: int,
    boxes: int,
    continuing: float,
    draws: torch.Generator,
    first: float | None = None,
) -> list[Tensor]:
    """For each box whether each of n cubes has it, (n,) bool: a box needs the one before it."""
    draw = torch.rand(boxes, n, generator=draws)
    limit = torch.full((boxes, 1), continuing)
    if first is not None:
        limit[0] = first
    return list((draw < limit).cummin(0).values)


def _box(smallest: Tensor, largest: Tensor, sides: Tensor, n: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Size and corner in voxels, (n, axes) each, of a box for each of n cubes."""
    size = random_integers(smallest.expand(n, -1), largest.expand(n, -1), draws)
    room = sides - size
    margin = (room // 2).clamp(max=MARGIN)
    return size, random_integers(margin, room - margin, draws)


def _outer(inside: list[Tensor]) -> Tensor:
    """Membership along each axis, (n, side) each, to membership of voxels, (n, spatial...)."""
    result = inside[-1]
    for axis in reversed(inside[:-1]):  # from the last one, so that the large steps have long inner loops
        result = axis.view(*axis.shape, *[1] * (result.ndim - 1)) & result[:, None]
    return result


def _frames(places: list[Tensor], shape: torch.Size) -> Tensor:
    """Indices into a flat (N, C, spatial...) of each cube's frame, (n, c, frame...)."""
    n, channels, *sides = shape
    device = places[0].device
    result = places[-1]
    stride = 1
    for place, side in zip(reversed(places[:-1]), reversed(sides[1:]), strict=True):
        stride *= side
        result = (place * stride).view(*place.shape, *[1] * (result.ndim - 1)) + result[:, None]
    stride *= sides[0]
    first = torch.arange(n * channels, device=device).view(n, channels, *[1] * len(sides)) * stride
    return first + result[:, None]
