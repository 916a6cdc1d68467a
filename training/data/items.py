"""The items of a recipe: which scans (or images) there are, whose they are, and which split each patient belongs to."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import SCAN_SUFFIXES, find_images, find_scans, plain_name
from sg_hub.io.formats.picture_files import FORMATS
from sg_hub.io.scan_files import files_of

from ..run.recipe import Recipe
from .split_table import read_split


@dataclass(frozen=True)
class Item:
    """One scan or image below the recipe's source."""

    name: str
    patient: str
    """Whose it is."""
    ndim: int
    """3: a scan; 2: an image."""
    path: str
    source: str
    """The path below the recipe's source."""
    split: str
    stamp: str
    """Name, size and time of change of its files."""


@dataclass
class Items:
    """What there is for a recipe, and what is not."""

    found: list[Item] = field(default_factory=list)
    """By name."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by source: the recipe gives it no split."""
    absent: list[str] = field(default_factory=list)
    """Patients that the recipe's CSV names and that have no item."""


def patient_scans(source: str | Path) -> dict[str, Path]:
    """Scans below a folder by name: a file's stem, or a DICOM folder's path with _ for /.

    Raises:
        ReadError: no such folder, or no scans in it.
        InvalidInputError: two scans of one name.
    """
    root = _root(source)
    found = _named(
        (name.replace("/", "_") if path.is_dir() else name.rpartition("/")[2], path)
        for name, path in find_scans(root).items()
    )
    if not found:
        raise ReadError(f"no scans below {root}: looked for {', '.join(SCAN_SUFFIXES)} files and DICOM folders")
    return found


def named_images(source: str | Path) -> dict[str, Path]:
    """Images below a folder by name, the file's without its suffix. Errors as for `patient_scans`."""
    root = _root(source)
    found = _named((name.rpartition("/")[2], path) for name, path in find_images(root).items())
    if not found:
        raise ReadError(f"no images below {root}: looked for {FORMATS}")
    return found


def _root(source: str | Path) -> Path:
    root = Path(source).expanduser()
    if not root.is_dir():
        raise ReadError(f"source {source} is not a folder: give source=FOLDER of scans, or the URL of a store")
    return root


def _named(entries: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, path in entries:
        if name in found:
            raise InvalidInputError(
                f"two scans would be called {name!r}: {found[name]} and {path}; rename one of them, or "
                "give a source folder that holds one of them"
            )
        found[name] = path
    return found


def list_items(recipe: Recipe) -> Items:
    """The scans (or images) below a recipe's source, with their splits.

    Raises:
        ReadError: no such folder or CSV, or no scans.
        InvalidInputError: two scans of one name, or two splits of one patient; or the CSV and the recipe's pattern do
            not agree whose they are.
    """
    root = Path(recipe.source).expanduser()
    paths = patient_scans(root) if recipe.model.ndim == 3 else named_images(root)
    given = read_split(recipe)
    if recipe.model.ndim == 2 and recipe.patient is None and given is None:
        raise InvalidInputError(
            "nothing says whose an image is, and patients are split, not images: give patient=REGULAR_EXPRESSION with "
            "the patient in its first group ('(.*)' where each image is of another), or a split CSV"
        )
    items, named, owner = Items(), set[str](), dict[str, Path]()
    for name, path in sorted(paths.items()):
        source = path.relative_to(root).as_posix()
        split, patient = "train", _patient(recipe, name, source)
        if patient is None:
            items.skipped[source] = f"the recipe's patient pattern {recipe.patient!r} does not match its path"
            continue
        if given is not None:
            keys = dict.fromkeys(plain_name(key) for key in (name, path.name, source, patient))
            rows = [key for key in keys if key in given]
            if len({given[key].split for key in rows}) > 1:
                raise InvalidInputError(f"{recipe.split} gives {source} several splits, as {' and as '.join(rows)}")
            last = plain_name(path.name)
            other = owner.setdefault(last, path) if last in rows else path
            if other != path and rows == [last] and last != patient:
                raise InvalidInputError(
                    f"{recipe.split} has {last!r}, which {other.relative_to(root)} and {source} are called: name them "
                    f"there by their paths, such as {source}"
                )
            if not rows:
                who = f"patient {patient!r}" if name == patient else f"{name!r}, of patient {patient!r},"
                items.skipped[source] = f"{who} is not in {recipe.split}"
                continue
            named.update(rows)
            row = given[rows[0]]
            if row.split not in recipe.split_names:
                known = ", ".join(recipe.split_names)
                items.skipped[source] = f"its split {row.split!r} is none of split_names ({known})"
                continue
            split = recipe.split_names[row.split]
            if row.of_image or (recipe.model.ndim == 2 and recipe.patient is None):
                patient = row.patient
        items.found.append(Item(name, patient, recipe.model.ndim, str(path), source, split, stamp(path)))
    _check_patients(items.found, recipe)
    items.absent = sorted(set(given or ()) - named)
    return items


def _patient(recipe: Recipe, name: str, source: str) -> str | None:
    if recipe.patient is None:
        return name
    found = re.search(recipe.patient, source)
    return (found.group(1) or None) if found else None


def _check_patients(items: list[Item], recipe: Recipe) -> None:
    """Refuse a patient whose scans or images are in several splits, by the CSV's word and by the recipe's pattern; and
    one by the pattern who is several by the CSV, for those might be drawn apart."""
    splits: dict[tuple[str, str], str] = {}
    people: dict[str, str] = {}
    for item in items:
        by_path = _patient(recipe, item.name, item.source) or item.patient
        for patient in {("", item.patient), ("by its path ", by_path)}:
            if splits.setdefault(patient, item.split) != item.split:
                raise InvalidInputError(
                    f"{recipe.split} has items of patient {patient[1]!r} {patient[0]}in {splits[patient]!r} and in "
                    f"{item.split!r}: patients are split, not their scans or images"
                )
        if people.setdefault(by_path, item.patient) != item.patient:
            raise InvalidInputError(
                f"{recipe.split} has items of patient {by_path!r} by its path as of {people[by_path]!r} and of "
                f"{item.patient!r}: give them one patient there, or leave out the recipe's pattern"
            )


def stamp(path: Path) -> str:
    """Empty where the files cannot be looked at; reading them says why."""
    with suppress(OSError):
        files = sorted(files_of(path))
        text = ";".join(f"{p.name}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in files)
        return text if len(text) < 1000 else hashlib.sha256(text.encode()).hexdigest()
    return ""
