"""The scans (or images) of a recipe: which there are, whose they are, and which split each patient belongs to."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import SCAN_SUFFIXES, find_images, find_scans, plain_name
from sg_hub.io.image import FORMATS

from ..run.recipe import Recipe

HEADERS = (".mhd", ".nhdr", ".hdr")
"""Files whose voxels stand in another file of the same stem."""


@dataclass(frozen=True)
class Job:
    """One scan or image to read."""

    name: str
    person: str
    """Whose it is; of scans, each is of another."""
    ndim: int
    """3: a scan; 2: an image."""
    path: str
    source: str
    split: str
    stamp: str
    """Name, size and time of change of its files."""


def patient_scans(source: str | Path) -> dict[str, Path]:
    """Scans below a folder by patient name: a file's stem, or a DICOM folder's path with _ for /.

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
                f"two scans would be patient {name!r}: {found[name]} and {path}; rename one of them, or "
                "give a source folder that holds one of them"
            )
        found[name] = path
    return found


def list_jobs(recipe: Recipe) -> tuple[list[Job], dict[str, str], list[str]]:
    """The scans (or images) below a recipe's source, with their splits.

    Returns:
        jobs, by patient name; scans to skip, with the reason, because the recipe's CSV gives them no split;
        and the patients of the CSV that have no scan.

    Raises:
        ReadError: no such folder or CSV, or no scans.
        InvalidInputError: two scans of one name, or two splits of one patient.
    """
    root = Path(recipe.source).expanduser()
    scans = patient_scans(root) if recipe.model.ndim == 3 else named_images(root)
    given = read_split(recipe)
    if recipe.model.ndim == 2 and recipe.patient is None and given is None:
        raise InvalidInputError(
            "nothing says whose an image is, and patients are split, not images: give patient=REGULAR_EXPRESSION with "
            "the patient in its first group ('(.*)' where each image is of another), or a split CSV"
        )
    jobs: list[Job] = []
    skipped: dict[str, str] = {}
    named = set()
    for name, path in sorted(scans.items()):
        source = path.relative_to(root).as_posix()
        split, person = "train", _person(recipe, name, source)
        if person is None:
            skipped[source] = f"the recipe's patient pattern {recipe.patient!r} does not match its path"
            continue
        if given is not None:
            keys = dict.fromkeys(plain_name(key) for key in (name, path.name, source, person))
            rows = [key for key in keys if key in given]
            if len({given[key].split for key in rows}) > 1:
                raise InvalidInputError(f"{recipe.split} gives {source} several splits, as {' and as '.join(rows)}")
            row = rows[0] if rows else None
            if row is None:
                skipped[source] = f"patient {person!r} is not in {recipe.split}"
                continue
            named.update(rows)
            word, person = given[row].split, given[row].patient if recipe.model.ndim == 2 else person
            if word not in recipe.split_names:
                known = ", ".join(recipe.split_names)
                skipped[source] = f"its split {word!r} is none of split_names ({known})"
                continue
            split = recipe.split_names[word]
        jobs.append(Job(name, person, recipe.model.ndim, str(path), source, split, stamp(path)))
    _check_persons(jobs, recipe)
    return jobs, skipped, sorted(set(given or ()) - named)


@dataclass(frozen=True)
class Row:
    """Of the recipe's CSV."""

    split: str
    """In the words of the CSV."""
    patient: str


def _person(recipe: Recipe, name: str, source: str) -> str | None:
    if recipe.model.ndim == 3 or recipe.patient is None:
        return name
    found = re.search(recipe.patient, source)
    return found.group(1) if found else None


def _check_persons(jobs: list[Job], recipe: Recipe) -> None:
    """Refuse a person whose images are in several splits, by the CSV's word and by the recipe's pattern."""
    splits: dict[tuple[str, str], str] = {}
    for job in jobs:
        by_path = _person(recipe, job.name, job.source) or job.person
        for person in {("", job.person), ("by its path ", by_path)}:
            if splits.setdefault(person, job.split) != job.split:
                raise InvalidInputError(
                    f"{recipe.split} has images of patient {person[1]!r} {person[0]}in {splits[person]!r} and in "
                    f"{job.split!r}: patients are split, not images"
                )


def read_split(recipe: Recipe) -> dict[str, Row] | None:
    """What the recipe's CSV says of each patient, or of each image where it has a column of that name."""
    if recipe.split is None:
        return None
    try:
        shipped = Path(__file__).parent.parent / "recipes" / recipe.split
        path = shipped if shipped.is_file() else Path(recipe.split).expanduser()
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(f"the recipe's split {recipe.split} cannot be read: {error}") from error
    if not rows or not {"patient", "split"} <= rows[0].keys():
        raise ReadError(f"{recipe.split}: expected a CSV with the columns patient and split")
    given: dict[str, Row] = {}
    for row in rows:
        patient = plain_name(row["patient"])
        key = plain_name(row.get("image") or patient)
        if given.setdefault(key, Row(row["split"], patient)).split != row["split"]:
            raise InvalidInputError(
                f"{recipe.split} has {'image' if row.get('image') else 'patient'} {key!r} in {given[key].split!r} and "
                f"in {row['split']!r}: leave one"
            )
    return given


def stamp(path: Path) -> str:
    """Empty where the files cannot be looked at; reading them says why."""
    files = [path]
    with suppress(OSError):
        if path.is_dir():
            files = [p for p in path.iterdir() if p.is_file()]
        elif path.name.lower().endswith(HEADERS):
            files = [p for p in path.parent.iterdir() if p.name.startswith(f"{path.stem}.")]
        text = ";".join(f"{p.name}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in sorted(files))
        return text if len(text) < 1000 else hashlib.sha256(text.encode()).hexdigest()
    return ""
