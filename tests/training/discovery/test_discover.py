"""Self-discovery on synthetic scans whose latent features are given."""

from pathlib import Path

import numpy as np
import pytest

import training.discovery.discover
from sg_hub.errors import InvalidInputError
from tests.training.conftest import small_images
from tests.training.discovery.conftest import CUBE, names, recipe_of
from training.data.prepare import store_path
from training.data.store import Store
from training.discovery.cubes import PatternDataset
from training.discovery.discover import discover, table_path
from training.discovery.patterns import SPLITS, PatternTable


@pytest.fixture(autouse=True)
def _no_figure(monkeypatch):
    """The figure takes longer than discovery itself; `test_everything_that_is_written` draws it."""
    monkeypatch.setattr(training.discovery.discover, "discovered_patterns", lambda *_, **__: None)


def found(root: Path, *overrides: str) -> PatternTable:
    return PatternTable.load(discover(recipe_of(root, *overrides), progress=False))


def references(table: PatternTable) -> dict[int, str]:
    """The reference patient of every pattern; there must be one only."""
    by_pattern = {label: set(names(table, table.reference[table.pattern == label])) for label in range(table.classes)}
    assert all(len(found) == 1 for found in by_pattern.values())
    return {label: found.pop() for label, found in by_pattern.items()}


def reference_corners(table: PatternTable) -> dict[str, np.ndarray]:
    """Where each pattern lies in its own reference patient, by that patient."""
    own = (table.patient == table.reference) & (table.resolution == 0)
    return {table.patients[table.patient[i]]: table.corner[i].astype(int) for i in np.flatnonzero(own)}


def test_the_nearest_patients_carry_the_pattern(root, store, features):
    table = found(root, "discover.border=[0.2, 0.2, 0.2]")  # so far inside that the place is in every patient
    order = store.names()
    assert len(table.rows("train")) == 4 * 5 * 3
    for label, reference in references(table).items():
        distance = np.linalg.norm(features - features[order.index(reference)], axis=1)
        for split, count in (("train", 5), ("validation", round(5 * 3 / 10)), ("test", 1)):
            rows = table.rows(split)
            rows = rows[table.pattern[rows] == label]
            expected = sorted(store.names(split), key=lambda name: distance[order.index(name)])[:count]
            assert names(table, table.patient[rows]) == [name for name in expected for _ in range(3)]
            assert table.resolution[rows].tolist() == [0, 1, 2] * count
    assert references(table)[0] == names(table, table.patient[table.rows("train")])[0], "itself first"


@pytest.mark.parametrize("frame", ["relative", "voxel"])
def test_every_cube_lies_in_its_scan(root, store, frame):
    table = found(root, f"discover.frame={frame}", "discover.jitter=[20, 20, 20]")
    shapes = np.array([store.shape(name) for name in names(table, table.patient)])
    corner, size = table.corner.astype(int), table.size.astype(int)
    assert (corner >= 0).all()
    assert (corner + size <= shapes).all()
    base = table.resolution == 0
    assert (size[base] == CUBE).all()
    assert (size[~base, 0] == size[~base, 1]).all()
    assert (size[~base, 2] == CUBE[2]).all()
    assert size[~base, 0].min() >= 9
    assert size[~base, 0].max() <= 16
    assert len(np.unique(size[~base, 0])) > 4, "sizes are random"


def test_cubes_of_other_sizes_stay_near_the_base(root):
    table = found(root, "discover.border=[0.25, 0.25, 0.25]", "discover.patterns=2", "discover.min_distance=0")
    centre = table.corner + table.size / 2
    moved = []
    for i in np.flatnonzero(table.resolution):
        base = i - table.resolution[i]
        assert table.patient[base] == table.patient[i]
        moved.append(centre[i] - centre[base])
    moved = np.array(moved)
    assert (np.abs(moved) <= [3.5, 3.5, 2]).all()
    assert (np.abs(moved).max(0) >= [2, 2, 1]).all()
    without = found(root, "discover.jitter=[0, 0, 0]", "discover.border=[0.25, 0.25, 0.25]")
    centre = without.corner + without.size / 2
    base = np.arange(len(without)) - without.resolution
    assert (np.abs(centre - centre[base]) <= 0.5).all()


