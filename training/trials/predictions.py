"""Predictions on whole scans and images: those of a fine-tuning's test part kept, and a folder of them scored.

Label maps are on the grid of their image's file and hold class numbers (0 is background, then the classes in the
target's order), as `sg-hub segment` writes them. Probabilities are a CSV as `sg-hub classify` writes it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import sg_hub
from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.files import given_path, unwritable, write_atomic, writing_path
from sg_hub.io.finder import IMAGE_SUFFIXES, SCAN_SUFFIXES, find_images, find_scans, plain_name
from sg_hub.io.labels import check_same_place, load_labels, read_label_image

from ..data.csv_table import read_csv
from ..targets import Item, Target, load_target
from ..targets.label_maps import as_placed
from ..targets.readers.folder import Folder
from .class_metrics import auc_table, class_table, item_row

TABLE = "classes.csv"
NUMBERS = ("model", "target")
"""Whose numbers label maps are in."""
"""Of the probabilities of a classification."""


def check_folder(folder: str | Path, target: Target, model: Path) -> Path:
    """Refuse a folder that the predictions cannot be kept in, before hours of work.

    Raises:
        InvalidInputError: within the model's folder, which is to be shared, or where the target's own files are; or a
            target whose items are no files, or have names that are too much alike.
        ReadError: it cannot be made.
    """
    folder = given_path(folder, "the folder of the predictions").absolute()
    if not isinstance(target, Folder):
        raise InvalidInputError(f"target {target.name}: predictions are kept of targets with reader = 'folder' alone")
    data = [Path(target.root).expanduser().resolve() / place for place in (target.images, target.labels)]
    if not {*data}.isdisjoint((folder.resolve(), *folder.resolve().parents)):
        raise InvalidInputError(f"{folder} holds the target's own files, which would be replaced: give another one")
    owner: dict[str, str] = {}
    for item in target.find().items:
        if owner.setdefault(_file_name(item), item.name) != item.name:
            raise InvalidInputError(
                f"target {target.name}: the predictions of {owner[_file_name(item)]} and {item.name} would have one "
                "name: rename one of them"
            )
    if model in (folder, *folder.parents):
        raise InvalidInputError(f"{folder} lies in the folder of the model, which names no patient: give another one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def keep(model: Any, target: Target, items: Sequence[Item], folder: Path, *, progress: bool = True) -> None:
    """Write what a model makes of items, under their names.

    Args:
        model: with the target's preprocessing.
    """
    rows: list[list[str]] = []
    for item in tqdm(items, "predictions", unit="item", disable=not progress, leave=False):
        image = sg_hub.load_scan(item.image) if target.data_ndim == 3 else sg_hub.load_image(item.image)
        if target.head == "classification":
            shares = sg_hub.classify(model, image, progress=False)
            rows.append([item.name, *(f"{value:.6g}" for value in shares.values())])
            continue
        path = folder / f"{_file_name(item)}{'.nii.gz' if target.data_ndim == 3 else '.png'}"
        image.save(sg_hub.predict(model, image, output="labels", progress=False), path)
    if rows:
        with writing_path(folder / TABLE) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([["scan", *target.classes], *rows])


def score_predictions(
    predictions: str | Path,
    target: str | Path,
    overrides: Sequence[str] = (),
    part: str = "test",
    *,
    numbers: str | None = None,
    progress: bool = True,
) -> tuple[str, int, list[str]]:
    """Score predictions against a target's labels, on the grid of the files.

    Args:
        predictions: folder of label maps; of a classification a CSV, or the folder that holds `classes.csv`.
        part: of the target: train, validation, test or all.
        numbers: of the label maps: `model`, 1 for the first class and so on, as `segment` writes them, or `target`,
            those of the target's own label maps. Absent: `model`, and that is said where they differ.

    Returns:
        a CSV with a line for each class; how many items it is of; and the items without a prediction.

    Raises:
        InvalidInputError: no prediction of any item, two of one item, or one of another size or place, or with classes
            that there are not.
        ReadError: files that are missing or damaged.
    """
    read = load_target(target, overrides)
    if not isinstance(read, Folder):
        raise InvalidInputError(f"target {read.name}: predictions of targets with reader = 'folder' can be scored")
    path = given_path(predictions, "the folder of the predictions")
    if not path.exists():
        raise ReadError(f"{path} is not there: give what `sg-hub {_command(read)}` wrote")
    every = read.split_items().items
    items = [item for item in every if part in ("all", item.split)]
    if read.head == "classification":
        known = _probabilities(path, read, every)
        names = _matched(items, known, path)
        scored = [item for item in items if item.name in names]
        rows = [{"label": item.label, "probabilities": known[names[item.name]]} for item in scored]
        missing = [item.name for item in items if item not in scored]
        _some(rows, path, items)
        return auc_table(read, rows), len(rows), missing
    if numbers not in (None, *NUMBERS):
        raise InvalidInputError(f"numbers={numbers!r}: expected {' or '.join(NUMBERS)}")
    if numbers is None and (other := _other_numbers(read)):
        print(f"note: 1 is {read.classes[0]} and so on; {other}", file=sys.stderr, flush=True)
    files = (find_scans if read.data_ndim == 3 else find_images)(path)
    rows, missing, names = [], [], _matched(items, files, path)
    for item in tqdm(items, "scoring", unit="item", disable=not progress, leave=False):
        if item.name not in names:
            missing.append(item.name)
        else:
            rows.append(_scored(read, item, files[names[item.name]], own=numbers == "target"))
    _some(rows, path, items)
    return class_table(read, rows, "mm" if read.data_ndim == 3 else "pixels"), len(rows), missing


def read_for(predictions: str | Path, target: str | Path, overrides: Sequence[str] = ()) -> list[Path]:
    """Tables that scoring reads: of a classification's predictions, and of the target."""
    read = load_target(target, overrides)
    table = Path(read.root).expanduser() / str(getattr(read, "table", None) or "")
    return [Path(predictions), Path(predictions) / TABLE, table, Path(read.splits.file or "")]


