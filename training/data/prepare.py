"""A folder of scans or images to one store.

    sg-hub prepare RECIPE [key=value ...]

Finds every NIfTI, MHA, MHD and NRRD file and every DICOM folder below `source`, reads them in parallel
processes into LPS order, clips to the window, resamples to the recipe's spacing and writes them to
`<run>/store.zarr` (see training.data.store). A scan that cannot be read is reported with its reason and skipped.
With a 2D recipe the same for every PNG, JPEG, TIFF, BMP and DICOM image, resized to fit `prepare.size`.
Can be stopped at any time and started again: what is complete in the store stays. Under torchrun the processes share
the scans (those of several machines see one folder), and with --ray each is a task of Ray.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from tqdm import tqdm

from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.io.files import unwritable, write_atomic

from ..run.folder.lock import run_lock
from ..run.processes.process_group import Process, process
from ..run.recipe import TEXTS, Recipe
from ..run.seeds import permutation
from .convert import Converter, convert_all, stored_item
from .items import Item, Items, list_items
from .provenance import said_of
from .split_table import read_split, split_file
from .store import LEVELS, Store
from .store_files import FORMAT, StoredItem, read_settings, unfinish, write_table

STORE = "store.zarr"
"""Below the run."""
SPLIT = "split"
"""Attribute of the store: what said who is in which split. Stores of before have none."""


@dataclass
class Summary:
    """What `prepare` did."""

    kept: list[StoredItem] = field(default_factory=list)
    already_there: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by source, relative to the folder of scans."""
    absent: list[str] = field(default_factory=list)
    """Patients that the recipe's CSV names and that have no scan."""
    megabytes: float = 0.0
    """Of the store, on disk."""
    seconds: float = 0.0

    def __str__(self) -> str:
        splits = [item.split for item in self.kept]
        counts = ", ".join(f"{splits.count(split)} {split}" for split in ("train", "validation", "test"))
        voxels = sum(item.channels * int(np.prod(item.shape)) for item in self.kept)
        lines = [
            f"{self._what()} in the store: {counts}; {self.already_there} were there already, "
            f"{len(self.skipped)} skipped",
            f"{voxels / 1e6:.1f} million voxels, {self.megabytes:.1f} MB on disk, {self._range()}, "
            f"{self.seconds:.1f} s",
        ]
        lines += [f"  skipped {source}: {reason}" for source, reason in sorted(self.skipped.items())]
        if self.absent:
            shown = ", ".join(self.absent[:5]) + (", ..." if len(self.absent) > 5 else "")
            lines.append(f"  {len(self.absent)} patients of the split have no scan: {shown}")
        return "\n".join(lines)

    def _what(self) -> str:
        patients = len({item.patient for item in self.kept})
        if len(self.kept[0].shape) == 2:
            return f"{len(self.kept)} images of {patients} patients"
        return (
            f"{patients} patients" if patients == len(self.kept) else f"{len(self.kept)} scans of {patients} patients"
        )

    def _range(self) -> str:
        """Of the spacing; of images, of their size."""
        images = len(self.kept[0].shape) == 2
        values = np.array([item.shape if images else item.spacing for item in self.kept])
        low, high = (" x ".join(f"{v:.4g}" for v in ends) for ends in (values.min(0), values.max(0)))
        text = low if low == high else f"{low} to {high}"
        return f"{text} pixels" if images else f"spacing {text} mm"


def store_path(recipe: Recipe) -> str:
    """Where the recipe's store is: below its run, or its source, when that is a store already."""
    if read_settings(recipe.source) is not None:
        return recipe.source
    return str(recipe.run_dir / STORE)


def open_store(recipe: Recipe, **how: Any) -> Store:
    """The recipe's store, for the steps behind `prepare`.

    Args:
        how: of `Store.open`.

    Raises:
        ReadError: as `Store.open`.
        InvalidInputError: its voxels were prepared with other settings, or split otherwise. Of a source that is a store
            what the recipe gives is compared; not a CSV that is not on this machine.
    """
    path = store_path(recipe)
    store = Store.open(path, **how)
    settings = {key: value for key, value in _settings_of(recipe).items() if key not in ("sg_hub_store", "chunk")}
    there, own = store.settings.get(SPLIT), path != recipe.source
    if not own:
        settings = {key: value for key, value in settings.items() if key in recipe.prepare.model_fields_set}
        if recipe.split and not split_file(recipe.split).is_file():
            there = None
    _check_settings(path, store.settings, settings, own=own)
    if there:
        split = _split_of(recipe)
        given = {key for key in recipe.model_fields_set if getattr(recipe, key) not in (None, "")}
        _check_split(path, there, split if own else {key: split[key] for key in split if key in given})
    return store