def test_places_are_inside_apart_and_tissue(root, store):
    recipe = recipe_of(root, "discover.frame=voxel", "discover.patterns=8", "discover.tissue=0.9")
    table = PatternTable.load(discover(recipe, progress=False))
    corners = reference_corners(table)
    assert len(corners) == 8, "each reference is used once"
    assert set(corners) <= set(store.names("train"))
    assert set(references(table).values()) == set(corners)
    places = np.array(list(corners.values()))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)[~np.eye(8, dtype=bool)]
    assert apart.min() >= 4
    for name, corner in corners.items():
        border = np.ceil(0.1 * np.array(store.shape(name)))
        assert (corner >= border).all()
        assert (corner + CUBE <= store.shape(name) - border).all()
        assert (store.crop(name, corner, CUBE) > -150).mean() > 0.9


def test_splits_are_kept_apart(root, store):
    table = found(root)
    for split in SPLITS:
        assert set(names(table, table.patient[table.rows(split)])) <= set(store.names(split))
        assert set(table.pattern[table.rows(split)]) == set(range(4)), "every pattern is in every split"
    assert set(names(table, table.reference)) <= set(store.names("train"))


def test_the_seed_decides(root, features, monkeypatch):
    first = found(root)
    text = table_path(recipe_of(root)).read_text(encoding="utf-8")
    assert found(root).fingerprint == first.fingerprint
    assert table_path(recipe_of(root)).read_text(encoding="utf-8") == text
    monkeypatch.setattr(training.discovery.discover, "load_features", lambda *_: features)  # its own have that seed
    assert found(root, "seed=7").fingerprint != first.fingerprint


def test_the_relative_frame_is_the_same_fraction(root, store):
    table = found(root, "discover.frame=relative", "discover.neighbours=10")
    base = np.flatnonzero(table.resolution == 0)
    shapes = np.array([store.shape(name) for name in names(table, table.patient)])
    fraction = (table.corner + CUBE / 2) / shapes
    for label, reference in references(table).items():
        rows = base[table.pattern[base] == label]
        own = rows[np.array(names(table, table.patient[rows])) == reference]
        assert (np.abs(fraction[rows] - fraction[own]) * shapes[rows] <= 0.5 + 1e-6).all(), "to half a voxel"
        assert len(np.unique(table.corner[rows], axis=0)) > 1, "and so not the same voxel"


def test_the_voxel_frame_is_the_same_voxel(root):
    table = found(root, "discover.frame=voxel", "discover.neighbours=10")
    base = np.flatnonzero(table.resolution == 0)
    for label in range(table.classes):
        rows = base[table.pattern[base] == label]
        assert len(np.unique(table.corner[rows], axis=0)) == 1


def test_what_cannot_be_found(root):
    with pytest.raises(InvalidInputError, match=r"11 patterns need as many train patients .* the store has 10"):
        discover(recipe_of(root, "discover.patterns=11"), progress=False)
    nowhere = r"no place found for pattern 0 of 4 in any patient: lower .*discover\.tissue"
    with pytest.raises(InvalidInputError, match=nowhere):
        discover(recipe_of(root, "discover.tissue_hu=900"), progress=False)
    with pytest.raises(InvalidInputError, match=nowhere):  # a cube that no scan holds
        discover(recipe_of(root, "discover.cube=[12, 12, 64]"), progress=False)
    with pytest.raises(InvalidInputError, match=r"no place found for pattern 1 of 4"):
        discover(recipe_of(root, "discover.min_distance=500"), progress=False)


@pytest.mark.slow
def test_everything_that_is_written(root, monkeypatch):
    monkeypatch.undo()
    recipe = recipe_of(root)
    path = discover(recipe, progress=False)
    assert path == table_path(recipe)
    assert path.with_name("patterns.png").read_bytes().startswith(b"\x89PNG")
    assert (recipe.run_dir / "discover.json").is_file()
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")], "nothing half-written stays"


def test_patterns_are_places_that_images_share(trained_images):
    recipe = small_images(trained_images)
    store, table = Store.open(store_path(recipe)), PatternTable.load(table_path(recipe))
    assert table.corner.shape == (len(table), 2)
    shapes = np.array([store.shape(table.patients[p]) for p in table.patient])
    assert (table.corner >= 0).all()
    assert (table.corner + table.size <= shapes).all()
    for pattern in range(table.classes):
        base = (table.pattern == pattern) & (table.resolution == 0)
        centres = (table.corner[base] + table.size[base] / 2) / shapes[base]
        assert np.ptp(centres, axis=0).max() < 0.02  # the same fraction of every image
    data = PatternDataset(table, store, table.rows("train"), recipe.pretrain.size)
    patch, label = data[1]
    assert patch.shape == (1, 32, 32)
    assert 0 <= patch.min() < patch.max() <= 1
    assert label == table.pattern[table.rows("train")[1]]
