"""Where a pattern may lie, and which patients have that place."""

import numpy as np

from tests.training.discovery.conftest import CUBE, recipe_of
from training.discovery import search as module
from training.discovery.search import Search, distances, smallest


def test_a_patient_that_lacks_the_place_is_passed_over(root, store, features):
    """In the voxel frame, small scans end before the corner of a large one's pattern."""
    search = Search(store, features, recipe_of(root, "discover.frame=voxel").discover)
    largest = int(np.argmax(search.shapes[search.train, 0]))
    corner = search.shapes[largest] - CUBE
    rows = search.rows(0, largest, corner.astype(float), np.random.default_rng(0))
    fit = {i for i in range(15) if np.all(corner + CUBE <= search.shapes[i])}
    assert {row[1] for row in rows} <= fit
    assert len(fit) < 5
    assert rows[0][1] == largest


def test_the_nearest_are_found_part_by_part_and_equals_in_their_order(monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    features = np.random.default_rng(0).integers(0, 3, (50, 2)).astype(np.float32)  # many are as far as each other
    found = distances(features, 9)
    assert np.array_equal(found, np.linalg.norm(features - features[9], axis=1))
    for count in (1, 10, 49, 60):
        assert np.array_equal(smallest(found, count), np.argsort(found, kind="stable")[:count])


def test_the_distance_is_kept_where_it_is_hard(root, store, features):
    search = Search(store, features, recipe_of(root, "discover.frame=voxel", "discover.min_distance=9").discover)
    draw = np.random.default_rng(0)
    for _ in range(5):
        for reference in search.train:
            search.corner(int(reference), draw)
    places = np.array(search.found)
    assert len(places) > 5
    assert len(places) < 50, "some tries must have failed, or nothing is tested"
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert apart[~np.eye(len(places), dtype=bool)].min() >= 9


def test_a_drawn_size_is_square_where_a_scan_is_narrow(root, store, features):
    search = Search(store, features, recipe_of(root, "discover.in_plane=[90, 90]").discover)
    corner, size = search._window(np.array([0, 0, 0]), np.array([40, 30, 20]), 1, np.random.default_rng(0))
    assert size[:2] == [30, 30]
    assert corner[1] == 0