def write_scores(text: str, out: str | Path) -> None:
    write_atomic(given_path(out, "the CSV to be written"), text)


def _command(target: Target) -> str:
    return "classify" if target.head == "classification" else "segment"


def _file_name(item: Item) -> str:
    return item.name.replace("/", "-")


def _matched(items: Sequence[Item], known: Any, path: Path) -> dict[str, str]:
    """What the prediction of each item is called, of the names that there are; items without one are left out.

    Raises:
        InvalidInputError: one that would be of two items.
    """
    found: dict[str, str] = {}
    owner: dict[str, str] = {}
    for item in items:
        names = (item.name, _file_name(item), item.name.rpartition("/")[2])
        name = next((name for name in names if name in known), None)
        if name is None:
            continue
        if owner.setdefault(name, item.name) != item.name:
            raise InvalidInputError(
                f"{path}: {name} may be the prediction of {owner[name]} or of {item.name}: call each as its item is, "
                f"such as {_file_name(item)}"
            )
        found[item.name] = name
    return found


def _some(rows: list[Any], path: Path, items: list[Item]) -> None:
    if not rows:
        such = items[0].name if items else "none"
        raise InvalidInputError(
            f"{path} holds no prediction of the {len(items)} items (such as {such}): predictions have the names of "
            "their images, as `sg-hub segment` and `sg-hub classify` give them"
        )


def _probabilities(path: Path, target: Target, items: Sequence[Item]) -> dict[str, list[float]]:
    """The rows of a table by the item that their path ends in, of all of the target; those of none by the last part of
    their path, where no other row has it.

    Raises:
        ReadError: no table, or a damaged one.
        InvalidInputError: two rows of one item.
    """
    table = path / TABLE if path.is_dir() else path
    suffixes = SCAN_SUFFIXES if target.data_ndim == 3 else IMAGE_SUFFIXES
    names = {name for item in items for name in (item.name, _file_name(item))}
    found: dict[str, list[float]] = {}
    said: dict[str, str] = {}
    others: dict[str, list[list[float]]] = {}
    for row in read_csv(table, ("scan", *target.classes)):
        try:
            values = [float(row[name]) for name in target.classes]
        except ValueError as error:
            raise ReadError(f"{table}: {error}; expected the probability of each class of {row['scan']}") from error
        parts = plain_name(row["scan"].replace("\\", "/"), suffixes).split("/")
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        name = next((end for end in ends if end in names), None)
        if name is None:
            others.setdefault(parts[-1], []).append(values)
            continue
        if name in found:
            raise InvalidInputError(
                f"{table}: {said[name]} and {row['scan']} may both be {name}: leave the row of the target's image"
            )
        found[name], said[name] = values, row["scan"]
    return {name: rows[0] for name, rows in others.items() if len(rows) == 1} | found


def _other_numbers(target: Folder) -> str:
    """How predictions in the numbers of the target's label maps are read; empty where these are 1, 2 and so on."""
    if target.numbers == [[number] for number in range(1, len(target.classes) + 1)]:
        return ""
    pairs = zip(target.classes, target.numbers, strict=True)
    named = ", ".join(f"{' and '.join(map(str, of))} {name}" for name, of in pairs)
    return f"of predictions in the numbers of the target's label maps ({named}) say so: --numbers target"


def _scored(target: Folder, item: Item, path: Path, *, own: bool) -> dict[str, Any]:
    spacing: tuple[float, ...] = (1.0, 1.0)
    if target.data_ndim == 3:
        labels, found = load_labels(str(item.label)), load_labels(path)
        if target.same_voxels:
            labels = as_placed(labels, sg_hub.load_scan(item.image))
        truth, given, spacing = target.class_numbers(labels.array[0], str(item.label)), found.array[0], labels.spacing
    else:
        truth, given = target.class_numbers(read_label_image(str(item.label)), str(item.label)), read_label_image(path)
    if given.shape != truth.shape:
        raise InvalidInputError(
            f"{path} has size {given.shape}, the label map {item.label} {truth.shape}: predictions must be on the "
            "grid of the label maps: resample them, or give the other program the files of the target"
        )
    if target.data_ndim == 3:
        check_same_place(found, labels)
    if own:
        given = target.class_numbers(given, path)
    if given.max() > len(target.classes) or given.min() < 0:
        raise InvalidInputError(
            f"{path} holds the number {given.max():g}: expected 0 (background) to {len(target.classes)}, the classes "
            f"{list(target.classes)} in their order{f'; {other}' if (other := _other_numbers(target)) else ''}"
        )
    return item_row(item.name, np.asarray(given).astype(np.uint8), truth, len(target.classes), spacing)
