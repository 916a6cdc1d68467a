import numpy as np
import pytest

from training.worth.surface import centre_error, surface_dice


def box(low, high, shape=(30, 30, 20)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def test_a_mask_agrees_with_itself_and_with_what_is_within_the_tolerance():
    truth = box((5, 5, 5), (15, 15, 12))
    assert surface_dice(truth, truth, (1, 1, 1)) == 1
    assert surface_dice(np.roll(truth, 3, 0), truth, (1, 1, 1)) == 1
    assert surface_dice(np.roll(truth, 2, 0), truth, (2, 1, 1)) < 1  # 4 mm
    assert surface_dice(truth, np.roll(truth, 2, 0), (2, 1, 1)) < 1


def test_a_shift_beyond_the_tolerance_loses_the_faces_that_moved():
    truth, found = box((5, 5, 5), (15, 15, 15)), box((9, 5, 5), (19, 15, 15))
    assert surface_dice(found, truth, (1, 1, 1)) == pytest.approx(surface_dice(truth, found, (1, 1, 1)))
    assert 0.5 < surface_dice(found, truth, (1, 1, 1)) < 0.9


def test_masks_that_are_empty():
    some, none = box((5, 5, 5), (8, 8, 8)), box((0, 0, 0), (0, 0, 0))
    assert np.isnan(surface_dice(none, none, (1, 1, 1)))
    assert surface_dice(some, none, (1, 1, 1)) == surface_dice(none, some, (1, 1, 1)) == 0
    assert np.isnan(centre_error(some, none, (1, 1, 1)))


def test_centres_are_apart_in_mm():
    one, other = box((5, 5, 5), (15, 15, 12)), box((7, 5, 8), (17, 15, 15))
    assert centre_error(one, other, (4.0, 4.0, 3.0)) == pytest.approx((8**2 + 9**2) ** 0.5)
