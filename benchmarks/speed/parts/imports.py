"""Processes that start: `sg-hub --help`, imports, and weights that are loaded; each in a fresh process."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from ..measuring import Row, compared

ROOT = Path(__file__).resolve().parents[3]
TINY = "semantic-genesis-3d-tiny"
LOAD = "import sys, sg_hub; sg_hub.from_pretrained(sys.argv[1])"


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        model = _weights(folder)
        commands = {
            "sg-hub --help": ["-m", "sg_hub", "--help"],
            "python": ["-c", "pass"],
            "import torch": ["-c", "import torch"],
            "from sg_hub import *": ["-c", "from sg_hub import *"],
            f"from_pretrained({TINY!r})": ["-c", LOAD, model],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(8):
            for name, arguments in commands.items():
                seconds = _processor_seconds(arguments)
                if number:  # the first one writes bytecode, and fetches files from the disk
                    taken[name].append(seconds)
    rows = compared("sg-hub --help", "s", _two(taken, "sg-hub --help", "python"), 1, "0.3")
    rows += compared("from sg_hub import *", "s", _two(taken, "from sg_hub import *", "import torch"), 1, "ratio 1.3")
    name = f"from_pretrained({TINY!r})"
    return rows + compared(f"{name}, with its imports", "s", _two(taken, name, "import torch"), 1)


def _two(taken: dict[str, list[float]], ours: str, other: str) -> dict[str, list[float]]:
    return {"ours": taken[ours], other: taken[other]}


def _processor_seconds(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _weights(folder: str) -> str:
    """The tiny model's name where it is installed, else a folder with an untrained network of its size."""
    import sg_hub

    if TINY in sg_hub.list_models():
        return TINY
    sg_hub.SemanticGenesis3D(width=8).save_pretrained(folder, half=True)
    return folder
