"""What the pages show, run as it stands: the blocks of a page behind a marker, in order, in one folder."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sg_hub.cli import main
from sg_hub.io.scan import Scan, load_scan
from tests.support.folders import DEMO_SAMPLES

RUN = "run by the tests"
_BLOCK = re.compile(r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FEWER = {
    "finetune": (
        "settings.steps=2",
        "settings.validate_every=1",
        "settings.batch_size=2",
        "settings.precision=float32",
        "grid.spacing=[8,8,6]",
    ),
    "compare": (
        "settings.steps=1",
        "settings.validate_every=1",
        "settings.batch_size=2",
        "--patients",
        "all",
        "--protocol",
        "same",
        "--trials",
        "1",
    ),
}
"""What is added to commands that train: a few steps on a coarse grid."""
SHORTER = (("train(steps=100,", "train(steps=1,"), ("train(steps=300,", "train(steps=1,"), ("range(100)", "range(2)"))
SCAN = min((DEMO_SAMPLES / "openkbp" / "ct").glob("*.nii.gz"), key=lambda file: file.stat().st_size)
XRAY = min((DEMO_SAMPLES / "chestxray14" / "images").glob("*.png"))
ORGANS = ("pt_201", "pt_207", "pt_222", "pt_225", "pt_229", "pt_230")
"""Sample patients whose spinal cord and mandible are outlined."""


@dataclass(frozen=True)
class Block:
    """A piece of code on a page."""

    mark: str
    kind: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(m["mark"] or "", m["kind"], m["text"]) for m in _BLOCK.finditer(page.read_text(encoding="utf-8"))]


def run(block: Block, names: dict[str, Any]) -> None:
    """Run a block: Python in these names, or commands of sg-hub, with fewer steps."""
    if block.kind == "python":
        text = block.text
        for long, short in SHORTER:
            text = text.replace(long, short)
        exec(compile(text, "page", "exec"), names)
        return
    for line in block.text.replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line, comments=True) or [""]
        if program:
            assert program == "sg-hub", line
            assert main([*arguments, *FEWER.get(arguments[0], ())]) == 0, line


def a_users_folder(folder: Path) -> None:
    """What a page speaks of: ct.nii.gz, xray.png, organs/ with label maps of 1 and 4, nodules/ of two classes, new/,
    a.nii.gz with a-labels.nii.gz and b.nii.gz, parts of two scans."""
    shutil.copy(SCAN, folder / "ct.nii.gz")
    shutil.copy(XRAY, folder / "xray.png")
    for kind in ("images", "labels"):
        (folder / "organs" / kind).mkdir(parents=True)
    for name in ORGANS:
        scan = load_scan(DEMO_SAMPLES / "openkbp" / "ct" / f"{name}.nii.gz")
        labels = load_scan(DEMO_SAMPLES / "openkbp" / "labels" / f"{name}.nii.gz", labels=True).array[0]
        scan.save(scan.array[0], folder / "organs" / "images" / f"{name}.nii.gz")
        scan.save(
            np.where(np.isin(labels, (1, 4)), labels, 0).astype(np.uint8), folder / "organs/labels" / f"{name}.nii.gz"
        )
    for name, patient in (("a", ORGANS[0]), ("b", ORGANS[1])):
        for kind, called in (("images", name), ("labels", f"{name}-labels")):
            _part(load_scan(folder / "organs" / kind / f"{patient}.nii.gz", labels=kind == "labels"), folder, called)
    whole = load_scan(SCAN)
    rng = np.random.default_rng(0)
    (folder / "new").mkdir()
    shutil.copy(SCAN, folder / "new" / "ct.nii.gz")
    for number in range(20):
        kind = ("benign", "malignant")[number % 2]
        place = folder / "nodules" / kind / f"{kind}_{number}.nii.gz"
        place.parent.mkdir(parents=True, exist_ok=True)
        corner = [int(rng.integers(side // 3, side // 2)) for side in whole.size]  # within the body
        cube = whole.array[0][tuple(slice(start, start + 24) for start in corner)] + 100 * (number % 2)
        cut = type(whole)(cube[None].astype(np.float32), whole.spacing)
        cut.save(cube, place)
    shutil.copy(folder / "nodules" / "benign" / "benign_0.nii.gz", folder / "new")


def _part(scan: Scan, folder: Path, name: str) -> None:
    """What of a scan lies around the neck, where it is in the whole one."""
    low, high = (
        np.rint(scan.to_voxels(np.array([place]))[0]).astype(int) for place in ((150, 60, 190), (330, 180, 270))
    )
    array = scan.array[:, *map(slice, low, high)]
    origin = tuple(scan.to_mm(low[None])[0].tolist())
    part = Scan(array.astype(np.float32), scan.spacing, origin=origin)
    part.save(array[0].astype(np.uint8) if "labels" in name else array[0], folder / f"{name}.nii.gz")
