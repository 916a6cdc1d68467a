"""A target that is ready for trials: its items found, split, checked and read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sg_hub.errors import InvalidInputError
from sg_hub.io.files import write_atomic

from ..data.leakage import check_disjoint
from ..targets import Found, Item, Target, identities, in_parts, load_target
from .item_arrays import ItemArrays
from .metrics import auc_by_class

MOST_UNREADABLE = 0.1
"""Share of the items that may turn out to be unreadable; they are left out, and listed with the reason."""


@dataclass(frozen=True)
class PreparedTask:
    """A target whose items are found, split, checked and read."""

    target: Target
    items: list[Item]
    arrays: ItemArrays
    key: str
    """A hash of everything of it that determines a trial."""
    skipped: dict[str, str]
    """What was left out, and why."""


def find_task(name: str, data: str | Path | None = None, overrides: Sequence[str] = ()) -> tuple[Target, Found]:
    """Read a target, and find, split and check its items, of which none is read yet.

    Args:
        data: folder that stands for `data/` in the root of a shipped target.
        overrides: `key=value`, or `TARGET:key=value` for this target alone.

    Raises:
        InvalidInputError, ReadError: see `load_target`, `Target.split_items` and `check_parts`.
    """
    target = load_target(name, overrides, data)
    found = target.split_items()
    check_parts(target, found.items)
    return target, found


def read_task(target: Target, found: Found, out: str | Path, *, progress: bool = True) -> PreparedTask:
    """Read the items of a target. What is left out is written to `<out>/skipped/<target>.csv`, with the reason.

    Raises:
        InvalidInputError: too many items that cannot be read; see also `check_parts` and `check_labels`.
    """
    arrays = ItemArrays(target, Path(out) / "items")
    unreadable = arrays.prepare(found.items, progress=progress)
    if len(unreadable) > MOST_UNREADABLE * len(found.items):
        item, why = next(iter(unreadable.items()))
        raise InvalidInputError(
            f"target {target.name}: {len(unreadable)} of {len(found.items)} items cannot be read, such as {item}: {why}"
        )
    items = [item for item in found.items if item.name not in unreadable]
    if unreadable:
        check_parts(target, items)
    check_labels(target, arrays, items)
    skipped = found.skipped | unreadable
    _write_skipped(target, len(items), skipped, Path(out))
    return PreparedTask(target, items, arrays, _key(target, arrays, items), skipped)


def _write_skipped(target: Target, items: int, skipped: dict[str, str], out: Path) -> None:
    if not skipped:
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("item", "reason"), *sorted(skipped.items())])
    write_atomic(out / "skipped" / f"{target.name}.csv", text.getvalue())
    item, why = min(skipped.items())
    print(f"{target.name}: {items} items; {len(skipped)} left out, such as {item}: {why}", flush=True)


def _key(target: Target, arrays: ItemArrays, items: list[Item]) -> str:
    settings = target.model_dump(mode="json", exclude={"root", "title", "description", "code"})
    if target.splits.file is not None:  # its name; what it says is in the rows
        settings["splits"]["file"] = Path(target.splits.file).name
    rows = [
        (c.name, c.patient, c.split, None if isinstance(c.label, str) else c.label, c.place, arrays.content(c))
        for c in items
    ]
    return hashlib.sha256(json.dumps([settings, rows], sort_keys=True).encode()).hexdigest()


def check_parts(target: Target, items: list[Item]) -> None:
    """Refuse a target whose parts share patients, or hold too little to be measured, before anything is trained.

    Raises:
        InvalidInputError: saying what is shared or missing.
    """
    parts = in_parts(items)
    check_disjoint(identities(target.dataset, items))
    for part in ("train", "validation", "test"):
        if not parts[part]:
            raise InvalidInputError(f"target {target.name}: no item is left for {part}")
    if target.head == "classification":
        for part, least in (("validation", max(1, target.min_positives // 3)), ("test", target.min_positives)):
            values = np.array([item.label for item in parts[part]])
            blank = np.zeros((len(values), len(target.classes)))
            try:
                auc_by_class(blank, values, target.classes, target.exclusive, least)
            except InvalidInputError as error:
                raise InvalidInputError(
                    f"target {target.name}, {part} part: {error}; give more items, a larger splits.{part}, or say who "
                    "is in it (the column split, or splits.file=CSV)"
                ) from error


def check_labels(target: Target, arrays: ItemArrays, items: list[Item]) -> None:
    """Refuse masks in which a class never occurs: an empty mask that is found empty would count as right.

    Raises:
        InvalidInputError: naming the class and the part.
    """
    if target.head != "segmentation":
        return
    for part, found in in_parts(items).items():
        present: set[int] = set()
        for item in found:
            present |= arrays.classes(item)
            if len(present) == len(target.classes):
                break
        for number, name in enumerate(target.classes, 1):
            if number not in present:
                raise InvalidInputError(
                    f"target {target.name}: no label map of the {part} part ({len(found)} items) has the class "
                    f"{name!r}: give more items, or say in `values` which number it has"
                )
