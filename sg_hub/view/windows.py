"""Which windows of grey levels a scan is shown with."""

from __future__ import annotations

from dataclasses import dataclass

from sg_hub.io.scan import Scan
from sg_hub.preprocessing import steps
from sg_hub.preprocessing.preprocessing import Preprocessing


@dataclass(frozen=True)
class Window:
    """From black to white, in the values of the scan."""

    name: str
    low: float
    high: float


CT = (
    Window("soft tissue", -160, 240),
    Window("lung", -1350, 150),
    Window("bone", -500, 1300),
    Window("brain", 0, 80),
)
"""HU."""


def windows(scan: Scan, preprocessing: Preprocessing) -> tuple[str, list[Window]]:
    """What the grey levels are taken for, and the windows to choose from, the first of which is shown first.

    They are those of CT where the file says so; where it says nothing, and its values are like the HU that the weights
    expect, too. Everything else is shown from its first to its 99th percentile.
    """
    low, high = (float(value[0]) for value in steps.percentiles(scan.array[:1], 1, 99))
    whole = float(scan.array[0].min()), float(scan.array[0].max())
    own = [Window("1st to 99th percentile", low, high)] if low < high else []
    own.append(Window("all values", *whole))
    if scan.modality == "CT":
        return "CT, HU", [*CT, *own]
    if scan.modality:
        return scan.modality, own
    if preprocessing.modality == "CT" and not preprocessing.doubt(scan):
        return "taken for CT, HU: the file names no modality", [*CT, *own]
    return "the file names no modality", own
