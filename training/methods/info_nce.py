"""InfoNCE both ways: of two lists of unit vectors, each is to be nearest to its own in the other list.

The matrix of similarities is what costs: it is passed over a few times, and its gradient takes its place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

LEAST_TEMPERATURE = 0.02
"""Sums of exponentials of similarities over it stay within single precision."""


def info_nce(first: Tensor, second: Tensor, temperature: float, left_out: Tensor, equals: Tensor | None) -> Tensor:
    """Mean of the cross-entropies of `first @ second.T / temperature` along both axes; the gradient comes with it.

    Args:
        first, second: (N, dimension) float32 of length one, in the same order.
        temperature: at least `LEAST_TEMPERATURE`.
        left_out: (N, N), symmetric: which pairs do not count; no vector's own.
        equals: (N, N) weights of what is wanted, each row adding up to 1, 0 where left out; absent: its own alone.
    """
    loss: Tensor = _BothWays.apply(first, second, temperature, left_out, equals)
    return loss


class _BothWays(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, first: Tensor, second: Tensor, temperature: float, left_out: Tensor, equals: Tensor | None
    ) -> Tensor:
        similar = (first / temperature) @ second.T
        if equals is not None:  # one sum for both ways
            equals = equals + equals.T
        wanted = 2 * similar.diagonal().sum() if equals is None else (similar * equals).sum()
        likely = similar.masked_fill_(left_out, -torch.inf).exp_()
        rows, columns = likely.sum(1), likely.sum(0)
        gradient = likely.mul_(rows.reciprocal()[:, None] + columns.reciprocal())
        if equals is None:
            gradient.diagonal().sub_(2)
        else:
            gradient -= equals
        ctx.save_for_backward(first, second, gradient)
        ctx.share = 1 / (2 * len(first))
        ctx.temperature = temperature
        return (rows.log().sum() + columns.log().sum() - wanted) * ctx.share

    @staticmethod
    def backward(ctx: Any, loss: Tensor) -> tuple[Tensor | None, ...]:
        first, second, gradient = ctx.saved_tensors
        scale = loss * (ctx.share / ctx.temperature)
        return gradient @ second * scale, gradient.T @ first * scale, None, None, None
