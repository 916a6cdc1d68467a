"""Self-discovery on synthetic scans whose latent features are given, and the data set of the patterns table."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import training.discovery.discover
from sg_hub.errors import InvalidInputError, ReadError
from training.data.prepare import prepare, store_path
from training.data.store import Store
from training.discovery.cubes import PatternDataset, to_network
from training.discovery.discover import discover, table_path
from training.discovery.patterns import SPLITS, PatternTable, columns
from training.discovery.search import Search
from training.run.recipe import Recipe, load_recipe

CUBE = np.array([12, 12, 8])
SETTINGS = (
    "prepare.workers=1",
    "discover.patterns=4",
    "discover.neighbours=5",
    "discover.cube=[12, 12, 8]",
    "discover.resolutions=3",
    "discover.in_plane=[9, 16]",
    "discover.jitter=[3, 3, 2]",
    "discover.border=[0.1, 0.1, 0.1]",
    "discover.min_distance=4.0",
    "split_names={ train = 'train', validation = 'validation', test = 'test' }",
)


@pytest.fixture(autouse=True)
def _no_figure(monkeypatch):
    """The figure takes longer than discovery itself; `test_everything_that_is_written` draws it."""
    monkeypatch.setattr(training.discovery.discover, "discovered_patterns", lambda *_: None)


def recipe_of(root: Path, *overrides: str) -> Recipe:
    return load_recipe(
        "demo", [f"source={root / 'ct'}", f"run={root / 'run'}", f"split={root / 'split.csv'}", *SETTINGS, *overrides]
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A run up to the features: 10 train, 3 validation and 2 test patients, each of its own size, in air."""
    root = tmp_path_factory.mktemp("discover")
    (root / "ct").mkdir()
    draw = np.random.default_rng(3)
    rows = []
    for i in range(15):
        x, y, z = (int(side) for side in draw.integers((40, 36, 24), (56, 48, 32)))
        scan = np.full((z, y, x), -1000, dtype=np.int16)
        scan[2:, 6:, 4:-4] = draw.integers(-100, 200, (z - 2, y - 6, x - 8))
        image = sitk.GetImageFromArray(scan)
        image.SetSpacing((4.0, 4.0, 3.0))  # the recipe's own: nothing is resampled
        sitk.WriteImage(image, str(root / "ct" / f"p{i:02d}.nii.gz"))
        rows.append(f"p{i:02d},{'train' if i < 10 else 'validation' if i < 13 else 'test'}")
    (root / "split.csv").write_text("\n".join(["patient,split", *rows]) + "\n", encoding="utf-8")
    recipe = recipe_of(root)
    prepare(recipe, progress=False)
    store = Store.open(store_path(recipe))
    folder = recipe.run_dir / "autoencoder"
    folder.mkdir()
    values = {"features": draw.normal(size=(15, 6)), "determined_by": store.fingerprint}
    np.savez(folder / "features.npz", patients=store.names(), **values)
    return root


@pytest.fixture
def store(root) -> Store:
    return Store.open(store_path(recipe_of(root)))


@pytest.fixture
def features(root) -> np.ndarray:
    with np.load(root / "run" / "autoencoder" / "features.npz") as saved:
        return saved["features"]


def found(root: Path, *overrides: str) -> PatternTable:
    return PatternTable.load(discover(recipe_of(root, *overrides), progress=False))


def names(table: PatternTable, column: np.ndarray) -> list[str]:
    return [table.patients[i] for i in column]


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


def test_splits_are_kept_apart(root, store):
    table = found(root)
    for split in SPLITS:
        assert set(names(table, table.patient[table.rows(split)])) <= set(store.names(split))
        assert set(table.pattern[table.rows(split)]) == set(range(4)), "every pattern is in every split"
    assert set(names(table, table.reference)) <= set(store.names("train"))


def test_the_seed_decides(root):
    first = found(root)
    text = table_path(recipe_of(root)).read_text(encoding="utf-8")
    assert found(root).fingerprint == first.fingerprint
    assert table_path(recipe_of(root)).read_text(encoding="utf-8") == text
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


