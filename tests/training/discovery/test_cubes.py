"""The data sets that crop from the store: cubes of patterns, and random ones."""

import math
import tracemalloc

import numpy as np
import pytest
import torch

from sg_hub.errors import InvalidInputError
from tests.training.discovery.conftest import CUBE, recipe_of
from training.data.store import Store
from training.discovery.cubes import PER_PATIENT, PatternDataset, RandomCubes, tissue_share, to_network
from training.discovery.discover import discover
from training.discovery.patterns import PatternTable


def test_cubes_of_the_data_set(root, store):
    table = PatternTable.load(discover(recipe_of(root), progress=False))
    rows = table.rows("validation")
    data = PatternDataset(table, store, rows, (12, 12, 8))
    assert len(data) == len(rows)
    for i, row in enumerate(rows):
        cube, label = data[i]
        assert label == table.pattern[row]
        assert cube.shape == (1, 12, 12, 8)
        assert cube.dtype == torch.float32
        assert 0 <= cube.min() < cube.max() <= 1
        if table.resolution[row] == 0:
            x, y, z = (slice(c, c + s) for c, s in zip(table.corner[row], CUBE, strict=True))
            hu = store.whole(table.patients[table.patient[row]])[:, x, y, z]
            np.testing.assert_allclose(cube.numpy(), (hu.astype(float) + 1000) / 2000, atol=1e-6)
    cube, _ = PatternDataset(table, store, rows, (24, 16, 8))[0]
    assert cube.shape == (1, 24, 16, 8)