def prepare(recipe: Recipe, *, converter: Converter = convert_all, progress: bool = True) -> Summary:
    """Fill the store of a recipe; returns (and prints) what was kept and what was skipped.

    Items whose source and settings have not changed are not read again. What was skipped is also in
    `skipped.jsonl` beside the table: one {source, reason} a line.

    Args:
        converter: of `training.data.on_ray`; absent: processes of this machine.

    Raises:
        ReadError: no such folder, no scans in it, none that can be read, or a store that cannot be written.
        InvalidInputError: two scans of one name, settings that mean nothing, another process that works in the run,
            or a store that was prepared with other settings.
    """
    started = time.monotonic()
    with process("cpu") as me:
        if read_settings(recipe.source) is not None:
            store = open_store(recipe)
            _say(me, f"{recipe.source} is a store of {len(store.items)} scans or images: nothing to prepare")
            return Summary(kept=store.items, already_there=len(store.items))
        items = me.told(list_items(recipe) if me.is_main else Items())
        with run_lock(recipe.run_dir):
            try:
                summary = _fill(recipe, items, converter, me, progress and me.is_main)
            except OSError as error:
                if isinstance(error, SgHubError):
                    raise
                raise unwritable(recipe.run_dir / STORE, error) from error
    summary.seconds = time.monotonic() - started
    _say(me, str(summary))
    said = said_of(recipe, Store.open(recipe.run_dir / STORE)) if me.is_main else recipe.publish
    left = [f"publish.{text}=..." for text in TEXTS if getattr(said, text) != getattr(recipe.publish, text)]
    if left:
        print(
            "  the recipe's texts about its data are left out, for these are other data: give "
            f"{', '.join(left)} for what the weights and their card shall say"
        )
    return summary


def _say(me: Process, text: str) -> None:
    if me.is_main:
        print(text)


def _fill(recipe: Recipe, items: Items, converter: Converter, me: Process, progress: bool) -> Summary:
    summary, waiting = Summary(skipped=items.skipped, absent=items.absent), list[Item]()
    folder = recipe.run_dir / STORE
    if me.is_main:
        group = _open_for_writing(folder, recipe)
        there = {item: _finished(group, item) for item in items.found}
        waiting = [item for item, stored in there.items() if stored is None]
        summary.kept = [stored for stored in there.values() if stored is not None]
        if waiting:  # until all is there again, it is not a finished store
            unfinish(folder)
    summary.kept, waiting = me.told((summary.kept, waiting))
    summary.already_there = len(summary.kept)
    mine = waiting[me.rank :: me.world]
    with closing(converter(recipe.prepare, str(folder), mine)) as results:
        bar = tqdm(results, total=len(mine), desc="preparing", unit="scan", disable=not progress)
        converted = me.gathered(list(bar))
    for item, result in converted:
        if isinstance(result, str):
            summary.skipped[item.source] = result
        else:
            summary.kept.append(result)
    if not summary.kept:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in sorted(summary.skipped.items())[:5])
        raise ReadError(f"none of the {len(summary.skipped)} scans in {recipe.source} can be used ({reasons})")
    _leave_other_channels(summary)
    summary.kept = _with_validation(sorted(summary.kept, key=lambda item: item.name), recipe)
    if me.is_main:
        lines = [json.dumps({"source": s, "reason": r}) + "\n" for s, r in sorted(summary.skipped.items())]
        write_atomic(folder / "skipped.jsonl", "".join(lines))
        attributes, split = zarr.open_group(str(folder), mode="r+").attrs, _split_of(recipe)
        if attributes.get(SPLIT) != split:
            unfinish(folder)
            attributes[SPLIT] = split
        write_table(folder, summary.kept)
        summary.megabytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6
    me.barrier()
    return summary


def _leave_other_channels(summary: Summary) -> None:
    """Skip scans of another number of channels than most have: a network takes one number."""
    counts = Counter(item.channels for item in summary.kept)
    most = max(counts, key=lambda channels: (counts[channels], -channels))
    for item in summary.kept:
        if item.channels != most:
            summary.skipped[item.source] = f"{item.channels} channels, where {counts[most]} others have {most}"
    summary.kept = [item for item in summary.kept if item.channels == most]


