"""The scans (or images) of a recipe: which there are, whose they are, and which split each patient belongs to."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.image import FORMATS, IMAGE_SUFFIXES

from ..run.recipe import Recipe

SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
HEADERS = (".mhd", ".nhdr")
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


def find_images(source: str | Path) -> dict[str, Path]:
    """Images below a folder by name, the file's without its suffix.

    Links are followed; hidden files and folders, and stores, are not looked at.

    Raises:
        ReadError: no such folder, or no images in it.
        InvalidInputError: two images of one name.
    """
    root = _root(source)
    found: dict[str, Path] = {}
    for folder, names in _walk(root):
        for path in (folder / name for name in names):
            if path.suffix.lower() in IMAGE_SUFFIXES or (not path.suffix and _is_dicom(path)):
                _add(found, path.stem if path.suffix else path.name, path)
    if not found:
        raise ReadError(f"no images below {root}: looked for {FORMATS}")
    return found


def find_scans(source: str | Path) -> dict[str, Path]:
    """Scans below a folder by patient name: a file's stem, or a DICOM folder's path with _ for /.

    Links are followed; hidden files and folders, and stores, are not looked at.

    Raises:
        ReadError: no such folder, or no scans in it.
        InvalidInputError: two scans of one name.
    """
    root = _root(source)
    found: dict[str, Path] = {}
    for folder, names in _walk(root):
        paths = [folder / name for name in names if name.lower().endswith(SUFFIXES)]
        if any(_is_dicom(folder / name) for name in names if not name.lower().endswith(SUFFIXES)):
            paths.append(folder)
        for path in paths:
            _add(found, _patient_name(path, root), path)
    if not found:
        raise ReadError(f"no scans below {root}: looked for {', '.join(SUFFIXES)} files and DICOM folders")
    return found


def _root(source: str | Path) -> Path:
    root = Path(source).expanduser()
    if not root.is_dir():
        raise ReadError(f"source {source} is not a folder: give source=FOLDER of scans, or the URL of a store")
    return root


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below `root` with the names of its files, both sorted."""
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and not name.endswith(".zarr")
            and os.path.realpath(os.path.join(folder, name)) not in seen
        )
        yield Path(folder), sorted(name for name in files if not name.startswith("."))


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    if name in found:
        raise InvalidInputError(
            f"two scans would be patient {name!r}: {found[name]} and {path}; rename one of them, or "
            "give a source folder that holds one of them"
        )
    found[name] = path


def _patient_name(path: Path, root: Path) -> str:
    if path.is_dir():
        relative = path.relative_to(root).as_posix()
        return (root.name if relative == "." else relative).replace("/", "_")
    suffix = next(s for s in SUFFIXES if path.name.lower().endswith(s))
    return path.name[: -len(suffix)]


def _is_dicom(path: Path) -> bool:
    """By its suffix, or by the mark that DICOM files have at byte 128."""
    if path.name.lower().endswith((".dcm", ".ima")):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


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
    scans = find_scans(root) if recipe.model.ndim == 3 else find_images(root)
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
            rows = [key for key in dict.fromkeys((name, path.name, source, person)) if key in given]
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
        key = row.get("image") or row["patient"]
        if given.setdefault(key, Row(row["split"], row["patient"])).split != row["split"]:
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
