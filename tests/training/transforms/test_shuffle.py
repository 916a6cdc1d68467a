"""The local shuffling against its definition."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training.transforms.random_cubes import seeded
from training import transforms as T
from training.transforms.shuffle import _moves, _sources


@pytest.mark.parametrize("shape", [(40, 30, 20), (60, 80)], ids=str)
def test_one_window_is_permuted_and_nothing_else(shape: tuple[int, ...]) -> None:
    n = 200
    batch = torch.stack([torch.randperm(math.prod(shape), generator=seeded(i)) for i in range(n)])
    batch = (batch / math.prod(shape)).view(n, 1, *shape)
    result = T.local_shuffle(batch, seeded(), windows=1)
    assert torch.equal(result.view(n, -1).sort(1).values, batch.view(n, -1).sort(1).values)
    extents = []
    for old, new in zip(batch[:, 0], result[:, 0], strict=True):
        changed = (old != new).nonzero()
        if len(changed):
            extents.append(changed.max(0).values - changed.min(0).values + 1)
    extent = torch.stack(extents)
    limit = torch.tensor(shape) // 10
    assert (extent <= limit).all()
    assert (extent.max(0).values == limit).all()


def test_windows_of_one_voxel_change_nothing() -> None:
    batch = torch.rand(2, 1, 19, 19, 19, generator=seeded())
    assert torch.equal(T.local_shuffle(batch, seeded(), windows=100), batch)


def test_shuffling_is_a_uniform_permutation() -> None:
    """A side of 20 to 29 gives windows of 1 or 2 voxels: a window of 2 x 2 moves each voxel equally often."""
    pixels = torch.arange(400).view(1, 1, 20, 20) / 400
    result = T.local_shuffle(pixels.expand(60000, -1, -1, -1), seeded(), windows=1)
    changed = (result != pixels).view(60000, -1)
    count = changed.sum(1)
    # Windows of 1, 2, 2 and 4 voxels, equally likely. Derangements: of two 1/2; of four 9/24.
    share = [(count == k).float().mean().item() for k in range(5)]
    expected = [1 / 4 + 2 / 4 / 2 + 1 / 4 / 24, 0, 2 / 4 / 2 + 6 / 24 / 4, 8 / 24 / 4, 9 / 24 / 4]
    assert share == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("shape", [(32, 32, 16), (48, 48)], ids=str)
def test_many_windows(shape: tuple[int, ...]) -> None:
    batch = torch.arange(math.prod(shape)).view(1, 1, *shape) / math.prod(shape)
    batch = torch.cat([batch, batch, 1 - batch]).repeat(1, 2, *[1] * len(shape))
    result = T.local_shuffle(batch, seeded(), windows=8000)
    assert torch.equal(result[:, 0], result[:, 1])  # the channels move together
    source = (result[0, 0] * math.prod(shape)).round().long()  # read from the original, a window away at most
    was = torch.stack(torch.unravel_index(source.view(-1), shape))
    now = torch.stack(torch.unravel_index(torch.arange(math.prod(shape)), shape))
    away = (was - now).abs().amax(1)
    assert (away <= torch.tensor([s // 10 - 1 for s in shape])).all()
    assert (source.view(-1) != torch.arange(math.prod(shape))).float().mean() > 0.4
    assert torch.equal(T.local_shuffle(batch, seeded(), windows=0), batch)


# Of the last shape, number of the window and voxel do not fit 31 bits.
@pytest.mark.parametrize(("shape", "windows"), [((30, 20, 20), 300), ((40, 50), 300), ((160, 120, 110), 1100)], ids=str)
@pytest.mark.parametrize("way", ["all windows at once", "by size"])
def test_each_voxel_gets_its_value_from_the_last_window_that_covers_it(
    way: str, shape: tuple[int, ...], windows: int
) -> None:
    n, voxels = 2, math.prod(shape)
    largest = [side // 10 for side in shape]
    draw = seeded(2)
    size = torch.stack([torch.randint(1, most + 1, (n, windows), generator=draw) for most in largest], -1)
    corner = (torch.rand(size.shape, generator=draw) * (torch.tensor(shape) - size + 1)).long()
    if way == "by size":
        source = _sources(shape, size, corner, largest, draw)
    else:
        destination, given = _moves(torch.empty(n, 1, *shape), size, corner, int(size.prod(-1).sum()), draw)
        source = torch.arange(n * voxels).index_copy(0, destination, given)
    source = source.view(n, *shape)
    numbers = torch.arange(n * voxels).view(n, *shape)
    last = torch.full((n, *shape), -1)
    boxes = {}
    for cube in range(n):
        for window in range(windows):
            box = tuple(
                slice(c, c + s) for c, s in zip(corner[cube, window].tolist(), size[cube, window].tolist(), strict=True)
            )
            last[cube][box] = window
            boxes[cube, window] = box
    assert torch.equal(source[last < 0], numbers[last < 0])
    for (cube, window), box in boxes.items():
        found = source[cube][box][last[cube][box] == window].tolist()
        assert len(set(found)) == len(found)
        assert set(found) <= set(numbers[cube][box].flatten().tolist())
    assert (source != numbers)[last >= 0].float().mean() > 0.4
