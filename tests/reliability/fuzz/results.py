"""Damaged results, cards' records, runs' records and the registry, for everything that publishing and reports read."""

from __future__ import annotations

import functools
import io
import json
import random
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import sg_hub
from tests.reliability import commands
from tests.reliability.fuzz.mutations import damage, edited_json, edited_text
from tests.reliability.harness import Files, Kind
from tests.reliability.processes import of_a_fork
from tests.support.folders import ROOT
from tests.training.report.rows import row
from tests.training.trials.small_grid import QUICK
from training.discovery.features import determined_by, load_features
from training.discovery.patterns import PatternTable
from training.publishing.publish import publish
from training.publishing.rebuild import build_card
from training.publishing.registry import pin, register
from training.report import report
from training.report.cards import write_card_record
from training.report.columns import columns_of
from training.report.page import build_page
from training.report.tables import csv_table, latex_table, markdown_table
from training.run.recipe_file import load_recipe
from training.targets import load_target
from training.trials.examples import RANKS
from training.trials.grids.results import read_results
from training.trials.task.item_arrays import ItemArrays

NAMES = ["a", "b", "c"]
"""Patients of the features."""
STORE: Any = SimpleNamespace(fingerprint="of the store", names=lambda: NAMES)
CARDS = ROOT / "model_cards"
PATTERNS = {
    3: "pattern,patient,reference,x,y,z,size_x,size_y,size_z,resolution,split\n0,a,a,1,2,3,8,8,4,0,train\n"
    "0,b,a,1,2,3,8,9,4,1,validation\n1,a,b,5,5,5,8,8,4,0,test\n",
    2: "pattern,patient,reference,row,column,size_row,size_column,resolution,split\n0,a,a,1,2,8,8,0,train\n"
    "1,b,a,1,2,8,9,1,test\n",
}


# -- parsers, which run in the worker -----------------------------------------------------------------------------


def read_patterns(path: Path) -> None:
    """What comes out has to be the numbers that are in the file."""
    table = PatternTable.load(path)
    lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    ndim = table.corner.shape[1]
    assert table.corner.tolist() == [[int(value) for value in line[3 : 3 + ndim]] for line in lines]
    assert table.pattern.tolist() == [int(line[0]) for line in lines]
    assert table.pattern.min() >= 0


def read_features(path: Path) -> None:
    """What comes out has to be numbers, a row for each patient."""
    recipe = load_recipe("demo", [f"run={path.parent.parent}"])
    features = load_features(recipe, STORE)
    assert features.shape == (3, 4)
    assert np.isfinite(features).all()


def read_table(path: Path) -> None:
    """Everything of a report but its figures has to be made of it."""
    rows = read_results(path.parent)
    columns = columns_of({key: row for key, row in rows.items() if row["protocol"] == 2})
    json.dumps([build_page(columns, columns, []), csv_table(columns), markdown_table(columns), latex_table(columns)])
    try:
        for column in columns:
            for init in column.rows:
                write_card_record(path.parent / "records", column, init)
    finally:
        shutil.rmtree(path.parent / "records", ignore_errors=True)


def draw(path: Path) -> None:
    """The same, with the figures."""
    out = path.parent / "report"
    try:
        report(path.parent, out)
    finally:
        for place in path.parent.iterdir():
            if place.is_dir() and place.name != "trials":
                shutil.rmtree(place)


def make_card(path: Path) -> None:
    """What comes out has to be a card."""
    card = path / "README.md"
    try:
        assert build_card(path).read_text(encoding="utf-8").startswith("---\n")
    finally:
        card.unlink(missing_ok=True)


def publish_run(path: Path) -> None:
    """What comes out has to be a model folder."""
    with tempfile.TemporaryDirectory() as cards:
        folder = publish(commands.recipe(path), cards)
        sg_hub.from_pretrained(folder)


def change_registry(path: Path) -> None:
    """What is written has to be what was there, and the entry."""
    before = path.read_bytes()
    try:
        register(path, "mine", {"sha256": "12", "commit": "34"})
        pin(path, "mine", "12", "owner/name", "56")
        entries = json.loads(path.read_text(encoding="utf-8"))
        assert entries.pop("mine") == {"sha256": "12", "commit": "56", "repo_id": "owner/name"}
        before_it = json.loads(before)
        before_it.pop("mine", None)
        assert json.dumps(entries, sort_keys=True) == json.dumps(before_it, sort_keys=True)
    finally:
        path.write_bytes(before)


def read_items(path: Path) -> None:
    """What comes out has to be items as they were kept, or read again."""
    target = load_target("lidc-candidates", [f"root={path / 'data'}", *QUICK])
    items = target.split_items().items
    arrays = ItemArrays(target, path / "items")
    assert arrays.prepare(items, progress=False) == {}
    for item in items:
        image, label = arrays[item]
        assert image.shape == (1, 16, 16, 8)
        assert int(label) in (0, 1)
        arrays.content(item)


# -- inputs -------------------------------------------------------------------------------------------------------


def _patterns(rng: random.Random) -> Files:
    return {"patterns.csv": edited_text(PATTERNS[rng.choice((2, 3))], rng)}, "patterns.csv"


