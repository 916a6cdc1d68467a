"""A folder of scans to one store.

    python -m training prepare RECIPE [key=value ...]

Finds every NIfTI, MHA, MHD and NRRD file and every DICOM folder below `source`, reads them in parallel processes into
LPS order, clips to the window, resamples to the recipe's spacing and writes them to `<run>/store.zarr` (see
training.store). A scan that cannot be read is reported with its reason and skipped. Can be stopped at any time and
started again: what is in the store stays.
"""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from tqdm import tqdm

from sg_hub import load_scan
from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.preprocessing import resample, resampled_size
from training.randomness import permutation
from training.recipe import Prepare, Recipe
from training.runs import write_atomic
from training.store import FORMAT, Patient, Store, read_settings, write_table

SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")


@dataclass(frozen=True)
class Job:
    """One scan to read."""

    name: str
    path: str
    source: str
    split: str
    stamp: str
    """Size and time of change of the file, or of all files of the folder."""


@dataclass
class Summary:
    """What `prepare` did."""

    kept: list[Patient] = field(default_factory=list)
    already_there: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    """Reason by source."""
    seconds: float = 0.0

    def __str__(self) -> str:
        spacing = np.array([patient.spacing for patient in self.kept])
        splits = {s: sum(p.split == s for p in self.kept) for s in ("train", "validation", "test")}
        voxels = sum(int(np.prod(patient.shape)) for patient in self.kept)
        lines = [
            f"{len(self.kept)} patients in the store ({self.already_there} were there already): "
            + ", ".join(f"{count} {split}" for split, count in splits.items()),
            f"{voxels / 1e6:.1f} million voxels, spacing {spacing.min(0).tolist()} to {spacing.max(0).tolist()} mm, "
            f"{self.seconds:.1f} s",
        ]
        if self.skipped:
            lines.append(f"{len(self.skipped)} skipped:")
            lines += [f"  {source}: {reason}" for source, reason in self.skipped.items()]
        return "\n".join(lines)


def store_path(recipe: Recipe) -> str:
    """Where the recipe's store is: below its run, or its source, when that is a store already."""
    if read_settings(recipe.source) is not None:
        return recipe.source
    return str(recipe.run_dir / "store.zarr")


def prepare(recipe: Recipe, *, progress: bool = True) -> Summary:
    """Fill the store of a recipe; returns (and prints) what was kept and what was skipped.

    Raises:
        ReadError: no such folder, no scans in it, or none that can be read.
        InvalidInputError: two scans of one patient name, or a store that was prepared with other settings.
    """
    started = time.monotonic()
    if read_settings(recipe.source) is not None:
        store = Store.open(recipe.source)
        print(f"{recipe.source} is a store of {len(store.patients)} patients: nothing to prepare")
        return Summary(kept=store.patients, already_there=len(store.patients))
    summary = Summary()
    jobs = _splits(recipe, find_scans(recipe.source), summary)
    url = store_path(recipe)
    group = _open_for_writing(url, recipe)
    waiting = []
    for job in jobs:
        done = _finished(group, job)
        if done is None:
            waiting.append(job)
        else:
            summary.kept.append(done)
    summary.already_there = len(summary.kept)
    with _results(recipe, url, waiting) as results:
        for job, result in tqdm(results, total=len(waiting), desc="preparing", unit="scan", disable=not progress):
            if isinstance(result, str):
                summary.skipped[job.source] = result
            else:
                summary.kept.append(result)
    if not summary.kept:
        reasons = "; ".join(f"{source}: {reason}" for source, reason in list(summary.skipped.items())[:5])
        raise ReadError(f"none of the {len(jobs) + len(summary.skipped)} scans in {recipe.source} can be used ({reasons})")
    summary.kept.sort(key=lambda patient: patient.name)
    write_table(url, summary.kept)
    lines = [json.dumps({"source": s, "reason": r}) + "\n" for s, r in sorted(summary.skipped.items())]
    write_atomic(recipe.run_dir / "skipped.jsonl", "".join(lines))
    summary.seconds = time.monotonic() - started
    print(summary)
    return summary


