"""Stores to read: a small one that is written here, and one that `prepare` wrote."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.training.scan_files import recipe_of, write_source
from training.data.prepare import prepare
from training.data.store import MISSING
from training.data.store_files import StoredItem, write_table

SHAPE = (40, 30, 20)


def voxels_of(seed: int, shape=SHAPE, channels=1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, (channels, *shape), dtype=np.int16)


def write_store(folder: Path, scans: dict[str, np.ndarray], spacing=None, chunk=(16, 16, 8)) -> Path:
    group = zarr.open_group(str(folder), mode="w")
    group.attrs.update({"sg_hub_store": 1, "window": [-1000.0, 1000.0], "spacing": spacing, "chunk": list(chunk)})
    patients = []
    for i, (name, array) in enumerate(scans.items()):
        chunks = (len(array), *(min(c, s) for c, s in zip(chunk, array.shape[1:], strict=True)))
        stored = group.create_array(
            f"scans/{name}", shape=array.shape, dtype="int16", chunks=chunks, fill_value=MISSING
        )
        stored[:] = array
        split = ("train", "validation", "test")[i % 3]
        x, y, z = array.shape[1:]
        patients.append(
            StoredItem(name, split, (x, y, z), array.shape[0], (0.7031251, 2.0, 3.3333333), f"{name}.nii", f"{i}", name)
        )
    write_table(folder, patients)
    return folder


@pytest.fixture
def scans() -> dict[str, np.ndarray]:
    return {"a": voxels_of(1), "b": voxels_of(2), "c": voxels_of(3, (24, 24, 24), channels=2)}


@pytest.fixture
def folder(tmp_path, scans) -> Path:
    return write_store(tmp_path / "store.zarr", scans)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """The store of six small scans."""
    root = tmp_path_factory.mktemp("prepared")
    prepare(recipe_of(write_source(root / "ct"), root / "run", "prepare.chunk=[8, 8, 8]"), progress=False)
    return root / "run" / "store.zarr"


def flipped(path: Path, position: int) -> bytes:
    data = bytearray(path.read_bytes())
    data[position // 8] ^= 1 << (position % 8)
    return bytes(data)


@pytest.fixture
def source(tmp_path) -> Path:
    return write_source(tmp_path / "ct")


@pytest.fixture
def recipe(tmp_path, source):
    """Makes recipes on the six patients."""
    return lambda *overrides: recipe_of(source, tmp_path / "run", *overrides)
