"""Damaged recipes, tables, stores and files of a run, for everything that training reads before it trains."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import torch

from tests.reliability.fuzz.mutations import damage, edited_text
from tests.reliability.harness import Files, Kind
from tests.reliability.processes import of_a_fork
from tests.training.scan_files import SIZE, recipe_of, write_scan
from training.data.prepare import prepare
from training.data.split_table import read_split
from training.data.store import Store
from training.run.folder.checkpoint import load_checkpoint, save_checkpoint
from training.run.folder.metrics import read_metrics
from training.run.folder.record import read_json
from training.run.recipe import resolved
from training.run.recipe_file import load_recipe
from training.run.settings import shipped_files

RECIPES = ("demo", "demo-2d", "semantic-genesis-3d", "models-genesis-3d")
NAMES = "ab"
"""Of the store's patients; each one's place is the seed of its voxels."""
SPLIT = "image,patient,split\na_1.png,a,train\nb_1.png,b,test\nb_2.png,b,test\n"
METRICS = '{"stage": "joint", "epoch": 0, "loss": 0.25, "step": 12}\n{"stage": "joint", "epoch": 1, "loss": 0.125}\n'
RECORD = '{\n  "step": "pretrain",\n  "versions": {"torch": "2.13.0"},\n  "epochs": 3,\n  "minutes": 0.5\n}\n'


# -- parsers, which run in the worker -----------------------------------------------------------------------------


def read_recipe(path: Path) -> None:
    """What comes out has to be plain JSON."""
    json.dumps(resolved(load_recipe(path)))


def read_split_table(path: Path) -> None:
    """What comes out has to say of everybody which split it is."""
    rows = read_split(load_recipe("demo", [f"split={path}"]))
    assert rows
    assert all(row.split and row.patient for row in rows.values())


def read_store(path: Path) -> None:
    """What comes out has to be the voxels that were put in."""
    store = Store.open(path)
    for item in store.items:
        drawn = np.random.default_rng(NAMES.index(item.name)).integers(-1500, 1500, SIZE[::-1], dtype=np.int16)
        assert np.array_equal(store.whole(item.name)[0], drawn.T.clip(-1000, 1000))


def read_checkpoint(path: Path) -> None:
    """What comes out has to be the state that was put in, or that of the checkpoint before."""
    state = load_checkpoint(path, "this")
    assert state is not None
    assert torch.equal(state["weights"], torch.arange(40.0))


def read_sealed_checkpoint(path: Path) -> None:
    """What comes out may be anything: its checksum was made for it."""
    load_checkpoint(path, "this")


def read_lines(path: Path) -> None:
    """What comes out has to be objects."""
    assert all(isinstance(row, dict) for row in read_metrics(path))


def read_record(path: Path) -> None:
    """What comes out has to be an object."""
    assert isinstance(read_json(path, "pretrain"), dict)


# -- inputs -------------------------------------------------------------------------------------------------------


def _recipe(rng: random.Random) -> Files:
    text = shipped_files("recipes")[f"{rng.choice(RECIPES)}.toml"].read_text(encoding="utf-8")
    return {"own.toml": edited_text(text, rng)}, "own.toml"


def _split(rng: random.Random) -> Files:
    return {"split.csv": edited_text(SPLIT, rng)}, "split.csv"


def _store(rng: random.Random) -> Files:
    files = dict(_prepared())
    rows = [name for name in files if name.endswith((".csv", ".json"))]
    name = rng.choice(rows) if rng.random() < 0.7 else rng.choice(sorted(set(files) - set(rows)))
    raw = files[name]
    files[name] = edited_text(raw.decode(), rng) if name in rows else damage(raw, rng)
    if rng.random() < 0.5:  # as in stores that were written before there were checksums
        files.pop("store.zarr/checksums.json", None)
    return files, "store.zarr"


def _checkpoint(rng: random.Random) -> Files:
    files = dict(_saved())
    files["checkpoint.pt"] = damage(files["checkpoint.pt"], rng)
    if rng.random() < 0.5:
        del files["checkpoint.previous.pt"]
    return files, "checkpoint.pt"


def _sealed(rng: random.Random) -> Files:
    raw = damage(_saved()["checkpoint.pt"][:-64], rng)
    return {"checkpoint.pt": raw + hashlib.sha256(raw).hexdigest().encode()}, "checkpoint.pt"


def _metrics(rng: random.Random) -> Files:
    return {"metrics.jsonl": edited_text(METRICS, rng)}, "metrics.jsonl"


def _record(rng: random.Random) -> Files:
    return {"pretrain.json": edited_text(RECORD, rng)}, "pretrain.json"


@functools.cache
def _prepared() -> dict[str, bytes]:
    """The files of a store of two scans."""
    return of_a_fork(_prepare)


def _prepare() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for seed, name in enumerate(NAMES):
            write_scan(root / "ct" / f"{name}.nii.gz", seed)
        prepare(recipe_of(root / "ct", root / "run", "prepare.chunk=[16, 16, 8]"), progress=False)
        files = (path for path in (root / "run" / "store.zarr").rglob("*") if path.is_file())
        return {path.relative_to(root / "run").as_posix(): path.read_bytes() for path in sorted(files)}


@functools.cache
def _saved() -> dict[str, bytes]:
    """A checkpoint, and the one before."""
    with tempfile.TemporaryDirectory() as temporary:
        for step in (1, 2):
            state = {"determined_by": "this", "weights": torch.arange(40.0), "at": {"step": step}}
            save_checkpoint(Path(temporary) / "checkpoint.pt", state)
        return {path.name: path.read_bytes() for path in sorted(Path(temporary).iterdir())}


KINDS = {
    "recipe": Kind(read_recipe, _recipe),
    "split": Kind(read_split_table, _split),
    "store": Kind(read_store, _store),
    "checkpoint": Kind(read_checkpoint, _checkpoint, weight=0.5),
    "sealed checkpoint": Kind(read_sealed_checkpoint, _sealed, weight=0.5),
    "metrics": Kind(read_lines, _metrics, weight=0.5),
    "record": Kind(read_record, _record, weight=0.5),
}
