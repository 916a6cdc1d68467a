import pytest
import torch

from tests.training.transforms.random_cubes import cubes, seeded
from training.transforms.boxes import inside, middle, random_box


@pytest.mark.parametrize("shape", [(3, 1, 12, 10, 6), (3, 2, 12, 10)])
def test_a_box_and_its_border(shape):
    axes = len(shape) - 2
    corner, size = torch.tensor([[2, 3, 1], [0, 0, 0], [9, 5, 4]])[:, :axes], torch.tensor([[4, 2, 3]] * 3)[:, :axes]
    for border in ((0, 0, 0), (1, 2, 0)):
        found = inside(cubes(*shape), corner, size, border)
        assert found.shape == (3, 1, *shape[2:])
        for box, first, sides in zip(found[:, 0], corner.tolist(), size.tolist(), strict=True):
            expected = torch.zeros(shape[2:], dtype=torch.bool)
            ranges = [slice(max(f - b, 0), f + s + b) for f, s, b in zip(first, sides, border, strict=False)]
            expected[tuple(ranges)] = True
            assert torch.equal(box, expected)


def test_boxes_lie_anywhere_with_all_sizes():
    corner, size = random_box(cubes(1, 1, 10, 8, 6).expand(4000, -1, -1, -1, -1), [2, 1, 3], [4, 1, 6], seeded())
    assert [sorted(set(size[:, axis].tolist())) for axis in range(3)] == [[2, 3, 4], [1], [3, 4, 5, 6]]
    assert corner.min() == 0
    assert (corner + size).amax(0).tolist() == [10, 8, 6], "up to the edge, and not over it"
    counts = size[:, 0].bincount()[2:].float() / 4000
    assert (counts - 1 / 3).abs().max() < 0.04


def test_the_middle():
    corner, size = middle(cubes(2, 1, 16, 12, 8))
    assert (corner.tolist(), size.tolist()) == ([[4, 3, 2]] * 2, [[8, 6, 4]] * 2)
