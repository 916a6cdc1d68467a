"""The parts of the suite, a module each, whose `run()` gives rows."""

from __future__ import annotations

import contextlib
import datetime
import importlib
import os
import time
from importlib.metadata import PackageNotFoundError, version
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
            "versions": versions() | _beside(),
            "minutes": round((time.monotonic() - start) / 60, 1),
        },
        "rows": [row.as_json() for row in rows],
    }


def _beside() -> dict[str, str]:
    """Versions of what is held against ours; a machine with a GPU may have none of it."""
    found = {}
    for name in BESIDE:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
