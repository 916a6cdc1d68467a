"""The boxes of noise against their definition."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training.transforms.random_cubes import seeded
from training import transforms as T


def changed_box(old: torch.Tensor, new: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Corner and size of what differs, and the share of its bounding box that does."""
    changed = (old != new).nonzero()
    corner = changed.min(0).values
    size = changed.max(0).values - corner + 1
    return corner, size, len(changed) / int(size.prod())


@pytest.mark.parametrize("shape", [(64, 64, 32), (32, 32, 16), (16, 16, 8), (224, 224)], ids=str)
def test_in_paint_fills_one_box(shape: tuple[int, ...]) -> None:
    n = 100 if len(shape) == 3 else 30
    batch = torch.full((n, 1, *shape), 0.5)
    result = T.in_paint(batch, seeded())
    sides = torch.tensor(shape)
    sizes = []
    for old, new in zip(batch[:, 0], result[:, 0], strict=True):
        corner, size, filled = changed_box(old, new)
        assert filled > 0.99
        assert (corner >= 3).all()
        assert (corner + size <= sides - 3).all()
        sizes.append(size)
    sizes = torch.stack(sizes)
    assert (sizes >= sides // 6).all()
    assert (sizes <= sides // 3).all()
    if n == 100 and shape[0] <= 32:
        assert (sizes.min(0).values == sides // 6).all()
        assert (sizes.max(0).values == sides // 3).all()
    noise = result[result != 0.5]
    assert noise.mean() == pytest.approx(0.5, abs=0.02)
    assert noise.std() == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    assert noise.min() < 0.01
    assert noise.max() > 0.99


@pytest.mark.parametrize("shape", [(64, 64, 32), (32, 32, 16), (16, 16, 8), (224, 224)], ids=str)
def test_out_paint_keeps_one_box(shape: tuple[int, ...]) -> None:
    n = 60 if len(shape) == 3 else 20
    batch = torch.full((n, 1, *shape), 0.5)
    result = T.out_paint(batch, seeded())
    sides = torch.tensor(shape)
    for new in result[:, 0]:
        corner, size, filled = changed_box(new, torch.where(new == 0.5, 2.0, new))
        assert filled == pytest.approx(1, abs=0.001) or filled > 0.99
        assert (size >= sides - 4 * sides // 7).all()
        assert (size <= sides - 3 * sides // 7).all()
        margin = torch.minimum((sides - size) // 2, torch.tensor(3))
        assert (corner >= margin).all()
        assert (corner + size <= sides - margin).all()
    noise = result[result != 0.5]
    assert noise.mean() == pytest.approx(0.5, abs=0.01)
    assert noise.std() == pytest.approx(math.sqrt(1 / 12), abs=0.01)


def test_boxes_continue_with_their_probability() -> None:
    batch = torch.full((400, 1, 32, 32, 16), 0.5)
    none = (T.in_paint(batch, seeded(), boxes=5, continuing=0.6) == 0.5).flatten(1).all(1)
    assert float(none.float().mean()) == pytest.approx(0.4, abs=0.1)
    kept = (T.out_paint(batch, seeded(), boxes=5, continuing=0.0) == 0.5).flatten(1).float().mean(1)
    assert (kept > 0.05).all()  # the first box is always there
    one, five = (T.out_paint(batch, seeded(), boxes=b, continuing=1.0) == 0.5 for b in (1, 5))
    assert five.float().mean() > 1.8 * one.float().mean()
