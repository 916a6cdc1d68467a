"""Whole scans: predict beside MONAI's sliding window, locate, and a hundred scans in a row; each in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ..measuring import Row, compared

ROOT = Path(__file__).resolve().parents[3]
SMALL, WIDTH = (160, 160, 96), 8
LARGE, NARROW = (512, 512, 300), 1
"""The large scan goes through a network of width 1: windows and memory are looked at, and a run takes minutes."""


def run() -> list[Row]:
    pairs = [(_run("predict", SMALL, WIDTH), _run("monai", SMALL, WIDTH)) for _ in range(2)]
    assert all(abs(ours["sum"] / theirs["sum"] - 1) < 0.01 for ours, theirs in pairs)
    taken = {name: [pair[i]["processor"] for pair in pairs] for i, name in enumerate(("ours", "MONAI"))}
    name = f"predict, {_size(SMALL)}, width {WIDTH}, windows of 64 x 64 x 32, one core"
    rows = compared(name, "s", taken, 1, "0.8 of MONAI's")
    large = {what: _run(what, LARGE, NARROW) for what in ("predict", "monai", "locate")}
    ours, theirs, located = large["predict"], large["monai"], large["locate"]
    name = f"predict, {_size(LARGE)}, width {NARROW}"
    times = {"ours": [ours["processor"]], "MONAI": [theirs["processor"]]}
    rows += compared(f"{name}, one core", "s", times, 1, "0.8 of MONAI's")
    ratio = ours["peak"] / theirs["peak"]
    rows.append(
        Row(f"{name}: peak memory, the scan's 300 included", ours["peak"], "MB", "MONAI", theirs["peak"], ratio, "1000")
    )
    name = f"locate one point, {_size(LARGE)} in itself, width {NARROW}"
    rows.append(Row(f"{name}, one core", located["processor"], "s"))
    rows.append(Row(f"{name}: peak memory, the scan's 300 included", located["peak"], "MB"))
    grown = _run("hundred", (64, 64, 48), 2)["grown"]
    return [
        *rows,
        Row("a hundred scans in a row: memory after the last over that after the tenth", grown, "MB", goal="0"),
    ]


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _run(what: str, shape: tuple[int, ...], width: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.speed.whole_scan", what, *map(str, shape), str(width)]
    done = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