def _features(rng: random.Random) -> Files:
    arrays: dict[str, Any] = {
        "patients": NAMES,
        "features": np.ones((3, 4), np.float32),
        "determined_by": determined_by(load_recipe("demo"), STORE),
    }
    how = rng.randrange(4)
    if how == 0:
        arrays["features"] = rng.choice(
            (np.full((3, 4), np.nan), np.ones((2, 4)), np.ones(3), np.array("a"), np.ones((3, 4)))
        )
    elif how == 1:
        del arrays[rng.choice(sorted(arrays))]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    raw = damage(buffer.getvalue(), rng) if how >= 2 else buffer.getvalue()
    return {"run/autoencoder/features.npz": raw}, "run/autoencoder/features.npz"


def _results(rng: random.Random) -> Files:
    rows = [row(init, trial, 0.5 + 0.1 * trial) for init in ("one", "random:one") for trial in range(2)]
    lines = [json.dumps(one).encode() for one in rows]
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(lines))
        lines[place] = edited_json(json.dumps(rows[place]).encode(), rng)
    return {"results.jsonl": b"\n".join(lines) + b"\n"}, "results.jsonl"


def _drawn(rng: random.Random) -> Files:
    """With pictures of examples, which are damaged."""
    files, target = _results(rng) if rng.random() < 0.3 else (_unharmed(), "results.jsonl")
    buffer = io.BytesIO()
    kinds = {"image": np.ones((8, 8), np.uint8), "truth": np.eye(8), "found": np.eye(8), "title": np.array("x\ny")}
    np.savez(buffer, **{f"{rank}_{kind}": value for rank in RANKS for kind, value in kinds.items()})
    files["trials/task-one-1.0-0/examples.npz"] = damage(buffer.getvalue(), rng)
    return files, target


def _unharmed() -> dict[str, bytes]:
    rows = [row(init, trial, 0.5 + 0.1 * trial) for init in ("one", "random:one") for trial in range(2)]
    return {"results.jsonl": "".join(json.dumps(one) + "\n" for one in rows).encode()}


def _card(rng: random.Random) -> Files:
    files = dict(rng.choice(_card_folders()))
    name = rng.choice(("results.json", "results.json", "config.json"))
    files[name] = edited_json(files[name], rng)
    return files, "."


def _run(rng: random.Random) -> Files:
    files = dict(_published_run())
    records = [name for name in files if name.endswith(("pretrain.json", "discover.json", "evaluation.json"))]
    name = rng.choice((*records, "run/transfer/own/small-0.json"))
    files[name] = edited_json(files[name], rng)
    return files, "run"


def _registry(rng: random.Random) -> Files:
    entry = {"sha256": "12", "commit": "ab", "repo_id": None, "licence": "mit", "size_mb": 1.5}
    entries = {"other": entry, "mine": entry | {"repo_id": "owner/name"}}
    return {"registry.json": edited_json(json.dumps(entries, indent=1).encode(), rng)}, "registry.json"


def _items(rng: random.Random) -> Files:
    files = dict(_kept_items())
    kept = [name for name in files if name.startswith("items/")]
    for name in rng.sample(kept, rng.choice((1, 1, 3))):
        files[name] = edited_json(files[name], rng) if name.endswith(".json") else damage(files[name], rng)
    return files, "."


# -- what is damaged ----------------------------------------------------------------------------------------------


@functools.cache
def _card_folders() -> tuple[dict[str, bytes], ...]:
    """Configs and results of models that were pre-trained and fine-tuned."""
    names = ("config.json", "results.json")
    shipped = [CARDS / "semantic-genesis-3d-tiny", CARDS / "semantic-genesis-2d-tiny"]
    folders = [*shipped, commands.undisturbed("finetune").folder / "model"]
    return tuple({name: (folder / name).read_bytes() for name in names} for folder in folders)


@functools.cache
def _published_run() -> dict[str, bytes]:
    """What `publish` reads of a run."""
    run = commands.undisturbed("evaluate").folder / "run"
    files = {path.relative_to(run.parent).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    record = {"title": "a task", "sha256": "12", "rows": []}
    return {
        **{name: raw for name, raw in files.items() if not name.endswith((".png", ".pt", ".lock", ".npz"))},
        "run/transfer/own/small-0.json": json.dumps(record).encode(),
    }


@functools.cache
def _kept_items() -> dict[str, bytes]:
    """Patches, and the items that were made of them."""

    def make() -> dict[str, bytes]:
        from tests.training.targets.target_folders import lidc_patches

        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            lidc_patches(root / "data", 8)
            target = load_target("lidc-candidates", [f"root={root / 'data'}", *QUICK])
            ItemArrays(target, root / "items").prepare(target.split_items().items, progress=False)
            files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "nodules.npz")
            return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    return of_a_fork(make)


KINDS = {
    "patterns": Kind(read_patterns, _patterns),
    "features": Kind(read_features, _features, weight=0.5),
    "results.jsonl": Kind(read_table, _results, known_by=("target ",)),
    "figures": Kind(draw, _drawn, weight=0.05),
    "card records": Kind(make_card, _card),
    "run records": Kind(publish_run, _run, weight=0.5),
    "registry.json": Kind(change_registry, _registry, weight=0.5),
    "kept items": Kind(read_items, _items, weight=0.4),
}
