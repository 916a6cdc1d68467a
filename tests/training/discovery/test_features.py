"""The features of the autoencoder, as a file between two steps."""

import numpy as np
import pytest

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.discovery.conftest import recipe_of
from training.data.prepare import store_path
from training.data.store import Store
from training.discovery.discover import discover
from training.discovery.features import determined_by, save_features


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
        of = determined_by(recipe, Store.open(store_path(recipe)))
        np.savez(path, patients=["x"], features=np.zeros((1, 6)), determined_by=of)
        with pytest.raises(ReadError, match="no row for every patient"):
            discover(recipe, progress=False)
    finally:
        path.write_bytes(kept)
    with pytest.raises(ReadError, match="not a store"):
        discover(recipe_of(root, f"run={tmp_path}"), progress=False)


def test_features_that_are_no_numbers_are_neither_written_nor_read(root, store, features, tmp_path):
    broken = features.copy()
    broken[3, 2] = np.nan
    with pytest.raises(InvalidInputError, match=r"features of 1 patients are no numbers \(p03\): it diverged"):
        save_features(tmp_path / "features.npz", store, broken, store.fingerprint)
    assert not list(tmp_path.iterdir())
    recipe = recipe_of(root)
    path = recipe.run_dir / "autoencoder" / "features.npz"
    kept = path.read_bytes()
    try:
        np.savez(path, patients=store.names(), features=broken, determined_by=determined_by(recipe, store))
        with pytest.raises(InvalidInputError, match=r"p03.*run `sg-hub autoencode` again"):
            discover(recipe, progress=False)
    finally:
        path.write_bytes(kept)


def test_features_of_an_autoencoder_with_other_settings_are_refused(root):
    for change in ("autoencode.epochs=71", "model.width=3", "seed=1", "pretrain.precision=bfloat16"):
        with pytest.raises(ReadError, match=r"other settings .*run `sg-hub autoencode` again, or set them back"):
            discover(recipe_of(root, change), progress=False)