def _with_validation(items: list[StoredItem], recipe: Recipe) -> list[StoredItem]:
    """Where no patient is for validation, the recipe's share of the train patients, drawn by its seed."""
    train = sorted({item.patient for item in items if item.split == "train"})
    count = max(1, round(recipe.validation_share * len(train)))
    if recipe.validation_share <= 0 or count >= len(train) or any(item.split == "validation" for item in items):
        return items
    drawn = {train[i] for i in permutation(len(train), recipe.seed, "validation patients")[:count]}
    return [replace(item, split="validation") if item.patient in drawn else item for item in items]


def _settings_of(recipe: Recipe) -> dict[str, Any]:
    """What a store of the recipe holds of it."""
    prepare, images = recipe.prepare, recipe.model.ndim == 2
    settings: dict[str, Any] = {
        "sg_hub_store": FORMAT,
        "window": list(LEVELS if images else prepare.window),
        "spacing": list(prepare.spacing) if prepare.spacing and not images else None,
        "chunk": list(prepare.chunk),
    }
    if images:
        settings |= {"size": list(prepare.size), "channels": prepare.channels, "bits": prepare.bits}
    return settings


def _check_settings(folder: str | Path, there: dict[str, Any], settings: dict[str, Any], *, own: bool = True) -> None:
    changed = [f"{key} {there.get(key)}" for key in settings if there.get(key) != settings[key]]
    if changed:
        raise InvalidInputError(
            f"the store {folder} was prepared with another {', '.join(changed)}: "
            + (
                "give another run=FOLDER, set it back in the recipe, or remove the store to prepare it anew"
                if own
                else "give the recipe's [prepare] that (prepare.spacing=own for None), or the scans as source"
            )
        )


def _split_of(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe says who is in which split, but for its seed; the CSV by its content, wherever it lies."""
    rows = {key: [row.split, row.patient, row.of_image] for key, row in (read_split(recipe) or {}).items()}
    names = {str(word): recipe.split_names.get(str(word)) for word in sorted({str(row[0]) for row in rows.values()})}
    return {
        "split": hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16] if rows else None,
        "split_names": names,
        "patient": recipe.patient,
        "validation_share": None if "validation" in names.values() else recipe.validation_share,
    }


def _check_split(folder: str | Path, there: dict[str, Any], split: dict[str, Any]) -> None:
    changed = [key for key in split if there.get(key) != split[key]]
    if changed:
        raise InvalidInputError(
            f"the store {folder} was split with another {', '.join(changed)}, and still is: run `sg-hub prepare` again "
            "for what the recipe says now, or set it back"
        )


def _open_for_writing(folder: Path, recipe: Recipe) -> zarr.Group:
    settings, there = _settings_of(recipe), read_settings(str(folder))
    if there is not None:
        _check_settings(folder, there, settings)
    else:
        _refuse_foreign(folder)
    for place in (folder, folder / "scans"):
        for half in place.glob("*.partial"):  # zarr's own, of a process that was killed
            half.unlink(missing_ok=True)
    group = zarr.open_group(str(folder), mode="a")
    group.require_group("scans")
    if there is None:
        group.attrs.update(settings)
    return group


def _refuse_foreign(folder: Path) -> None:
    """Refuse a zarr group that is not ours: what is in it would be written over.

    Raises:
        InvalidInputError: it has attributes or arrays, and says nothing of a store.
    """
    if not (folder / "zarr.json").is_file() and not (folder / ".zgroup").is_file():
        return
    foreign = False
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):  # damaged: what a killed process left
        group = zarr.open_group(str(folder), mode="r")
        arrays = [array for _, array in group.arrays()]
        if isinstance(scans := group.get("scans"), zarr.Group):
            arrays += [array for _, array in scans.arrays()]
        foreign = bool(dict(group.attrs)) or any("stamp" not in array.attrs for array in arrays)
    if foreign:
        raise InvalidInputError(
            f"{folder} is a zarr group, and none of sg_hub: it is left as it is; give another run=FOLDER"
        )


def _finished(group: zarr.Group, item: Item) -> StoredItem | None:
    """The item as it stands in the store, if it is complete and its source has not changed."""
    try:
        array = group.get(f"scans/{item.name}")
        if array is None or not item.stamp or array.attrs.get("stamp") != item.stamp:
            return None
        return stored_item(item, array.attrs["record"])  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError):  # metadata of a write that was cut off by a crash, or damaged
        return None
