"""How far apart the surfaces of two masks are."""

import numpy as np

from training.trials.task.surface import surface_distances


def box(low, high, shape=(12, 10, 8)):
    mask = np.zeros(shape, bool)
    mask[low:high, 2:8, 2:6] = True
    return mask


def test_surfaces_that_lie_two_voxels_apart():
    found = surface_distances(box(2, 8), box(4, 10), (3.0, 1.0, 1.0))
    assert 0 < found.mean() < found.max() == 6.0, "the two ends are two voxels of 3 mm apart"
    assert not surface_distances(box(2, 8), box(2, 8), (1, 1, 1)).any()


def test_a_plane_moved_along_an_axis_is_that_far_away_everywhere():
    one, other = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    one[2], other[5] = True, True
    for pair in ((one, other), (other, one)):
        assert surface_distances(*pair, (2.0, 5.0, 5.0)).tolist() == [6.0] * 162


def test_there_is_no_distance_to_nothing():
    assert len(surface_distances(box(2, 8), box(0, 0), (1, 1, 1))) == 0


def test_what_lies_around_the_masks_changes_nothing():
    one, other = box(2, 8), box(4, 10)
    wide = [np.pad(mask, 7) for mask in (one, other)]
    near, far = (np.sort(surface_distances(*pair, (3.0, 1.0, 2.0))) for pair in ((one, other), wide))
    np.testing.assert_array_equal(near, far)
