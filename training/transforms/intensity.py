"""Non-linear intensity transformation by a monotone Bezier curve (Models and Semantic Genesis)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sg_hub.errors import InvalidInputError
from sg_hub.given import whole

from ._common import check_batch, check_probability, parts

KNOTS = 1024
"""Steps over 0..1 at which a curve is worked out; between them it is a straight line."""
LEVELS = 8192
"""Levels over 0..1 to which an intensity is rounded for the lookup: a quarter of a HU in a window of 2000."""


@torch.no_grad()
def nonlinear(batch: Tensor, generator: torch.Generator, *, reverse: float = 0.5, knots: int = KNOTS) -> Tensor:
    """Map each cube's intensities through a cubic Bezier curve of its own.

    The curve runs from (0, 0) to (1, 1) with two inner control points drawn uniformly from the unit square,
    so both coordinates rise and it is a monotone function. A reversed curve pairs the rising x with the
    falling y: intensity 0 becomes 1 and 1 becomes 0.

    Args:
        batch: (N, C, H, W) or (N, C, X, Y, Z), floating, in 0..1; values just outside count as 0 or 1.
        generator: on the batch's device.
        reverse: probability that a cube's curve is reversed.
        knots: steps at which the curve is worked out; the mapped value is off by no more than the curve's change over
            one step, or over one of `LEVELS`.

    Returns:
        A new tensor of the batch's shape and dtype.

    Raises:
        InvalidInputError: the batch, generator or options cannot be used.

    Source: the paper's published settings; reversed half of the time, by sorting one coordinate only.
    """
    check_batch(batch, generator)
    reverse, steps = check_probability("reverse", reverse), whole(knots) or 0
    if not 2 <= steps <= LEVELS:
        raise InvalidInputError(f"knots is a whole number from 2 to {LEVELS}, got {knots}")
    return map_intensity(batch, generator, reverse, steps)


def map_intensity(batch: Tensor, generator: torch.Generator, reverse: float = 0.5, knots: int = KNOTS) -> Tensor:
    """`nonlinear` on a batch that was checked."""
    n, device = len(batch), batch.device
    control = torch.rand(n, 2, 2, generator=generator, device=device)  # cube, control point, coordinate
    reversed_ = torch.rand(n, 1, generator=generator, device=device) < reverse
    table = curve_table(control, reversed_, knots)
    table = F.interpolate(table[:, None], LEVELS + 1, mode="linear", align_corners=True)[:, 0]
    out = torch.empty_like(batch, memory_format=torch.contiguous_format)
    for part in parts(batch):
        _look_up(batch[part], table[part], out[part])
    return out


def _look_up(cubes: Tensor, table: Tensor, out: Tensor) -> None:
    """The nearest entry of each cube's own table (n, LEVELS + 1)."""
    n, entries = table.shape
    value = torch.clamp(cubes.float().contiguous(), 0, 1)
    index = value.mul_(entries - 1).add_(0.5).to(torch.int32).view(n, -1)
    if n > 1:
        index += (torch.arange(n, dtype=torch.int32, device=table.device) * entries)[:, None]
    if out.dtype == table.dtype:
        torch.index_select(table.reshape(-1), 0, index.view(-1), out=out.view(-1))
    else:
        out.copy_(table.reshape(-1).index_select(0, index.view(-1)).view(out.shape))


def curve_table(control: Tensor, reversed_: Tensor, knots: int) -> Tensor:
    """The curves' values at 0, 1/knots, ..., 1: (n, knots + 1), from inner control points (n, 2, 2)."""
    device = control.device
    # The parameter's grid is finer than the table: where x(t) is flat, y changes fast with x.
    t = torch.linspace(0, 1, 2 * knots + 1, device=device)
    x = _cubic(control[:, :, 0], t.expand(len(control), -1)).cummax(1).values
    wanted = torch.linspace(0, 1, knots + 1, device=device).expand(len(control), -1).contiguous()
    right = torch.searchsorted(x, wanted).clamp_(1, 2 * knots)
    low, high = x.gather(1, right - 1), x.gather(1, right)
    share = ((wanted - low) / (high - low).clamp_min(1e-12)).clamp_(0, 1)
    at = (right - 1 + share) / (2 * knots)
    at = torch.where(reversed_, 1 - at, at)
    return _cubic(control[:, :, 1], at).clamp_(0, 1)


def _cubic(inner: Tensor, t: Tensor) -> Tensor:
    """One coordinate of the Bezier curve 0, inner (n, 2), 1 at the parameters t (n, m)."""
    back = 1 - t
    return 3 * back * t * (back * inner[:, :1] + t * inner[:, 1:]) + t**3
