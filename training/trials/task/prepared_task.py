"""A target that is ready for trials: its items found, split, checked and read. Every check is made here, once."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sg_hub.errors import InvalidInputError, SgHubError
from sg_hub.io.files import write_atomic

from ...data.leakage import check_disjoint, check_unseen, told_by_name
from ...targets import Found, Item, Target, identities, in_parts
from ...targets.sections import Settings
from .initialisation import Initialisation, seen_by
from .item_arrays import ITEMS, ItemArrays
from .metrics import with_enough

_LATER = ("lr_factor", "head_first", "keep")
"""Settings that are younger than the protocol: where they are as they were before there were any, keys are, too."""
MOST_UNREADABLE = 0.1
"""Share of the items that may turn out to be unreadable; they are left out, and listed with the reason."""


@dataclass(frozen=True)
class PreparedTask:
    """A target whose items are found, split, checked and read."""

    target: Target
    items: list[Item]
    arrays: ItemArrays
    scored: tuple[str, ...]
    """The classes that have a score: the same where the step is chosen and where it is tested."""
    key: str
    """A hash of everything of it that determines a trial."""
    skipped: dict[str, str]
    """What was left out, and why."""
    seen: int
    """Patients who are trained on because weights were pre-trained on them (`splits.pretrained`)."""
    unchecked: dict[str, str]
    """By initialisation, why it cannot be told whether it has seen test patients; empty where it has seen none."""


@dataclass(frozen=True)
class FoundTask:
    """A target whose items are found, split and checked, and of which none is read yet."""

    target: Target
    found: Found
    unchecked: dict[str, str]


def find_items(
    target: Target, starts: Sequence[Initialisation], *, seen: Collection[str] = (), progress: bool = True
) -> FoundTask:
    """Find the items of a target, split them, and check everything that can be checked before hours of work.

    Args:
        starts: the initialisations that are held against each other; those of other dimensions count for
            `splits.pretrained` only.
        seen: hashes of patients who count for `splits.pretrained`, too.

    Raises:
        InvalidInputError: parts that share patients or hold too little, a network that does not take the items, or test
            patients that were pre-trained on.
        ReadError: see `Target.find`.
    """
    seen = {*seen, *seen_by(starts)}
    fitting = [start for start in starts if start.ndim == target.ndim]
    if starts and not fitting:
        named = ", ".join(start.init for start in starts)
        such = f"semantic-genesis-{target.ndim}d-tiny"
        raise InvalidInputError(
            f"target {target.name} takes a {target.ndim}D network, and none of these is one: {named}. Its images are "
            f"{target.data_ndim}D: give weights such as {such}"
        )
    for start in fitting:
        start.check_fits(target)
    found = target.split_items(seen)
    if found.seen:
        print(f"{target.name}: {found.seen} patients of the pre-training are trained on, not tested", flush=True)
    check_disjoint(identities(target.dataset, found.items))
    scored_classes(target, found.items)
    return FoundTask(target, found, check_seen(fitting, target, found.items, progress=progress))


def check_seen(
    fitting: Sequence[Initialisation], target: Target, items: list[Item], *, progress: bool = True
) -> dict[str, str]:
    """Refuse weights that have seen a test patient; gives, by initialisation, why that cannot be told.

    Raises:
        InvalidInputError: naming some of the patients.
    """
    names = identities(target.dataset, items)
    compared = [start.provenance for start in fitting if _needs_images(start.provenance, target, names["test"])]
    images = images_of(target, in_parts(items)["test"], progress=progress) if compared else None
    unchecked = {}
    for start in fitting:
        unchecked[start.init] = check_unseen(start.provenance, target.dataset, names["test"], images)
        if unchecked[start.init]:
            print(f"warning: {target.name}, {start.init}: {unchecked[start.init]}", flush=True)
    return unchecked


def _needs_images(provenance: Mapping[str, Any], target: Target, test: list[str]) -> bool:
    """Whether test patients are compared with those of the pre-training by their images, for names do not say it."""
    return bool(provenance.get("images")) and not told_by_name(provenance, target.dataset, test)


def images_of(target: Target, items: list[Item], *, progress: bool = True) -> dict[str, tuple[str, ...]]:
    """What the image of each item is known by, by the item's name; none where it cannot be told."""
    known: dict[str, tuple[str, ...]] = {}
    last: tuple[str, tuple[str, ...]] = ("", ())
    shared = type(target).image_hashes is Target.image_hashes  # items of one scan follow one another
    for item in tqdm(items, f"comparing images of {target.name}", unit="item", disable=not progress, leave=False):
        if not (shared and item.image == last[0]):
            try:
                last = (item.image, target.image_hashes(item))
            except SgHubError:  # which is said when it is read
                last = (item.image, ())
        known[item.name] = last[1]
    return known


