"""Two views of a cube: overlapping boxes, what lies in them, places that both see, and how each is altered.

Lengths are voxels of the cube, counted from its edge: voxel i reaches from i to i + 1. Places in a view, or in a
feature map of any stride, are -1 at one edge and 1 at the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .intensity import nonlinear as curve
from .painting import in_paint

CANDIDATES = 4
"""Places drawn for each that is wanted, of which those in tissue are taken first."""


def overlapping(
    cubes: Tensor, size: Sequence[int], generator: torch.Generator, *, scale: tuple[float, float], overlap: float
) -> tuple[Tensor, Tensor]:
    """Corners and extents of two boxes in each cube (N, C, spatial...): (2, N, axes) each.

    Args:
        size: voxels of a box of scale 1; the boxes lie inside the cube.
        generator: on the cubes' device.
        scale: range of the scale in plane (axes 0 and 1), of each box by itself.
        overlap: least share of the smaller box's side, along each axis, that lies in the other box.
    """
    n, axes, device = len(cubes), len(size), cubes.device
    plane = scale[0] * (scale[1] / scale[0]) ** torch.rand(2, n, generator=generator, device=device)
    draw = torch.rand(2, n, axes, generator=generator, device=device)
    corners, extents = [], []
    for axis, (room, side) in enumerate(zip(cubes.shape[2:], size, strict=True)):
        extent = (side * (plane if axis < 2 else torch.ones_like(plane))).clamp(max=room)
        shared = overlap * extent.amin(0)
        first = draw[0, :, axis] * (room - extent[0])
        least = (first + shared - extent[1]).clamp(min=0)
        most = torch.minimum(room - extent[1], first + extent[0] - shared)
        corners.append(torch.stack([first, least + draw[1, :, axis] * (most - least)]))
        extents.append(extent)
    return torch.stack(corners, dim=-1), torch.stack(extents, dim=-1)


def shared_places(
    cubes: Tensor,
    corner: Tensor,
    extent: Tensor,
    size: Sequence[int],
    count: int,
    generator: torch.Generator,
    *,
    tissue: float,
) -> tuple[Tensor, Tensor]:
    """Random places that lie in two boxes of a cube, in tissue as far as there is any there.

    They keep half a voxel of the views from the edges, so that a view is never interpolated beyond its voxels.

    Args:
        corner, extent: (2, N, axes), of `overlapping`.
        size: voxels that the boxes are cut into.
        tissue: mean over four voxels along each axis above which a place is in tissue.

    Returns:
        (N, count, axes) in voxels of the cubes, and (2, N, count, axes) in each view, -1..1.
    """
    margin = torch.stack([extent[..., axis] / (2 * side) for axis, side in enumerate(size)], dim=-1)
    low, high = (corner + margin).amax(0)[:, None], (corner + extent - margin).amin(0)[:, None]
    n, axes = corner.shape[1:]
    draw = torch.rand(n, CANDIDATES * count, axes, generator=generator, device=cubes.device)
    place = low + (high - low) * draw
    in_cube = torch.stack([2 * place[..., axis] / side - 1 for axis, side in enumerate(cubes.shape[2:])], dim=-1)
    around = F.interpolate(cubes.mean(1, keepdim=True), scale_factor=0.25, mode="area")
    empty = sampled(around, in_cube)[..., 0] <= tissue
    chosen = empty.int().argsort(dim=1, stable=True)[:, :count, None].expand(-1, -1, axes)
    place = place.gather(1, chosen)
    return place, 2 * (place - corner[:, :, None]) / extent[:, :, None] - 1


def cut(cubes: Tensor, corner: Tensor, extent: Tensor, width: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, *size): what lies in a box of each cube (N, C, spatial...), interpolated along each axis by itself.

    Args:
        corner, extent: (N, axes).
        width: (N, axes) half of that of the triangular kernel: 1 is linear interpolation, more blurs. Where the view's
            voxels are larger than the cube's, it counts in those.
    """
    for axis, side in enumerate(size):
        step = extent[:, axis, None, None] / side
        at = corner[:, axis, None, None] + step * (torch.arange(side, device=cubes.device)[:, None] + 0.5)
        off = (at - torch.arange(cubes.shape[2], device=cubes.device) - 0.5).abs()
        weight = (1 - off / (width[:, axis, None, None] * step.clamp(min=1))).clamp(min=0)
        rows = cubes.movedim(2, -1)  # after the last axis they are in their order again
        cubes = torch.bmm(rows.flatten(1, -2), (weight / weight.sum(-1, keepdim=True)).mT).view(*rows.shape[:-1], side)
    return cubes


def sampled(maps: Tensor, places: Tensor) -> Tensor:
    """(N, places, C) of (N, C, spatial...) at places (N, places, axes) in -1..1, between voxels linearly."""
    grid = places.flip(-1).view(*places.shape[:2], *[1] * (places.shape[-1] - 1), places.shape[-1])
    return F.grid_sample(maps.float(), grid, padding_mode="border", align_corners=False).flatten(2).mT


def altered(cubes: Tensor, generator: torch.Generator, *, nonlinear: float, noise: float, painting: float) -> Tensor:
    """Cubes (N, C, spatial...) in 0..1 with other intensities, that show the same at the same place.

    Args:
        nonlinear: largest share of a random monotone curve; noise: largest standard deviation of normal noise; of each
            cube uniform from 0 on.
        painting: probability of a box of noise, as in_paint has it.
    """

    def strength(most: float) -> Tensor:
        return most * torch.rand(len(cubes), *[1] * (cubes.ndim - 1), generator=generator, device=cubes.device)

    curved = cubes.lerp(curve(cubes, generator, reverse=0.0), strength(nonlinear))
    white = torch.randn(cubes.shape, generator=generator, device=cubes.device)
    return in_paint(curved.addcmul_(white, strength(noise)).clamp_(0, 1), generator, continuing=painting)
