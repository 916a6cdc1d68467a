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
from typing import Any

from sg_hub.errors import ReadError
from sg_hub.io.files import write_atomic

from ..run.lock import run_lock

TABLE = "results.jsonl"
TRIALS = "trials"
Row = dict[str, Any]


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
            if "cases" in row:  # what protocol 2 called them
                row["items"] = row.pop("cases")
            rows.setdefault(row["key"], row)
        except (ValueError, KeyError, TypeError) as error:
            raise ReadError(
                f"{path}, line {number} is damaged ({error}): remove the line; its trial is computed again"
            ) from error
    return rows


def append(folder: str | Path, row: Row, files: Mapping[str, bytes] | None = None) -> None:
    """Write the files of a trial, then its row: what has a row is complete."""
    folder = Path(folder)
    for name, data in (files or {}).items():
        write_atomic(folder / TRIALS / row["key"] / name, data)
    path = folder / TABLE
    with open(path, "a+b") as file:
        _drop_tail(file)
        file.write((json.dumps(row, sort_keys=True) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


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
    tables = []
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
    return added, doubled
