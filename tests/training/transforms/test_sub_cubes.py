import itertools
import math

import pytest
import torch

from tests.training.transforms.random_cubes import seeded
from training.transforms.sub_cubes import distant_orders, joined, scrambled, shape_keeping_turns, solved

CASES = [((5, 2, 16, 16, 8), (6, 6, 4)), ((5, 1, 12, 12, 12), (6, 6, 6)), ((5, 2, 16, 12), (7, 5))]


def numbered(shape):
    """Cubes whose voxels say where they are from."""
    return torch.arange(math.prod(shape), dtype=torch.float64).view(shape)


def draws(n, sides, quarter=True):
    orders, turns = distant_orders(2 ** len(sides), 20), shape_keeping_turns(sides, quarter)
    order = orders[torch.randint(len(orders), (n,), generator=seeded(1))]
    turn = turns[torch.randint(len(turns), order.shape, generator=seeded(2))]
    return order, turn


@pytest.mark.parametrize(("shape", "sides"), CASES)
def test_the_labels_lead_back_to_upright_sub_cubes_in_their_eighths(shape, sides):
    cubes = numbered(shape)
    order, turn = draws(len(cubes), sides)
    parts = scrambled(cubes, sides, order, turn, seeded(3))
    assert parts.shape == (order.shape[1] * len(cubes), shape[1], *sides)
    back = solved(parts, order, turn).unflatten(0, (order.shape[1], -1))
    firsts = set()
    for number, eighth in enumerate(itertools.product((0, 1), repeat=len(sides))):
        for cube, part in zip(cubes, back[number], strict=True):
            first = torch.unravel_index(part[0].flatten()[0].long() % cube[0].numel(), shape[2:])
            crop = (slice(None), *(slice(int(f), int(f) + s) for f, s in zip(first, sides, strict=True)))
            assert torch.equal(part, cube[crop]), "a box of its cube, as it was, in all channels"
            for start, half, side, own in zip(first, eighth, shape[2:], sides, strict=True):
                assert half * side // 2 <= start <= half * side // 2 + side // 2 - own
            firsts.add(tuple(int(f) for f in first))
    if any(side // 2 > own for side, own in zip(shape[2:], sides, strict=True)):
        assert len(firsts) > 2 ** len(sides), "somewhere else in each cube"


@pytest.mark.parametrize("shape", [(3, 2, 8, 8, 4), (3, 1, 8, 6)])
def test_without_gaps_no_voxel_is_lost(shape):
    cubes, sides = numbered(shape), tuple(side // 2 for side in shape[2:])
    order, turn = draws(len(cubes), sides)
    parts = scrambled(cubes, sides, order, turn, seeded())
    assert torch.equal(parts.flatten().sort().values, cubes.flatten())
    assert torch.equal(joined(solved(parts, order, turn), len(cubes)), cubes)
    none = torch.zeros(len(cubes), 2 ** len(sides), dtype=torch.long)
    same = scrambled(cubes, sides, torch.arange(2 ** len(sides)).expand_as(none), draws(1, sides)[1][:1, :1] * 0
                     + torch.arange(math.prod(sides)).expand(*none.shape, -1), seeded())  # fmt: skip
    assert torch.equal(joined(same, len(cubes)), cubes)


def test_a_place_holds_the_sub_cube_of_its_number():
    cube = torch.tensor([[0, 1], [2, 3]], dtype=torch.float64).repeat_interleave(2, 0).repeat_interleave(2, 1)
    order = torch.tensor([[2, 0, 3, 1]])
    parts = scrambled(cube[None, None], (2, 2), order, torch.arange(4).expand(1, 4, 4), seeded())
    assert parts[:, 0, 0, 0].tolist() == [2, 0, 3, 1]
    assert joined(parts, 1)[0, 0, ::2, ::2].tolist() == [[2, 0], [3, 1]]


@pytest.mark.parametrize(
    ("sides", "quarter", "count"),
    [
        ((6, 6, 4), False, 4),  # none, and half a turn about each axis
        ((6, 6, 4), True, 8),
        ((6, 4, 2), True, 4),
        ((4, 4, 4), False, 4),
        ((4, 4, 4), True, 24),
        ((6, 6), False, 2),
        ((6, 6), True, 4),
        ((6, 4), True, 2),
    ],
)
def test_turns_keep_the_shape_and_mirror_nothing(sides, quarter, count):
    turns = shape_keeping_turns(sides, quarter)
    numbers = torch.arange(math.prod(sides))
    assert len(turns) == len({tuple(turn.tolist()) for turn in turns}) == count
    assert torch.equal(turns[0], numbers)
    assert torch.equal(turns.sort(1).values, numbers.expand(count, -1))
    found = {tuple(turn.tolist()) for turn in turns}
    for one, other in itertools.product(turns, turns):
        assert tuple(one[other].tolist()) in found, "one turn after another is a turn"
    if not quarter:
        assert all(torch.equal(turn[turn], numbers) for turn in turns)
    grid = numbers.view(sides)
    generated = {tuple(grid.rot90(k, axes).flatten().tolist()) for axes in itertools.combinations(range(len(sides)), 2)
                 for k in range(4) if k % 2 == 0 or (quarter and sides[axes[0]] == sides[axes[1]])}  # fmt: skip
    assert generated <= found
    mirrored = tuple(grid.flip(0).flatten().tolist())
    assert mirrored not in found


@pytest.mark.parametrize(("parts", "count", "least"), [(8, 8, 8), (8, 24, 7), (8, 100, 6), (4, 4, 4), (4, 12, 3)])
def test_orders_are_far_apart(parts, count, least):
    orders = distant_orders(parts, count)
    assert orders.shape == (count, parts)
    assert torch.equal(orders.sort(1).values, torch.arange(parts).expand(count, -1))
    distance = (orders[:, None] != orders).sum(-1) + parts * torch.eye(count, dtype=torch.long)
    assert distance.min() == least


def test_there_are_24_orders_of_four():
    assert len(distant_orders(4, 100)) == 24
    assert len({tuple(order.tolist()) for order in distant_orders(4, 100)}) == 24