def test_a_cube_with_context_has_the_same_middle_and_the_scans_border_beyond_it(root, store):
    table = PatternTable.load(discover(recipe_of(root), progress=False))
    rows = np.flatnonzero(table.resolution == 0)
    larger = tuple(2 * side for side in CUBE)
    data = PatternDataset(table, store, rows, larger, context=2.0)
    central = 0
    for item, row in enumerate(rows):
        whole = store.whole(table.patients[table.patient[row]])
        space = [(large - side) // 2 for large, side in zip(larger, CUBE, strict=True)]
        corner = [int(c) - s for c, s in zip(table.corner[row], space, strict=True)]
        place = [np.arange(c, c + s) for c, s in zip(corner, larger, strict=True)]
        inside = [at.clip(0, n - 1) for at, n in zip(place, whole.shape[1:], strict=True)]
        expected = whole[:, *np.ix_(*inside)].astype(float)
        np.testing.assert_allclose(data[item][0].numpy(), (expected + 1000) / 2000, atol=1e-6)
        central += all(np.array_equal(*both) for both in zip(place, inside, strict=True))
    assert 0 < central < len(rows), "both are there"


def test_resizing_keeps_axes_and_values():
    ramp = np.broadcast_to(np.linspace(-1000, 1000, 16)[:, None, None], (16, 8, 4)).astype(np.int16)[None]
    cube = to_network(ramp, (-1000.0, 1000.0), (8, 8, 8))
    assert cube.shape == (1, 8, 8, 8)
    expected = torch.linspace(0, 1, 16).reshape(8, 2).mean(1)
    for y, z in ((0, 0), (7, 7), (3, 5)):
        torch.testing.assert_close(cube[0, :, y, z], expected, atol=1e-3, rtol=0)
    outside = to_network(np.array([-3000, 3000], dtype=np.int16).reshape(1, 2, 1, 1), (-1000.0, 1000.0), (2, 1, 1))
    assert outside.flatten().tolist() == [0, 1]


def test_patients_that_the_store_lacks_are_named(store):
    table = PatternTable.from_rows(["p00", "stranger"], [(0, 1, 0, 0, 0, 0, 12, 12, 8, 0, 0)])
    with pytest.raises(InvalidInputError, match=r"1 patients that the store lacks \(stranger\): run discover again"):
        PatternDataset(table, store, table.rows("train"), (12, 12, 8))


def test_memory_does_not_grow_with_the_cubes(store, monkeypatch):
    """The paper's C = 44, K = 200 and three resolutions; the cubes themselves would be 26400 x 256 KiB."""
    patients = store.names()
    lines = [
        (c, k % 15, c % 15, 1, 2, 3, 64, 64, 32, resolution, 0)
        for c in range(44)
        for k in range(200)
        for resolution in range(3)
    ]
    read = []
    monkeypatch.setattr(Store, "_read", lambda self, name, where: read.append(name))
    tracemalloc.start()
    try:
        table = PatternTable.from_rows(patients, lines)
        data = PatternDataset(table, store, table.rows("train"), (64, 64, 32))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(data) == math.prod((44, 200, 3))
    assert held < 2e6
    assert not read
    columns = ("pattern", "patient", "reference", "corner", "size", "resolution", "split")
    assert sum(getattr(table, column).nbytes for column in columns) == 24 * len(table)


# Random cubes


def random_cubes(root, store, *overrides, split="train", length=None):
    return RandomCubes(store, split, recipe_of(root, *overrides).discover, (12, 12, 8), 7, length)


def test_random_cubes_are_uniform_over_the_patients_of_their_split(root, store):
    data = random_cubes(root, store, length=400)
    seen = [data.describe(index).split(" at ")[0] for index in range(400)]
    counts = [seen.count(name) for name in store.names("train")]
    assert sum(counts) == 400
    assert min(counts) > 15  # of 40, four standard deviations
    assert max(counts) < 65


def test_random_cubes_lie_in_their_scan_and_hold_tissue(root, store):
    recipe = recipe_of(root, "discover.tissue=0.9")
    data = random_cubes(root, store, "discover.tissue=0.9", length=50)
    for index in range(50):
        name, corner = data.describe(index).split(" at ")
        voxels = store.crop(name, [int(v) for v in corner.split()], CUBE)
        assert tissue_share(voxels, store, recipe.discover) > 0.9
        torch.testing.assert_close(data[index][0], to_network(voxels, store.window, (12, 12, 8)), rtol=0, atol=0)


def test_where_no_place_holds_enough_the_best_is_taken(root, store):
    data = random_cubes(root, store, "discover.tissue_hu=3000", length=3)
    assert data[0][0].shape == (1, 12, 12, 8)


def test_a_scan_smaller_than_a_cube_is_not_stretched_and_its_border_is_repeated(root, store):
    data = RandomCubes(store, "train", recipe_of(root, "discover.cube=[64, 12, 8]").discover, (64, 12, 8), 7, 3)
    name, corner = data.describe(0).split(" at ")
    x, y, z = (int(v) for v in corner.split())
    length = store.shape(name)[0]
    assert x == -((64 - length + 1) // 2), "the scan is in the middle"
    inside = to_network(store.crop(name, [0, y, z], [length, 12, 8]), store.window, (length, 12, 8))
    cube = data[0][0]
    assert cube.shape == (1, 64, 12, 8)
    torch.testing.assert_close(cube[:, -x : length - x], inside, rtol=0, atol=0)
    torch.testing.assert_close(cube[:, :-x], inside[:, :1].expand(1, -x, 12, 8), rtol=0, atol=0)
    torch.testing.assert_close(cube[:, length - x :], inside[:, -1:].expand(1, 64 - length + x, 12, 8), rtol=0, atol=0)


def test_each_epoch_has_cubes_of_its_own_and_the_same_ones_again(root, store):
    data, again = random_cubes(root, store, length=8), random_cubes(root, store, length=8)
    places = [[data.describe(int(index)) for index in data.order(0, epoch)] for epoch in range(3)]
    assert len({place for epoch in places for place in epoch}) > 20
    assert places[1] == [again.describe(int(index)) for index in again.order(0, 1)]
    validation = random_cubes(root, store, split="validation", length=8)
    assert not {validation.describe(i) for i in range(8)} & {data.describe(i) for i in range(8)}


def test_how_many_random_cubes_an_epoch_has(root, store):
    assert len(random_cubes(root, store)) == 10 * PER_PATIENT
    assert len(random_cubes(root, store, split="validation")) == 3 * PER_PATIENT
    assert random_cubes(root, store).patient_count() == 10


def test_a_few_items_that_show_the_variety(root, store):
    table = PatternTable.load(discover(recipe_of(root), progress=False))
    data = PatternDataset(table, store, table.rows("train"), (12, 12, 8))
    shown = data.spread(3)
    assert len({data[index][1] for index in shown}) == 3, "of different patterns"
    assert (table.resolution[data.row_numbers[shown]] == 0).all()
    assert random_cubes(root, store, length=9).spread(3) == [0, 4, 8]
