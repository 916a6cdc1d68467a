"""The table of results: one line per trial, appended and never changed, keyed by everything that determines the trial.

`<folder>/results.jsonl` and, per trial, `<folder>/trials/<key>/`. A line that a crash cut off is dropped; tables of
several machines are merged by key.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sg_hub.errors import ReadError
from sg_hub.io.files import given_path, write_atomic

from ...run.folder.checksums import is_recorded, opened, sealed
from ...run.folder.lock import run_lock
from ...run.settings import Name
from ...targets import Target
from .choices import add_choices

TABLE = "results.jsonl"
TRIALS = "trials"
ITEMS = "items.jsonl"
"""In the folder of a trial: every test item."""
Row = dict[str, Any]


Share = Annotated[float, Field(ge=0, le=1)]
Point = Annotated[list[float], Field(min_length=3, max_length=3)]
"""Step, validation metric, training loss."""


class _Written(BaseModel):
    """Other keys are left as they are."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


class _Parts(_Written):
    """How many are in each part."""

    train: int
    validation: int
    test: int


class _Training(_Written):
    steps: int
    batch_size: int
    lr: float
    precision: str


class _Settings(_Written):
    """Of the target."""

    title: str
    code: str
    description: str
    dataset: str
    head: Literal["classification", "segmentation"]
    metric: Literal["auc", "iou", "dice"]
    ndim: int
    min_positives: int
    classes: list[str] = []
    settings: _Training


class _Doubtful(_Written):
    items: dict[str, str]
    values: dict[str, Share]


class _Cost(_Written):
    parameters: int
    seconds_a_step: float
    seconds_an_item: float


class Written(_Written):
    """What a row must have."""

    key: str = Field(pattern=r"^\w[\w.-]*$")
    protocol: int
    target: Name
    task: str
    init: str
    weights: str
    architecture: str
    trial: int
    fraction: float = Field(gt=0, le=1)
    metric: Literal["auc", "iou", "dice"]
    value: Share
    values: dict[str, Share]
    left_out: list[str]
    items: _Parts
    patients: _Parts
    curve: list[Point] = Field(min_length=1)
    unchecked: str
    minutes: float
    machine: str
    settings: _Settings
    absent: dict[str, int] = {}
    """By class, test items in which it was neither there nor found."""
    seen: int = 0
    doubtful: _Doubtful | None = None
    labelled: int | None = Field(default=None, ge=1)
    """Patients with labels, where a number of them was asked for."""
    own: dict[str, float] | None = None
    """Settings of the initialisation's own, as `training.trials.variant` has them; absent: the target's."""
    cost: _Cost | None = None
    in_mm: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Surface Dice at 3 mm and the centres' distance, of a segmentation in mm."""

    @model_validator(mode="after")
    def _metric_is_measured(self) -> Written:
        if self.metric not in self.values:
            raise ValueError(f"values: no {self.metric}, which is the row's metric")
        return self


def read_results(folder: str | Path) -> dict[str, Row]:
    """Rows by key, in the order in which they were written; empty where there is no table yet.

    Raises:
        ReadError: a line that is none (but for a last one without its end).
    """
    path = Path(folder) / TABLE
    rows: dict[str, Row] = {}
    if not path.is_file():
        return rows
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
            row = opened(row) if isinstance(row, dict) else row
            if isinstance(row, dict) and "cases" in row:  # what protocol 2 called them
                row["items"] = row.pop("cases")
            Written.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            why = f"{'.'.join(map(str, first['loc'])) or 'row'}: {first['msg']}"
            raise ReadError(_damaged(path, number, why)) from error
        except (ValueError, RecursionError) as error:
            raise ReadError(_damaged(path, number, str(error)[:200])) from error
        rows.setdefault(row["key"], row)
    return rows


def _damaged(path: Path, line: int, why: str) -> str:
    return f"{path}, line {line} is damaged ({why}): remove the line; its trial is computed again"


def by_settings_of(row: Row, target: Target) -> bool:
    """Whether a trial was run by the settings of a target as it is now. A key that one of the two does not have is
    younger than the trial."""
    return _alike(row["settings"], target.model_dump(mode="json", exclude={"root", "title", "description", "code"}))


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    for key in one.keys() & other.keys():
        a, b = one[key], other[key]
        if key == "doubtful":  # why they are does not matter
            a, b = sorted(a), sorted(b)
        elif key == "file" and a and b:  # nor where it lies
            a, b = Path(a).name, Path(b).name
        if not (_alike(a, b) if isinstance(a, dict) and isinstance(b, dict) else a == b):
            return False
    return True


def append(folder: str | Path, row: Row, files: Mapping[str, bytes] | None = None) -> None:
    """Write the files of a trial, then its row: what has a row is complete."""
    folder = Path(folder)
    written = [folder / TRIALS / row["key"] / name for name in files or {}]
    for place, data in zip(written, (files or {}).values(), strict=True):
        write_atomic(place, data)
    path = folder / TABLE
    with open(path, "a+b") as file:
        _drop_tail(file)
        file.write((json.dumps(sealed(row, *written), sort_keys=True) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def items_of(folder: Path, row: Row) -> list[dict[str, Any]] | None:
    """What a trial made of each test item; None where its files are not there.

    Raises:
        ReadError: they are damaged.
    """
    path = folder / TRIALS / row["key"] / ITEMS
    try:
        if not is_recorded(row, path):
            raise ValueError("its checksum is another: it was damaged, or changed by hand")
        return [dict(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ReadError(f"{path} is damaged ({error}): remove the line of this trial in the table") from error


def _drop_tail(file: Any) -> None:
    """Cut off a last line without its end, which a crash left."""
    size = end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        file.truncate(end)
    file.seek(0, os.SEEK_END)


def merge(sources: Sequence[str | Path], out: str | Path) -> tuple[int, int]:
    """Add the trials of other tables to one; those that it has already are left as they are.

    Returns:
        trials added, and trials that were there already.

    Raises:
        ReadError: a source without a table, or a damaged one.
        InvalidInputError: another process writes to `out`.
    """
    tables, out = [], given_path(out, "the folder that the trials are added to")
    for source in sources:
        if not (Path(source) / TABLE).is_file():
            raise ReadError(f"{source} holds no {TABLE}: give folders that `sg-hub benchmark` wrote")
        tables.append((Path(source), read_results(source)))
    added = doubled = 0
    with run_lock(out):
        have = set(read_results(out))
        for source, rows in tables:
            for key, row in rows.items():
                if key in have:
                    doubled += 1
                    continue
                folder = source / TRIALS / key
                target = Path(out) / TRIALS / key
                if folder.is_dir() and folder.resolve() != target.resolve():
                    shutil.copytree(folder, target, dirs_exist_ok=True)
                append(out, row)
                have.add(key)
                added += 1
        for source in sources:
            add_choices(Path(source), Path(out))
    return added, doubled
