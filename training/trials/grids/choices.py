"""The table of the runs that chose settings: a line each, keyed as trials are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sg_hub.errors import ReadError

from ...run.folder.checksums import opened, sealed
from ...run.folder.metrics import Metrics, read_metrics

TABLE = "choices.jsonl"


def read_choices(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of the runs that were done, by key.

    Raises:
        ReadError: a damaged line.
    """
    rows = {}
    for number, line in enumerate(read_metrics(folder / TABLE), 1):
        try:
            row = opened(line)
            value = row.get("value")
            if not isinstance(row.get("key"), str) or not isinstance(value, float | int) or not 0 <= value <= 1:
                raise ValueError(json.dumps(row)[:80])
        except ValueError as error:
            raise ReadError(
                f"{folder / TABLE}, line {number} is damaged ({error}): remove the line; its run is computed again"
            ) from error
        rows[row["key"]] = row
    return rows


def append_choice(folder: Path, row: dict[str, Any]) -> None:
    """Add a line; one that a crash cut off is dropped first."""
    table = Metrics(folder / TABLE)
    table.drop_unfinished()
    table.write(**sealed(row))


def add_choices(source: Path, out: Path) -> None:
    """Add the lines of another table; those that are there already are left as they are."""
    have = read_choices(out)
    for key, row in read_choices(source).items():
        if key not in have:
            append_choice(out, row)
            have[key] = row
