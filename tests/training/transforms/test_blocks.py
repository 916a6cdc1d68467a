import math

import pytest
import torch

from tests.training.transforms.random_cubes import cubes, seeded
from training.transforms.blocks import block_means, grid_of, mask_of, visible_blocks, voxels_of


@pytest.mark.parametrize(("ratio", "kept"), [(0.6, 13), (0.01, 31), (0.99, 1)])
def test_as_many_blocks_are_masked_in_each_cube(ratio, kept):
    visible = visible_blocks(50, (4, 4, 2), ratio, seeded())
    assert visible.shape == (50, kept)
    masked = mask_of(visible, (4, 4, 2))
    assert masked.shape == (50, 1, 4, 4, 2)
    assert (masked.flatten(1).sum(1) == 32 - kept).all()
    assert len({tuple(row.tolist()) for row in masked.flatten(1)}) > 10, "others in each"


@pytest.mark.parametrize("shape", [(8, 12, 4), (8, 12)])
def test_the_voxels_of_visible_blocks(shape):
    batch = cubes(3, 2, *shape)
    grid = grid_of(batch, 4)
    assert math.prod(grid) * 4 ** len(shape) == math.prod(shape)
    visible = visible_blocks(3, grid, 0.5, seeded())
    masked = torch.nn.functional.interpolate(mask_of(visible, grid), shape)
    found = torch.zeros(3 * math.prod(shape)).index_fill(0, voxels_of(visible, grid, shape), 1.0)
    assert torch.equal(found.view(3, 1, *shape), 1 - masked)


def test_the_mean_of_a_block():
    batch = cubes(2, 1, 8, 8, 4)
    torch.testing.assert_close(block_means(batch, (2, 2, 1))[1, 0, 1, 0, 0], batch[1, 0, 4:, :4].mean())