def read_items(task: FoundTask, out: str | Path, *, progress: bool = True) -> PreparedTask:
    """Read the items of a target. What is left out is written to `<out>/skipped/<target>.csv`, with the reason.

    Raises:
        InvalidInputError: too many items that cannot be read, or too few that are left.
    """
    target, found = task.target, task.found
    arrays = ItemArrays(target, Path(out) / ITEMS)
    unreadable = arrays.prepare(found.items, progress=progress)
    if len(unreadable) > MOST_UNREADABLE * len(found.items):
        item, why = next(iter(unreadable.items()))
        raise InvalidInputError(
            f"target {target.name}: {len(unreadable)} of {len(found.items)} items cannot be read, such as {item}: {why}"
        )
    items = [item for item in found.items if item.name not in unreadable]
    scored = scored_classes(target, items)
    check_labels(target, arrays, items)
    if said := copies(target, items, {item.name: arrays.pixels(item) for item in items}):
        print(f"warning: {said}", flush=True)
    skipped = found.skipped | unreadable
    _write_skipped(target, len(items), skipped, Path(out))
    key = _key(target, arrays, items)
    return PreparedTask(target, items, arrays, scored, key, skipped, found.seen, task.unchecked)


def copies(target: Target, items: list[Item], pixels: Mapping[str, str]) -> str:
    """What is said of items whose image is, under another name, in another part, too; empty where there are none.

    Args:
        pixels: hashes of the images, by item; items without one are not compared.
    """
    known: dict[str, Item] = {}
    pairs: list[tuple[Item, Item]] = []
    for item in (item for found in in_parts(items).values() for item in found):
        other = known.setdefault(pixels.get(item.name) or item.name, item)
        if other.split != item.split and (other.image, other.place) != (item.image, item.place):
            pairs.append((item, other))
    if not pairs:
        return ""
    item, other = pairs[-1]
    count = "1 item has" if len(pairs) == 1 else f"{len(pairs)} items have"
    return (
        f"target {target.name}: {count} the image of one in another part, such as {item.name} ({item.split}) that of "
        f"{other.name} ({other.split}): give both the same patient, or leave one"
    )


def _write_skipped(target: Target, items: int, skipped: dict[str, str], out: Path) -> None:
    if not skipped:
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("item", "reason"), *sorted(skipped.items())])
    write_atomic(out / "skipped" / f"{target.name}.csv", text.getvalue())
    item, why = min(skipped.items())
    print(f"{target.name}: {items} items; {len(skipped)} left out, such as {item}: {why}", flush=True)


def _key(target: Target, arrays: ItemArrays, items: list[Item]) -> str:
    settings = target.model_dump(mode="json", exclude={"root", "title", "description", "code", "doubtful"})
    for name in _LATER:
        if settings["settings"][name] == Settings.model_fields[name].default:
            del settings["settings"][name]
    if target.splits.file is not None:  # its name; what it says is in the rows
        settings["splits"]["file"] = Path(target.splits.file).name
    settings["doubtful"] = sorted(target.doubtful)
    return hashlib.sha256(json.dumps([settings, described(items, arrays)], sort_keys=True).encode()).hexdigest()


def described(items: Sequence[Item], arrays: ItemArrays) -> list[Any]:
    """All of the items that determines a result, in JSON types: their parts, labels, and what is in their files."""
    return [
        (c.name, c.patient, c.split, None if isinstance(c.label, str) else c.label, c.place, arrays.content(c))
        for c in items
    ]


def scored_classes(target: Target, items: list[Item]) -> tuple[str, ...]:
    """The classes that have a score: of a classification those with enough positives in the test part and (a third of
    that) in the validation part, so that the step is chosen by what it is tested by.

    Raises:
        InvalidInputError: a part without items, or no class that has enough in both parts.
    """
    kept: tuple[str, ...] = target.classes
    for part, found in in_parts(items).items():
        if not found:
            raise InvalidInputError(f"target {target.name}: no item is left for {part}")
        if target.head == "segmentation" or part == "train":
            continue
        least = target.min_positives if part == "test" else max(1, target.min_positives // 3)
        labels = np.array([item.label for item in found])
        enough = with_enough(labels, target.classes, target.exclusive, least)
        kept = tuple(name for name in kept if name in enough)
        if not kept:
            others = f" ({', '.join(enough)} have too few validation items)" if enough else ""
            raise InvalidInputError(
                f"target {target.name}, {part} part: no AUC: of {len(found)} items, no class has {least} positives and "
                f"at least one negative{others}; give more items, a larger splits.{part}, or say who is in it (the "
                "column split, or splits.file=CSV)"
            )
    return kept


def check_labels(target: Target, arrays: ItemArrays, items: list[Item]) -> None:
    """Refuse label maps in which a class never occurs: nothing could be said of it.

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
