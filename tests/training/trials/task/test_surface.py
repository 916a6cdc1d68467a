"""How far apart the surfaces and the centres of two masks are."""

import numpy as np
import pytest

from training.trials.task.surface import centre_error, surface_dice, surface_distances


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


def cuboid(low, high, shape=(30, 30, 20)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def test_a_mask_agrees_with_itself_and_with_what_is_within_the_tolerance():
    truth = cuboid((5, 5, 5), (15, 15, 12))
    assert surface_dice(truth, truth, (1, 1, 1)) == 1
    assert surface_dice(np.roll(truth, 3, 0), truth, (1, 1, 1)) == 1
    assert surface_dice(np.roll(truth, 2, 0), truth, (2, 1, 1)) < 1  # 4 mm
    assert surface_dice(truth, np.roll(truth, 2, 0), (2, 1, 1)) < 1


def test_a_shift_beyond_the_tolerance_loses_the_faces_that_moved():
    truth, found = cuboid((5, 5, 5), (15, 15, 15)), cuboid((9, 5, 5), (19, 15, 15))
    assert surface_dice(found, truth, (1, 1, 1)) == pytest.approx(surface_dice(truth, found, (1, 1, 1)))
    assert 0.5 < surface_dice(found, truth, (1, 1, 1)) < 0.9


def test_masks_that_are_empty():
    some, none = cuboid((5, 5, 5), (8, 8, 8)), cuboid((0, 0, 0), (0, 0, 0))
    assert np.isnan(surface_dice(none, none, (1, 1, 1)))
    assert surface_dice(some, none, (1, 1, 1)) == surface_dice(none, some, (1, 1, 1)) == 0
    assert np.isnan(centre_error(some, none, (1, 1, 1)))


def test_centres_are_apart_in_mm():
    one, other = cuboid((5, 5, 5), (15, 15, 12)), cuboid((7, 5, 8), (17, 15, 15))
    assert centre_error(one, other, (4.0, 4.0, 3.0)) == pytest.approx((8**2 + 9**2) ** 0.5)
