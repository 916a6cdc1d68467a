"""How alike the cubes of a pattern are, on scans in which it is known."""

import numpy as np
import pytest

from training.discovery.consistency import SHIFT, consistency
from training.discovery.patterns import PatternTable

SIZE = (8, 8, 4)


class Scans:
    """Two structures, each at a place of its own in every patient, in noise."""

    def __init__(self, noise: float, moved: int = 0) -> None:
        draw = np.random.default_rng(0)
        structures = draw.normal(size=(2, *SIZE))
        self.corners = draw.integers(6, 12, (4, 2, 3))
        self.scans = noise * draw.normal(size=(4, 1, 48, 24, 20))
        for patient, pair in enumerate(self.corners):
            for number, corner in enumerate(pair):
                corner[0] += 24 * number
                x, y, z = corner + (moved if patient else 0)
                self.scans[patient, 0, x : x + 8, y : y + 8, z : z + 4] = structures[number]

    def shape(self, name):
        return self.scans[int(name)].shape[1:]

    def crop(self, name, corner, size):
        assert all(c >= 0 and c + s <= n for c, s, n in zip(corner, size, self.shape(name), strict=True))
        return self.scans[int(name)][(slice(None), *(slice(c, c + s) for c, s in zip(corner, size, strict=True)))]

    def table(self):
        rows = [
            (pattern, patient, 0, *self.corners[patient, pattern], *SIZE, resolution, 0)
            for pattern in range(2)
            for patient in range(4)
            for resolution in range(2)
        ]
        return PatternTable.from_rows([str(i) for i in range(4)], rows)


def test_the_same_structure_is_alike_and_another_is_not():
    scans = Scans(noise=0.1)
    found = consistency(scans, scans.table())
    assert found.of_patterns == pytest.approx([1, 1], abs=1e-5)
    assert found.by_chance < 0.5
    assert found.record() == {"of_patterns": [1.0, 1.0], "mean": 1.0, "by_chance": round(found.by_chance, 4)}


def test_a_small_shift_is_none_and_a_larger_one_is():
    """The reference's structure is moved back by the shifts that are tried; the margin of a cube is noise then."""
    near, far = (Scans(noise=0.0, moved=-by) for by in (SHIFT, 3 * SHIFT))
    assert consistency(near, near.table()).mean > 0.7
    assert consistency(far, far.table()).mean < 0.5


def test_a_pattern_of_one_patient_has_none():
    scans = Scans(noise=0.1)
    table = PatternTable.from_rows(["0"], [(0, 0, 0, *scans.corners[0, 0], *SIZE, 0, 0)])
    found = consistency(scans, table)
    assert np.isnan(found.of_patterns).all()
    assert found.record() == {"of_patterns": [None], "mean": None, "by_chance": None}