def find_scans(source: str | Path) -> dict[str, Path]:
    """Scans below a folder by patient name: a file's stem, or a DICOM folder's relative path.

    Raises:
        ReadError: no such folder, or no scans in it.
        InvalidInputError: two scans of one name.
    """
    root = Path(source).expanduser()
    if not root.is_dir():
        raise ReadError(f"source {root} is not a folder: give source=FOLDER of scans")
    found: dict[str, Path] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        scans = [name for name in sorted(files) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        paths = [Path(folder) / name for name in scans]
        if not scans and any(_may_be_dicom(Path(folder) / name) for name in sorted(files)[:3]):
            paths = [Path(folder)]
        for path in paths:
            name = _patient_name(path, root)
            if name in found:
                raise InvalidInputError(
                    f"two scans would be patient {name!r}: {found[name]} and {path}; rename one of them, or give "
                    "a source folder that holds one of them"
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


def _may_be_dicom(path: Path) -> bool:
    """By the mark that DICOM files have at byte 128."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _splits(recipe: Recipe, scans: dict[str, Path], summary: Summary) -> list[Job]:
    """Jobs with their splits; patients that the recipe's CSV does not name are skipped."""
    root = Path(recipe.source).expanduser()
    given = _read_split(recipe)
    jobs = []
    for name, path in sorted(scans.items()):
        source = path.relative_to(root).as_posix()
        if given is not None and name not in given:
            summary.skipped[source] = f"patient {name!r} is not in {recipe.split}, or its split has no meaning here"
            continue
        jobs.append(Job(name, str(path), source, given[name] if given else "train", _stamp(path)))
    if any(job.split == "validation" for job in jobs):
        return jobs
    train = [job.name for job in jobs if job.split == "train"]
    count = max(1, round(recipe.validation_share * len(train))) if recipe.validation_share > 0 else 0
    if count >= len(train):
        return jobs
    drawn = {train[i] for i in permutation(len(train), recipe.seed, "validation patients")[:count]}
    return [Job(**(asdict(job) | {"split": "validation"})) if job.name in drawn else job for job in jobs]


def _read_split(recipe: Recipe) -> dict[str, str] | None:
    if recipe.split is None:
        return None
    try:
        with open(recipe.split, newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ReadError(f"the recipe's split cannot be read: {error}") from error
    if not rows or not {"patient", "split"} <= rows[0].keys():
        raise ReadError(f"{recipe.split}: expected a CSV with the columns patient and split")
    known = recipe.split_names
    return {row["patient"]: known[row["split"]] for row in rows if row["split"] in known}


def _stamp(path: Path) -> str:
    files = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
    return ";".join(f"{p.name}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in files)[:4096]


def _open_for_writing(url: str, recipe: Recipe) -> zarr.Group:
    settings = {
        "sg_hub_store": FORMAT,
        "window": list(recipe.prepare.window),
        "spacing": list(recipe.prepare.spacing) if recipe.prepare.spacing else None,
        "chunk": list(recipe.prepare.chunk),
    }
    there = read_settings(url)
    if there is not None and there != settings:
        changed = sorted(key for key in settings if there.get(key) != settings[key])
        raise InvalidInputError(
            f"the store {url} was prepared with another {', '.join(changed)}: give another run=FOLDER, or remove the store"
        )
    group = zarr.open_group(url, mode="a")
    if there is None:
        group.attrs.update(settings)
    return group


def _finished(group: zarr.Group, job: Job) -> Patient | None:
    """The patient as it stands in the store, if it is complete and its source has not changed."""
    array = group.get(f"scans/{job.name}")
    if array is None or array.attrs.get("stamp") != job.stamp:
        return None
    return _patient(job, array.attrs["record"])


def _patient(job: Job, record: Any) -> Patient:
    """The split is the recipe's, so that it may change without reading the scans again."""
    x, y, z = record["shape"]
    a, b, c = record["spacing"]
    return Patient(job.name, job.split, (x, y, z), record["channels"], (a, b, c), job.source, record["sha256"])


@contextmanager
def _results(recipe: Recipe, url: str, jobs: list[Job]) -> Iterator[Iterable[tuple[Job, Patient | str]]]:
    """Each job with its patient, or with the reason why there is none."""
    if recipe.prepare.workers <= 1 or len(jobs) <= 1:
        yield ((job, _convert(job, url, recipe.prepare)) for job in jobs)
        return
    workers = min(recipe.prepare.workers, len(jobs))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            futures = [pool.submit(_convert, job, url, recipe.prepare) for job in jobs]
            yield ((job, future.result()) for job, future in zip(jobs, futures, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)


def _convert(job: Job, url: str, settings: Prepare) -> Patient | str:
    """Read, clip, resample and write one scan; the mark that it is complete is written last."""
    torch.set_num_threads(1)
    try:
        scan = load_scan(job.path)
    except (SgHubError, MemoryError) as error:
        return str(error)
    low, high = settings.window
    voxels = torch.from_numpy(scan.array).clamp(low, high)[None]
    spacing = scan.spacing
    if settings.spacing is not None:
        spacing = settings.spacing
        voxels = resample(voxels, resampled_size(scan.size, scan.spacing, spacing))
    array = np.ascontiguousarray(voxels[0].round().to(torch.int16).numpy())
    chunks = (array.shape[0], *(min(c, s) for c, s in zip(settings.chunk, array.shape[1:], strict=True)))
    stored = zarr.open_group(url, mode="a").create_array(
        f"scans/{job.name}", shape=array.shape, dtype=array.dtype, chunks=chunks, overwrite=True
    )
    stored[:] = array
    record = {
        "shape": list(array.shape[1:]),
        "channels": array.shape[0],
        "spacing": [float(value) for value in spacing],
        "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
    }
    stored.attrs.update({"record": record, "stamp": job.stamp})
    return _patient(job, record)
