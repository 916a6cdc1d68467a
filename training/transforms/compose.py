"""How the transformations are combined: Semantic Genesis (one of four after elastic) and Models Genesis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError

from ._common import check_batch, check_count, happens, host, moved
from .elastic import deform
from .intensity import map_intensity
from .painting import check_sides, paint_inside, paint_outside
from .shuffle import shuffle_windows

CHOICES = ("local_shuffle", "nonlinear", "in_paint", "out_paint")
"""The four of which Semantic Genesis applies exactly one to each cube."""

AT_ONCE = 1 << 19
"""Voxels that a CPU transforms together."""


@torch.no_grad()
def semantic_genesis(
    batch: Tensor,
    generator: torch.Generator,
    *,
    alpha: float = 991.0,
    sigma: float = 8.0,
    windows: int = 5,
    choices: tuple[str, ...] = CHOICES,
) -> tuple[Tensor, Tensor]:
    """Corrupt each cube as Semantic Genesis does: elastic deformation, then exactly one of four others.

    Which of the four is drawn for each cube by itself, uniformly.

    Args:
        batch: (N, C, H, W) or (N, C, X, Y, Z), floating, in 0..1; sides of 7 voxels or more.
        generator: on the batch's device.
        alpha, sigma: of `elastic`; sigma in voxels.
        windows: of `local_shuffle`.
        choices: the transformations to choose from, names out of `CHOICES`.

    Returns:
        (corrupted, target): new tensors of the batch's shape and dtype; the target is the undeformed cube.

    Raises:
        InvalidInputError: the batch, generator or options cannot be used.

    Source: the paper, Sec. 2 (self-restoration), and its published settings.
    """
    check_batch(batch, generator)
    check_sides(batch, 7)
    windows = check_count("windows", windows)
    if not choices or not set(choices) <= set(CHOICES):
        raise InvalidInputError(f"choices are one or more of {', '.join(CHOICES)}; got {choices!r}")
    if not (math.isfinite(alpha) and alpha >= 0 and math.isfinite(sigma) and sigma > 0):
        raise InvalidInputError(f"alpha is at least 0 and sigma more than 0 voxels, got {alpha} and {sigma}")
    others: dict[str, Callable[[Tensor], Tensor]] = {
        "local_shuffle": lambda cubes: shuffle_windows(cubes, generator, windows),
        "nonlinear": lambda cubes: map_intensity(cubes, generator),
        "in_paint": lambda cubes: paint_inside(cubes, generator),
        "out_paint": lambda cubes: paint_outside(cubes, generator),
    }
    corrupted = deform(batch, generator, float(alpha), float(sigma))
    drawn = torch.randint(len(choices), (len(batch),), generator=host(generator)).tolist()
    for number, name in enumerate(choices):
        _apply(corrupted, [d == number for d in drawn], others[name])
    return corrupted, batch.clone()


@torch.no_grad()
def models_genesis(batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Corrupt each cube as Models Genesis does: any combination of its transformations.

    In this order: flips along a random axis with probability 0.4 (and another with 0.4 after each, up to as
    many as axes; the target is flipped too), local shuffling 0.5 with 10000 windows, non-linear 0.9, painting
    0.9: outer 0.8 or inner 0.2, up to five boxes that each continue with probability 0.95.

    Args:
        batch: (N, C, H, W) or (N, C, X, Y, Z), floating, in 0..1; sides of 7 voxels or more.
        generator: on the batch's device.

    Returns:
        (corrupted, target): new tensors of the batch's shape and dtype, halves of one piece of memory.

    Raises:
        InvalidInputError: the batch or generator cannot be used.

    Source: Models Genesis (Zhou et al. 2019), its published settings.
    """
    check_batch(batch, generator)
    check_sides(batch, 7)
    n, draws = len(batch), host(generator)
    # One piece of memory, which the next call gets again: the system takes two of this size back and clears them anew.
    both = torch.empty(2, *batch.shape, dtype=batch.dtype, device=batch.device)
    target, corrupted = both[0].detach(), both[1].detach()  # as no views: they may be changed in place
    _flip(target.copy_(batch), draws, 0.4)
    corrupted.copy_(target)
    _apply(corrupted, happens(n, 0.5, draws), lambda cubes: shuffle_windows(cubes, generator, 10_000))
    _apply(corrupted, happens(n, 0.9, draws), lambda cubes: map_intensity(cubes, generator))
    painted, outer = happens(n, 0.9, draws), happens(n, 0.8, draws)
    _apply(
        corrupted,
        [p and o for p, o in zip(painted, outer, strict=True)],
        lambda cubes: paint_outside(cubes, generator, 5, 0.95),
    )
    _apply(
        corrupted,
        [p and not o for p, o in zip(painted, outer, strict=True)],
        lambda cubes: paint_inside(cubes, generator, 5, 0.95),
    )
    return corrupted, target


def _apply(batch: Tensor, chosen: list[bool], transform: Callable[[Tensor], Tensor]) -> None:
    """Transform the chosen cubes in place: together, on a CPU a few at a time, so that what is made on the way is small
    enough to be reused memory."""
    index = moved(torch.tensor([i for i, c in enumerate(chosen) if c], dtype=torch.int64), batch.device)
    # Of one size on any number of threads: what is drawn follows it.
    size = max(1, AT_ONCE // batch[0].numel()) if batch.device.type == "cpu" else len(batch)
    for some in index.split(size) if len(index) else ():
        batch.index_copy_(0, some, transform(batch.index_select(0, some)))


def _flip(batch: Tensor, draws: torch.Generator, probability: float) -> None:
    """Flip each cube along axes that are drawn, in place."""
    axes = batch.ndim - 2
    # What a cube's flips come to: an axis that is drawn twice is as it was.
    flipped: list[set[int]] = [set() for _ in range(len(batch))]
    going = [True] * len(batch)
    for _ in range(axes):
        again = happens(len(batch), probability, draws)
        going = [g and a for g, a in zip(going, again, strict=True)]
        axis = torch.randint(axes, (len(batch),), generator=draws).tolist()
        for cube in itertools.compress(range(len(batch)), going):
            flipped[cube] ^= {axis[cube] + 2}
    for dims in {frozenset(each) for each in flipped} - {frozenset()}:
        _apply(batch, [each == dims for each in flipped], lambda cubes, dims=dims: cubes.flip(sorted(dims)))  # type: ignore[misc]
