"""Cubes (or patches) of a scan (or image), and boxes of noise in them: what `sg-hub restore` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def hide_boxes(cubes: Tensor, seed: int) -> Tensor:
    """Copies of (N, C, spatial...) with uniform noise in a box of a third of each side, in the middle."""
    hidden = cubes.clone()
    box: Any = (..., *(slice(side // 3, side - side // 3) for side in cubes.shape[2:]))
    noise = torch.rand(cubes.shape, generator=torch.Generator().manual_seed(seed))
    hidden[box] = noise[box]
    return hidden


def draw_cubes(x: Tensor, size: Sequence[int], count: int, seed: int) -> Tensor:
    """Cubes (count, C, *size) of (1, C, spatial...): those with the most structure of many random places."""
    short = [max(0, want - have) for want, have in zip(size, x.shape[2:], strict=True)]
    x = F.pad(x, [value for amount in reversed(short) for value in (0, amount)])
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(8 * count):
        corner = [
            int(torch.randint(have - want + 1, (), generator=generator))
            for want, have in zip(size, x.shape[2:], strict=True)
        ]
        place: Any = (0, slice(None), *(slice(c, c + side) for c, side in zip(corner, size, strict=True)))
        found.append(x[place])
    found.sort(key=lambda cube: -float(cube.std()))
    return torch.stack(found[:count])
