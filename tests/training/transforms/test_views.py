"""Two views of a cube. That they show the same tissue is tested with what uses them, dense contrast."""

import pytest
import torch

from tests.training.transforms.random_cubes import cubes, seeded
from training.transforms.views import altered, cut, overlapping, sampled, shared_places


@pytest.mark.parametrize("shape", [(48, 40, 20), (60, 50)])
@pytest.mark.parametrize("overlap", [0.3, 0.9])
def test_boxes_lie_in_the_cube_and_overlap(shape, overlap):
    size = tuple(side // 2 for side in shape)
    corner, extent = overlapping(cubes(200, 1, *shape), size, seeded(), scale=(0.5, 1.5), overlap=overlap)
    end = corner + extent
    assert corner.min() >= -1e-4
    assert (end <= torch.tensor(shape) + 1e-4).all()
    shared = (end.amin(0) - corner.amax(0)) / extent.amin(0)
    assert shared.min() >= overlap - 1e-4
    assert shared.min() < overlap + 0.1, "and no more than they must"
    scale = extent / torch.tensor(size)
    torch.testing.assert_close(scale[..., 0], scale[..., 1])
    assert 0.5 <= scale[..., 0].min() < 0.55 < 1.4 < scale[..., 0].max() <= 1.5
    assert (scale[..., 2:] == 1).all(), "in plane alone"


@pytest.mark.parametrize("shape", [(12, 10, 8), (12, 10)])
def test_a_box_on_whole_voxels_is_cropped(shape):
    batch, axes = cubes(2, 3, *shape), len(shape)
    corner = torch.tensor([[2.0, 1, 3][:axes], [0, 4, 0][:axes]])
    size = (5, 6, 4)[:axes]
    extent, linear = torch.tensor([size, size]).float(), torch.ones(2, axes)
    found = cut(batch, corner, extent, linear, size)
    for cube, view, start in zip(batch, found, corner.int().tolist(), strict=True):
        place = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
        torch.testing.assert_close(view, cube[:, *place])
    halves = cut(batch, torch.zeros(2, axes), torch.tensor([shape, shape]).float(), linear, [s // 2 for s in shape])
    torch.testing.assert_close(halves.mean(), batch.mean(), atol=0.02, rtol=0)
    blurred = cut(batch, corner, extent, 3 * linear, size)
    assert blurred.std() < 0.7 * found.std()


@pytest.mark.parametrize("shape", [(8, 6, 4), (8, 6)])
def test_a_map_is_sampled_at_the_middle_of_its_voxels(shape):
    maps = cubes(2, 3, *shape)
    places = torch.cartesian_prod(*[(torch.arange(side) + 0.5) * 2 / side - 1 for side in shape])
    found = sampled(maps, places.expand(2, -1, -1))
    torch.testing.assert_close(found.mT, maps.flatten(2))


def test_places_are_seen_by_both_and_lie_in_tissue():
    cube = torch.zeros(6, 1, 48, 48, 24)
    cube[:, :, 16:32] = 0.5
    size = (32, 32, 16)
    corner, extent = overlapping(cube, size, seeded(1), scale=(0.7, 1.4), overlap=0.5)
    place, within = shared_places(cube, corner, extent, size, 20, seeded(2), tissue=0.03)
    assert place.shape == (6, 20, 3)
    assert within.shape == (2, 6, 20, 3)
    assert (within.abs() <= 1 - 1 / torch.tensor(size) + 1e-6).all()
    torch.testing.assert_close(corner[1][:, None] + (within[1] + 1) / 2 * extent[1][:, None], place)
    inside = (place[..., 0] > 13) & (place[..., 0] < 35)
    assert inside.all()
    nothing, _ = shared_places(0 * cube, corner, extent, size, 20, seeded(2), tissue=0.03)
    assert nothing.shape == place.shape, "where there is none, elsewhere"


def test_intensities_change_and_places_do_not():
    batch = cubes(8, 1, 16, 16, 8)
    nothing = {"nonlinear": 0.0, "noise": 0.0, "painting": 0.0}
    assert torch.equal(altered(batch, seeded(), **nothing), batch)
    curved = altered(batch, seeded(), **nothing | {"nonlinear": 1.0})
    order = batch.flatten(1).argsort(1)
    assert (curved.flatten(1).gather(1, order).diff(dim=1) >= -1e-6).all(), "the curves are monotone"
    assert (curved - batch).abs().flatten(1).mean(1).max() > 0.05
    noisy = altered(batch, seeded(), **nothing | {"noise": 0.1})
    assert 0 < (noisy - batch).std() < 0.1
    assert 0 <= noisy.min() <= noisy.max() <= 1
    painted = altered(batch, seeded(), **nothing | {"painting": 1.0}) != batch
    assert 0 < painted.float().mean() < 0.1
