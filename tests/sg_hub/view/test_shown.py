"""What a browser gets to draw is the scan: its values, where they lie, and of large ones every so-manieth voxel."""

import nibabel
import numpy as np
import pytest

from sg_hub import Scan
from sg_hub.view.shown import LONGEST_SIDE, nifti_bytes, steps_of

TURNED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def scan(size=(7, 6, 5), **changes):
    values = np.arange(np.prod(size), dtype=np.float32).reshape(1, *size) - 100
    return Scan(values, **{"spacing": (2.0, 1.0, 3.0), "origin": (10.0, -20.0, 5.0), "direction": TURNED} | changes)


def in_ras(points):
    return np.asarray(points) * [-1, -1, 1]


@pytest.mark.parametrize(("most", "step"), [(1000, (1, 1, 1)), (120, (1, 2, 1)), (20, (3, 4, 2))])
def test_values_and_places_are_those_of_the_scan(most, step):
    given = scan()
    assert steps_of(given, most) == step
    image = nibabel.Nifti1Image.from_bytes(nifti_bytes(given, given.array[0], most))
    shown = given.array[0][:: step[0], :: step[1], :: step[2]]
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(np.asarray(image.dataobj), shown)
    last = np.array(shown.shape) - 1
    for voxel in ([0, 0, 0], last):
        place = given.to_mm(np.array([voxel]) * step)[0]
        assert np.allclose(nibabel.affines.apply_affine(image.affine, voxel), in_ras(place), atol=1e-4)


def test_types_change_no_value():
    given = scan()
    for array, kind in (
        (given.array[0] + 0.5, np.float32),
        (given.array[0] * 1000, np.float32),
        (np.arange(210).reshape(7, 6, 5).astype(np.uint8), np.uint8),
    ):
        image = nibabel.Nifti1Image.from_bytes(nifti_bytes(given, array))
        assert image.get_data_dtype() == kind
        assert np.array_equal(np.asarray(image.dataobj), array)


def test_no_side_is_longer_than_a_browser_takes():
    assert steps_of(scan((2 * LONGEST_SIDE + 1, 2, 2))) == (3, 1, 1)
