"""What papers report of weights that others published (reported.toml): copied, measured by nobody here."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def reported() -> dict[str, dict[str, Any]]:
    """What papers report, by the name of the weights."""
    return tomllib.loads(Path(__file__).with_name("reported.toml").read_text(encoding="utf-8"))
