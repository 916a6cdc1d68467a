"""The features that say which patients look alike: one vector each, from the trained autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.files import writing

from ..data.store import Store
from ..run.folder.arrays import read_arrays
from ..run.recipe import Recipe

FOLDER = "autoencoder"
WHOLE = "whole.npy"
"""The resized scans, while they are trained on."""


def features_path(recipe: Recipe) -> Path:
    return recipe.run_dir / FOLDER / "features.npz"


def determined_by(recipe: Recipe, store: Store) -> str:
    """What the features depend on; it begins with the store's fingerprint."""
    precision = recipe.pretrain.precision
    said = f"{store.fingerprint} {recipe.autoencode!r} {recipe.model!r} {recipe.seed}"
    return said if precision == "float32" else f"{said} {precision}"  # files of before it was said stay valid


def save_features(path: Path, store: Store, features: np.ndarray, determined_by: str) -> None:
    """Write (patients, features) in the order of the store's patients.

    Raises:
        InvalidInputError: features that are no numbers.
    """
    _check_finite(features, store, "nothing was written: lower autoencode.lr, or use pretrain.precision=float32")
    with writing(path) as file:
        np.savez(file, patients=store.names(), features=features, determined_by=determined_by)


def load_features(recipe: Recipe, store: Store) -> np.ndarray:
    """(patients, features) in the order of the store's patients.

    Raises:
        ReadError: there are none yet, or of another store or an autoencoder with other settings.
        InvalidInputError: features that are no numbers.
    """
    path = features_path(recipe)
    if not path.is_file():
        raise ReadError(f"{path} is not there yet: run `sg-hub autoencode` first")
    saved = read_features(path)
    said = str(saved.get("determined_by", ""))
    if not said.startswith(store.fingerprint):
        raise ReadError(f"{path} is damaged or of another store: run `sg-hub autoencode` again")
    if said != determined_by(recipe, store):
        raise ReadError(
            f"{path} is of an autoencoder with other settings ([autoencode], [model], seed or pretrain.precision) than "
            "the recipe's: run `sg-hub autoencode` again, or set them back"
        )
    features = saved.get("features")
    if not isinstance(features, np.ndarray) or features.ndim != 2 or len(features) != len(store.names()):
        raise ReadError(f"{path} is damaged (no row for every patient): run `sg-hub autoencode` again")
    _check_finite(features, store, f"remove {path} and run `sg-hub autoencode` again with a lower rate")
    return features


def read_features(path: Path) -> dict[str, Any]:
    """What is in a file of features; nothing where it is missing or damaged."""
    try:
        return {key: array if array.ndim else str(array) for key, array in read_arrays(path).items()}
    except ReadError:
        return {}


def _check_finite(features: np.ndarray, store: Store, remedy: str) -> None:
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        names = ", ".join(store.names()[i] for i in broken[:5])
        raise InvalidInputError(
            f"the autoencoder's features of {len(broken)} patients are no numbers ({names}): it diverged; {remedy}"
        )