def test_features_that_are_missing_or_of_others(root, tmp_path):
    recipe = recipe_of(root)
    path = recipe.run_dir / "autoencoder" / "features.npz"
    kept = path.read_bytes()
    try:
        path.unlink()
        with pytest.raises(ReadError, match=r"run `sg-hub autoencode` first"):
            discover(recipe, progress=False)
        np.savez(path, patients=["x"], features=np.zeros((1, 6)), determined_by="")
        with pytest.raises(ReadError, match="of another store"):
            discover(recipe, progress=False)
    finally:
        path.write_bytes(kept)
    with pytest.raises(ReadError, match="not a store"):
        discover(recipe_of(root, f"run={tmp_path}"), progress=False)


@pytest.mark.slow
def test_everything_that_is_written(root, monkeypatch):
    monkeypatch.undo()
    recipe = recipe_of(root)
    path = discover(recipe, progress=False)
    assert path == table_path(recipe)
    assert path.with_name("patterns.png").read_bytes().startswith(b"\x89PNG")
    assert (recipe.run_dir / "discover.json").is_file()
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")], "nothing half-written stays"


# The table


def table_of(rows: int = 6) -> PatternTable:
    lines = [(i % 3, 2 - i % 2, 2, i, 2 * i, 3, 12, 12, 8, i % 2, i % 3) for i in range(rows)]
    return PatternTable.from_rows(["never used", "a, b", 'the "c"'], lines)


@pytest.mark.parametrize("far", [7, 40000])
def test_the_table_survives_its_file(tmp_path, far):
    lines = [(0, 2, 2, 1, 2, far, 12, 12, 8, 0, 0), (1, 1, 2, 4, 5, 6, 12, 14, 8, 2, 2)]
    table = PatternTable.from_rows(["never used", "a, b", 'the "c"'], lines)
    table.save(tmp_path / "new" / "t.csv")
    again = PatternTable.load(tmp_path / "new" / "t.csv")
    assert names(again, again.patient) == ['the "c"', "a, b"]
    assert names(again, again.reference) == ['the "c"'] * 2
    for column in ("pattern", "corner", "size", "resolution", "split"):
        np.testing.assert_array_equal(getattr(again, column), getattr(table, column))
    assert again.corner[0].tolist() == [1, 2, far]
    assert again.classes == 2
    assert again.fingerprint == table.fingerprint
    again.save(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "new" / "t.csv").read_bytes()


def test_the_tables_fingerprint_follows_its_rows():
    row = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1]
    seen = {PatternTable.from_rows(["p", "q", "r"], [tuple(row)]).fingerprint}
    for column in (0, 1, 3, 4, 5, 6, 7, 8, 10):
        changed = [*row]
        changed[column] += 1
        seen.add(PatternTable.from_rows(["p", "q", "r"], [tuple(changed)]).fingerprint)
    seen.add(PatternTable.from_rows(["p", "other", "r"], [tuple(row)]).fingerprint)
    assert len(seen) == 11


def test_rows_of_a_split():
    table = table_of()
    assert [table.rows(split).tolist() for split in SPLITS] == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0,a,a,1,2,3,12,12", r"line 3 .*8 values instead of 11"),
        ("0,a,a,1,2,3,12,12,8,0,train,more", r"line 3 .*12 values"),
        ("0,a,a,1,2,3,12,12,0,train", "line 3"),
        ("0,a,a,1,2,x,12,12,8,0,train", "line 3"),
        ("0,a,a,1,2,3.5,12,12,8,0,train", "line 3"),
        ("0,a,a,1,2,3,12,12,8,0,tra", "line 3"),
        ("", "line 3"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, line, said):
    path = tmp_path / "t.csv"
    good = "0,a,a,1,2,3,12,12,8,0,train"
    path.write_text("\n".join([",".join(columns(3)), good, line, good]) + "\n", encoding="utf-8")
    with pytest.raises(ReadError, match=said):
        PatternTable.load(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a patterns table"),
        (b"patient,split\na,train\n", "not a patterns table"),
        (b"\xff\xfe\x00", "damaged"),
        ((",".join(columns(3)) + "\n").encode(), "has no rows"),
    ],
)
def test_files_that_are_no_table(tmp_path, content, said):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ReadError, match=said):
        PatternTable.load(tmp_path / "t.csv")
    with pytest.raises(ReadError, match=r"not there yet: run `sg-hub discover` first"):
        PatternTable.load(tmp_path / "nothing.csv")


# The data set


def test_cubes_of_the_data_set(root, store):
    table = found(root)
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
