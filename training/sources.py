"""The scans of a recipe: which there are, whose they are, and which split each patient belongs to."""

from __future__ import annotations

import csv
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sg_hub.errors import InvalidInputError, ReadError
from training.recipe import Recipe

SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr")
HEADERS = (".mhd", ".nhdr")
"""Files whose voxels stand in another file of the same stem."""


@dataclass(frozen=True)
class Job:
    """One scan to read."""

    name: str
    path: str
    source: str
    split: str
    stamp: str
    """Name, size and time of change of its files."""


def find_scans(source: str | Path) -> dict[str, Path]:
    """Scans below a folder by patient name: a file's stem, or a DICOM folder's path with _ for /.

    Links are followed; hidden files and folders, and stores, are not looked at.

    Raises:
        ReadError: no such folder, or no scans in it.
        InvalidInputError: two scans of one name.
    """
    root = Path(source).expanduser()
    if not root.is_dir():
        raise ReadError(f"source {source} is not a folder: give source=FOLDER of scans, or the URL of a store")
    found: dict[str, Path] = {}
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
        names = sorted(name for name in files if not name.startswith("."))
        paths = [Path(folder) / name for name in names if name.lower().endswith(SUFFIXES)]
        if any(_is_dicom(Path(folder) / name) for name in names if not name.lower().endswith(SUFFIXES)):
            paths.append(Path(folder))
        for path in paths:
            name = _patient_name(path, root)
            if name in found:
                raise InvalidInputError(
                    f"two scans would be patient {name!r}: {found[name]} and {path}; rename one of them, or "
                    "give a source folder that holds one of them"
                )
            found[name] = path
    if not found:
        raise ReadError(f"no scans below {root}: looked for {', '.join(SUFFIXES)} files and DICOM folders")
    return found


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
    """The scans below a recipe's source, with their splits.

    Returns:
        jobs, by patient name; scans to skip, with the reason, because the recipe's CSV gives them no split;
        and the patients of the CSV that have no scan.

    Raises:
        ReadError: no such folder or CSV, or no scans.
        InvalidInputError: two scans of one name, or two splits of one patient.
    """
    root = Path(recipe.source).expanduser()
    scans, given = find_scans(root), read_split(recipe)
    jobs: list[Job] = []
    skipped: dict[str, str] = {}
    named = set()
    for name, path in sorted(scans.items()):
        source = path.relative_to(root).as_posix()
        split = "train"
        if given is not None:
            row = name if name in given else source
            if row not in given:
                skipped[source] = f"patient {name!r} is not in {recipe.split}"
                continue
            named.add(row)
            if given[row] not in recipe.split_names:
                known = ", ".join(recipe.split_names)
                skipped[source] = f"its split {given[row]!r} is none of split_names ({known})"
                continue
            split = recipe.split_names[given[row]]
        jobs.append(Job(name, str(path), source, split, stamp(path)))
    return jobs, skipped, sorted(set(given or ()) - named)


def read_split(recipe: Recipe) -> dict[str, str] | None:
    """The split that the recipe's CSV gives to each patient, in its own words."""
    if recipe.split is None:
        return None
    try:
        with open(Path(recipe.split).expanduser(), newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(f"the recipe's split {recipe.split} cannot be read: {error}") from error
    if not rows or not {"patient", "split"} <= rows[0].keys():
        raise ReadError(f"{recipe.split}: expected a CSV with the columns patient and split")
    given: dict[str, str] = {}
    for row in rows:
        if given.setdefault(row["patient"], row["split"]) != row["split"]:
            raise InvalidInputError(
                f"{recipe.split} has patient {row['patient']!r} in {given[row['patient']]!r} and in "
                f"{row['split']!r}: leave one"
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
