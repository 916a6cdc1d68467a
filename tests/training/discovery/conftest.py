"""A run up to the features of an autoencoder, which are given: synthetic scans of many sizes."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from training.data.prepare import prepare, store_path
from training.data.store import Store
from training.discovery.features import determined_by
from training.discovery.patterns import PatternTable
from training.run.recipe import Recipe
from training.run.recipe_file import load_recipe

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


def recipe_of(root: Path, *overrides: str) -> Recipe:
    return load_recipe(
        "demo", [f"source={root / 'ct'}", f"run={root / 'run'}", f"split={root / 'split.csv'}", *SETTINGS, *overrides]
    )


@pytest.fixture(scope="session")
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
    values = {"features": draw.normal(size=(15, 6)), "determined_by": determined_by(recipe, store)}
    np.savez(folder / "features.npz", patients=store.names(), **values)
    return root


@pytest.fixture
def store(root) -> Store:
    return Store.open(store_path(recipe_of(root)))


@pytest.fixture
def features(root) -> np.ndarray:
    with np.load(root / "run" / "autoencoder" / "features.npz") as saved:
        return saved["features"]


def names(table: PatternTable, column: np.ndarray) -> list[str]:
    return [table.patients[i] for i in column]
