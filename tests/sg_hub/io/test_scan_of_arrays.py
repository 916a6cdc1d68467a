"""Scans that are made of arrays: what is taken, and what is refused."""

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError
from sg_hub.io.formats.orientation import IDENTITY
from sg_hub.io.scan import Scan


def test_a_scan_of_an_array():
    scan = Scan(np.zeros((1, 4, 5, 6), dtype=np.float32), spacing=(1.0, 2.0, 3.0))
    assert scan.extent == (4, 10, 18)
    assert scan.to_image(np.zeros((4, 5, 6))).GetSpacing() == (1.0, 2.0, 3.0)
    with pytest.raises(InvalidInputError, match=r"\(C, X, Y, Z\) float32"):
        Scan(np.zeros((4, 5, 6), dtype=np.float32))
    for wrong in (0.0, 3e38, 1e-38):
        with pytest.raises(InvalidInputError, match=r"expected positive numbers in mm, 1e-09 to 1e\+06"):
            Scan(np.zeros((1, 4, 5, 6), dtype=np.float32), spacing=(1.0, wrong, 3.0))


@pytest.mark.parametrize("array", [[[[[1.0, 2.0]]]], torch.zeros(1, 4, 5, 6), np.zeros((1, 0, 5, 6), np.float32)])
def test_arrays_that_are_no_scan(array):
    with pytest.raises(InvalidInputError, match=r"\(C, X, Y, Z\) float32"):
        Scan(array)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"spacing": (1.0, 2.0)}, "spacing=.*; expected 3 numbers"),
        ({"spacing": 1.0}, "spacing=1.0; expected 3 numbers"),
        ({"spacing": ("a", "b", "c")}, "spacing=.*; expected 3 numbers"),
        ({"origin": (0.0, 0.0)}, "origin=.*; expected 3 numbers"),
        ({"origin": (0.0, 0.0, float("nan"))}, "origin=.*; expected 3 numbers"),
        ({"direction": (1.0, 0.0, 0.0)}, "direction=.*; expected 9 numbers"),
        ({"direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.5, 1.0)}, "singular or sheared"),
        ({"direction": (2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0)}, "singular or sheared"),
    ],
)
def test_grids_that_cannot_be(grid, message):
    with pytest.raises(InvalidInputError, match=message):
        Scan(np.zeros((1, 4, 5, 6), dtype=np.float32), **grid)


def test_a_grid_in_arrays_is_that_of_numbers():
    array = np.random.default_rng(0).random((1, 4, 5, 6), dtype=np.float32)
    scan = Scan(array, spacing=np.array([1, 2, 3]), origin=[1, 2, 3], direction=np.eye(3))
    assert (scan.spacing, scan.origin, scan.direction) == ((1.0, 2.0, 3.0), (1.0, 2.0, 3.0), IDENTITY)


def test_arrays_with_an_affine_are_real_numbers_of_any_kind():
    array = np.random.default_rng(0).random((1, 4, 5, 6), dtype=np.float32)
    turned = Scan.from_affine(array, np.diag([1.0, 1.0, 2.0, 1.0]))
    for given in (torch.from_numpy(array), array.tolist()):
        assert np.array_equal(Scan.from_affine(given, np.diag([1.0, 1.0, 2.0, 1.0])).array, turned.array)
    with pytest.raises(InvalidInputError, match="complex64: expected real numbers"):
        Scan.from_affine(array * np.complex64(1j), np.eye(4))
    with pytest.raises(InvalidInputError, match=r"\(4, 4\) finite numbers"):
        Scan.from_affine(array, "RAS")
    moved = np.eye(4)
    moved[:3, 3] = 5
    with pytest.raises(InvalidInputError, match="transposed"):
        Scan.from_affine(array, moved.T)
