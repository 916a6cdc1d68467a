"""One part of the suite: its rows, and where they come from."""

from __future__ import annotations

import datetime
import importlib
import os
import time
from importlib.metadata import version
from typing import Any

from training.run.folder.environment import commit, machine, versions

BESIDE = ("monai", "torchio", "nibabel", "dynamic-network-architectures")


def measured(part: str) -> dict[str, Any]:
    """Rows of a part, and where they come from."""
    start, load = time.monotonic(), os.getloadavg()[0]
    rows = importlib.import_module(f"{__package__}.{part}").run()
    return {
        "measured": {
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "load": round(load, 1),
            "commit": commit(),
            "versions": versions() | {name: version(name) for name in BESIDE},
            "minutes": round((time.monotonic() - start) / 60, 1),
        },
        "rows": [row.as_json() for row in rows],
    }
