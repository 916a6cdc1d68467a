"""sg-hub init-target: the TOML of a target, of what lies in a folder. What was found is said; what was guessed, too."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sg_hub.errors import InvalidInputError, SgHubError
from sg_hub.io.files import check_output, given_path, write_atomic

from ..run.explain import toml_text
from ..targets import Item, Target, in_parts, load_target
from ..targets.look import Look, look, names_of_values
from .task.metrics import with_enough

MOST_UNREADABLE = 5
_STEPS = 400
_SHARES, _SEEDS = (0.15, 0.25, 0.35), 20
"""Shares of the patients for validation, and draws of each, that are tried."""


def init_target(folder: str | Path, out: str | Path | None = None, classes: Sequence[str] = ()) -> tuple[Path, str]:
    """Look at a folder and write a target for it, with a CSV beside it where the folder does not say enough itself.

    Args:
        out: the TOML; absent: NAME.toml in the current folder, after the folder.
        classes: names of the classes, in the order of their numbers in the label maps; or NAME=NUMBER of some, and the
            other numbers are background.

    Returns:
        the TOML, and what was found, in lines.

    Raises:
        InvalidInputError: nothing that can be trained on, a file that is there already, or another number of classes.
        ReadError: a folder that is not there, or cannot be read.
    """
    found = look(folder)
    called = unicodedata.normalize("NFKD", found.root.resolve().name)  # letters without their marks: ASCII has those
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", re.sub(r"[\u0300-\u036f]", "", called)).strip("-._") or "mine"
    path = check_output(given_path(out or f"{name}.toml", "the TOML to be written"), (".toml",))
    table = path.with_suffix(".csv")
    tabled = not found.table and bool(found.rows or found.patients)
    for file in (path, table) if tabled else (path,):
        if file.exists():
            raise InvalidInputError(f"{file} is there already and is left as it is: give another --out, or remove it")
    named = _classes(found, classes)
    if tabled:
        write_atomic(table, _table(found))
        found.table = os.path.relpath(table, found.root)
    lines = _toml(found, path, name, named)
    write_atomic(path, "\n".join([*lines, ""]))
    try:
        target = load_target(path)
        splits, said = _splits(target, found, named)
    except SgHubError:  # what is wrong with the folder is put right, and the same command is given again
        for file in (path, table) if tabled else (path,):
            file.unlink()
        raise
    if splits:
        write_atomic(path, "\n".join([*lines, "", "[splits]           # with every class in every part", *splits, ""]))
    return path, "\n".join([*_said(found, named), *_unmatched(target, found), *said])


def _classes(found: Look, given: Sequence[str]) -> dict[str, int]:
    """Names of the classes; of a segmentation with their numbers."""
    if not found.segments:
        if given and {*given} != {*found.classes}:
            raise InvalidInputError(
                f"--classes {' '.join(given)}: the images have {', '.join(found.classes)}: give these, in the order "
                "that you want, or leave --classes out"
            )
        return {name: number for number, name in enumerate(given or found.classes)}
    values = sorted(value for value in found.values if value != 0)
    if not values:
        raise InvalidInputError(
            f"{found.root / found.labels}: no label map that was looked into holds a number but 0: nothing is outlined"
        )
    if any("=" in name for name in given):
        return _numbered(given, values)
    if given and len(given) != len(values):
        shown = ", ".join(map(str, values))
        some = " ".join(f"{name}=NUMBER" for name in given)
        raise InvalidInputError(
            f"--classes has {len(given)} name{'s' * (len(given) != 1)}, and the label maps have the numbers {shown}: "
            f"give {len(values)} names, in that order, or say which numbers they are of, such as {some}"
        )
    if "" in given or len({*given}) < len(given):
        raise InvalidInputError(f"--classes {' '.join(given)}: each number needs a name of its own")
    names = given or [*names_of_values(found.root, values).values()]
    return dict(zip(names, values, strict=True))


def _numbered(given: Sequence[str], values: Sequence[int]) -> dict[str, int]:
    """The classes that were given with their numbers; the other numbers are background."""
    named: dict[str, int] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        if not name or not number.isdecimal() or int(number) not in values or int(number) in named.values():
            shown = ", ".join(map(str, values))
            raise InvalidInputError(
                f"--classes {text}: expected NAME=NUMBER, each with another of the label maps' numbers, {shown}"
            )
        named[name] = int(number)
    if len(named) < len(given):
        raise InvalidInputError(f"--classes {' '.join(given)}: each number needs a name of its own")
    return named


def _table(found: Look) -> str:
    """Which image is of which class and which patient."""
    text = io.StringIO()
    labels = dict(found.rows)
    header = ["image", *(["label"] if labels else []), *(["patient"] if found.patients else [])]
    rows = []
    for name, file in found.files.items():
        if name in found.without:
            continue
        image = file.relative_to(found.root / found.images).as_posix()
        label = [labels[image]] if labels else []
        rows.append([image, *label, *([found.patients[name]] if found.patients else [])])
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def _toml(found: Look, path: Path, name: str, classes: dict[str, int]) -> list[str]:
    head, metric = ("segmentation", "dice") if found.segments else ("classification", "auc")
    lines = [
        f"# Made by `sg-hub init-target {found.root}`. docs/reference/target.md has every key.",
        'reader = "folder"',
        f"name = {toml_text(name)}",
        f"root = {toml_text(os.path.relpath(found.root, path.parent))}",
        f"images = {toml_text(found.images)}",
        *([f"labels = {toml_text(found.labels)}"] if found.segments else []),
        *([f"table = {toml_text(found.table)}"] if found.table else []),
        *([f"channels = {found.channels}"] if found.channels > 1 else []),
        f"head = {toml_text(head)}",
        f"metric = {toml_text(metric)}",
        f"classes = {toml_text(list(classes))}",
        *([] if found.exclusive else ["exclusive = false"]),
        *([f"values = {toml_text(classes)}  # numbers of the label maps"] if found.segments else []),
    ]
    others = sorted(value for value in found.values if value not in (0, *classes.values())) if found.segments else []
    if others:
        lines.append(f"background = {toml_text(others)}  # numbers that no class has")
    grid = []
    if found.dims == 3 and not found.is_ct:
        grid = ['intensity = "percentile"         # the values are no HU', "low = 0.5", "high = 99.5"]
    absent = "spacing, window and patch" if found.dims == 3 else "window and size"
    lines += ["", "[grid]", f"# absent: {absent} as the weights expect them", *grid]
    lines += ["", "[settings]", f"steps = {_STEPS}", f"validate_every = {_STEPS // 8}"]
    return lines


def _splits(target: Target, found: Look, classes: dict[str, int]) -> tuple[list[str], list[str]]:
    """A draw of the patients that puts every class into every part: what the TOML says of it, and what is said of it.

    Nothing is looked at but the labels, so that no draw is better than another for some weights.
    """
    least = (2, 1) if not found.segments else (1,)  # with one item of a class, an AUC is 0 or 1
    for count, share, seed in itertools.product(least, _SHARES, range(_SEEDS)):
        drawn = target.splits.model_copy(update={"validation": share, "seed": seed})
        try:
            items = target.model_copy(update={"splits": drawn}).split_items().items
        except InvalidInputError as error:
            return [], [f"cannot be trained on yet: {error}"]
        if all(_classes_in(part, found, target, classes, count) for part in in_parts(items).values()):
            counts = ", ".join(f"{len(part)} for {name}" for name, part in in_parts(items).items())
            given = {"validation": share, "seed": seed}
            usual = target.splits.model_dump()
            lines = [f"{key} = {toml_text(value)}" for key, value in given.items() if value != usual[key]]
            return lines, [f"split by patient: {counts}"]
    return [], ["split by patient: no draw puts every class into every part; give more items, or a class fewer"]


def _classes_in(items: list[Item], found: Look, target: Target, classes: dict[str, int], least: int) -> bool:
    """Whether every class is in some of the items; of a classification in `least` of them, and other items."""
    if not found.segments:
        curves = len(target.classes) - (len(target.classes) == 2 and target.exclusive)  # two classes have one
        labels = np.array([item.label for item in items])
        if len(with_enough(labels, target.classes, target.exclusive, least)) < curves:
            return False
        return curves == len(target.classes) or int((labels == 0).sum()) >= least  # the class without a curve
    if any(item.name not in found.present for item in items):
        return True  # many items, of which not all were looked into
    return {*classes.values()} <= set().union(*(found.present[item.name] for item in items))


def _unmatched(target: Target, found: Look) -> list[str]:
    """Rows of a table without an image, and images without a row, in lines."""
    if found.segments or found.rows:
        return []
    try:
        there = target.find()
    except InvalidInputError:  # which is said of the split
        return []
    rows = [name for name in there.skipped if name not in found.files]
    images = sorted(found.files.keys() - {item.name for item in there.items})
    lines = [f"rows of {found.table} without an image: {len(rows)}, such as {rows[0]}"] if rows else []
    return lines + ([f"left out, for no row names them: {len(images)}, such as {images[0]}"] if images else [])


def _said(found: Look, classes: dict[str, int]) -> list[str]:
    """What was found, in lines."""
    kind = "scans (3D)" if found.dims == 3 else "pictures (2D)"
    patients = len({*found.patients.values()}) if found.patients else len(found.files)
    whose = found.whose if found.patients else "each image its own; a table with the column patient says otherwise"
    lines = [
        f"images: {len(found.files)} {kind} in {found.root / found.images}",
        *(f"  {line}" for line in found.lines),
        f"patients: {patients} ({whose})",
    ]
    if found.segments:
        pairs = len(found.files) - len(found.without)
        lines.append(f"label maps: {pairs} in {found.root / found.labels}")
        lines += [f"  {name}: number {value}, in {found.values[value]} of them" for name, value in classes.items()]
    else:
        lines.append("classes: " + ", ".join(f"{name} ({found.classes[name]} images)" for name in classes))
    if found.blank:
        lines.append(
            f"{found.blank} rows of {found.table} have no label, which says that the image has none of the classes: "
            "take out rows of images that nobody has labelled"
        )
    if found.without:
        lines.append(f"left out, for there is no label map: {len(found.without)}, such as {found.without[0]}")
    if found.unused:
        lines.append(f"label maps without an image: {len(found.unused)}, such as {found.unused[0]}")
    if found.dims == 3:
        lines.append(
            "modality: CT, by its values" if found.is_ct else "modality: no CT, by its values; percentiles are used"
        )
    unreadable = list(found.unreadable.values())
    lines += [f"cannot be read: {why}" for why in unreadable[:MOST_UNREADABLE]]
    if len(unreadable) > MOST_UNREADABLE:
        lines.append(f"cannot be read: {len(unreadable) - MOST_UNREADABLE} more")
    return lines
