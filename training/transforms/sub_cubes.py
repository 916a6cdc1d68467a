"""Cubes cut into 2 x 2 x 2 sub-cubes (2 x 2 tiles), which change places and are turned.

Sub-cubes are numbered with the last axis first: in 2D top left, top right, bottom left, bottom right. Those of many
cubes are stacked along N, of all cubes the one at the first place, then the one at the second.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor


def scrambled(cubes: Tensor, sides: Sequence[int], order: Tensor, turn: Tensor, generator: torch.Generator) -> Tensor:
    """(places * N, C, sides...): at each place of each cube (N, C, spatial...) the sub-cube of that number, turned.

    Each lies anywhere in its eighth of the cube, so that up to twice the room there is between two neighbours.

    Args:
        order: (N, places) numbers of sub-cubes.
        turn: (N, places, voxels of a sub-cube): rows of `shape_keeping_turns`.
    """
    (channels, *shape), device = cubes.shape[1:], cubes.device
    numbers = torch.arange(math.prod(shape), device=device).view(shape)
    first = torch.zeros_like(order)  # voxel of each sub-cube in the flat cube
    for axis, (side, own) in enumerate(zip(shape, sides, strict=True)):
        half = torch.arange(order.shape[1], device=device) >> (len(shape) - 1 - axis) & 1
        shift = torch.randint(side // 2 - own + 1, order.shape, generator=generator, device=device)
        first += (half * (side // 2) + shift) * numbers.stride(axis)
    within = numbers[tuple(slice(own) for own in sides)].flatten()[turn]
    source = first.gather(1, order)[:, :, None] + within
    found = cubes.flatten(2).gather(2, source.flatten(1)[:, None].expand(-1, channels, -1))
    return found.view(len(cubes), channels, -1, *sides).movedim(2, 0).flatten(0, 1)


def solved(parts: Tensor, order: Tensor, turn: Tensor) -> Tensor:
    """The sub-cubes of `scrambled` at their own places and upright, in the same form; arguments as there."""
    count = order.shape[1]
    shown = parts.flatten(2).unflatten(0, (count, -1)).transpose(0, 1)  # (N, places, C, voxels)
    upright = shown.gather(3, turn.argsort(2)[:, :, None].expand_as(shown))
    back = order.argsort(1)[:, :, None, None].expand_as(upright)
    return upright.gather(1, back).transpose(0, 1).reshape(parts.shape)


def joined(parts: Tensor, count: int) -> Tensor:
    """(count, C, spatial...): the sub-cubes of so many cubes, stacked as in `scrambled`, beside each other."""
    axes = parts.ndim - 2
    grid = parts.unflatten(0, (*[2] * axes, count))
    beside = [axis for pair in zip(range(axes), range(axes + 2, 2 * axes + 2), strict=True) for axis in pair]
    return grid.permute(axes, axes + 1, *beside).reshape(count, parts.shape[1], *(2 * side for side in parts.shape[2:]))


@lru_cache
def distant_orders(parts: int, count: int) -> Tensor:
    """(K, parts): orders of so many parts, each as far as possible from those before it (Hamming distance)."""
    every = torch.tensor(list(itertools.permutations(range(parts))))
    nearest, total, chosen = torch.full((len(every),), parts), torch.zeros(len(every)), [0]
    while len(chosen) < min(count, len(every)):
        distance = (every != every[chosen[-1]]).sum(1)
        nearest, total = torch.minimum(nearest, distance), total + distance
        chosen.append(int((nearest + total / (parts * count + 1)).argmax()))  # of the farthest, the one far from all
    return every[chosen]


@lru_cache
def shape_keeping_turns(sides: tuple[int, ...], quarter: bool) -> Tensor:
    """(turns, voxels): of each turned sub-cube's voxels, which of the upright one they are; the first is no turn."""
    axes, turned = range(len(sides)), []
    numbers = torch.arange(math.prod(sides)).view(sides)
    for order in itertools.permutations(axes) if quarter else [tuple(axes)]:
        odd = sum(a > b for a, b in itertools.combinations(order, 2))
        for flipped in itertools.product((0, 1), repeat=len(sides)):
            if (odd + sum(flipped)) % 2 == 0 and all(sides[a] == sides[b] for a, b in zip(axes, order, strict=True)):
                turned.append(numbers.permute(order).flip([axis for axis in axes if flipped[axis]]).flatten())
    return torch.stack(turned)
