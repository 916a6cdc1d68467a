"""The pictures of docs/gallery.md, from the samples that come with the package, which may be shown (MIT; NIH):

    python -m docs.scripts.gallery

Two minutes on two cores. What was measured on the way is in docs/images/gallery/measured.json.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import sg_hub
from sg_hub.cli import main as sg_hub_command
from training.trials.task.metrics import overlap

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT / "training" / "demo" / "samples"
OUT = ROOT / "docs" / "images" / "gallery"
PATIENTS = ("pt_201", "pt_207", "pt_222", "pt_225", "pt_229", "pt_230")
"""Their spinal cord and mandible are outlined. The first is the one that is looked for in the others."""
CORD, MANDIBLE = 1, 4
WINDOW = (-300, 600)
"""HU."""
SIDE = 200
"""mm that a picture shows."""


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for name in ("patterns", "restorations"):  # of the weights' own records
        shutil.copy(ROOT / "model_cards" / "semantic-genesis-3d-tiny" / f"{name}.png", OUT / f"{name}.png")
    xray = min((SAMPLES / "chestxray14" / "images").glob("*.png"))
    drawn = ["restore", str(xray), "--model", "semantic-genesis-2d-tiny", "--out", str(OUT / "xray.png"), "--quiet"]
    if sg_hub_command(drawn):
        raise SystemExit(1)
    model = sg_hub.from_pretrained("dense-contrast-3d-tiny")
    scans = {name: sg_hub.load_scan(SAMPLES / "openkbp" / "ct" / f"{name}.nii.gz") for name in PATIENTS}
    labels = {name: _labels(name) for name in PATIENTS}
    measured = {"located": _located(model, scans, labels), "propagated": _propagated(model, scans, labels)}
    (OUT / "measured.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def _labels(name: str) -> np.ndarray:
    """(X, Y, Z), the cord 1, the mandible 2."""
    array = sg_hub.load_scan(SAMPLES / "openkbp" / "labels" / f"{name}.nii.gz", labels=True).array[0]
    return (array == CORD) + 2 * (array == MANDIBLE)


def _chin(scan: sg_hub.Scan, labels: np.ndarray) -> np.ndarray:
    """The most anterior place of the mandible, (1, 3) in mm: the mean of its front voxels."""
    voxels = np.argwhere(labels == 2).astype(float)
    return scan.to_mm(voxels[voxels[:, 1] == voxels[:, 1].min()].mean(axis=0)[None])


def _located(model: sg_hub.SemanticGenesis3D, scans: dict, labels: dict) -> dict[str, dict[str, float]]:
    """The chin of the first patient, looked for in the five others."""
    first, *others = PATIENTS
    point, found = _chin(scans[first], labels[first]), {}
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 6.6), facecolor="black")
    _mark(axes.flat[0], scans[first], point, "the point in one patient", "#ff8c1a")
    for axis, name in zip(axes.flat[1:], others, strict=True):
        places, scores = sg_hub.locate(model, scans[first], point, scans[name], least=0, progress=False)
        distance = float(np.linalg.norm(places - _chin(scans[name], labels[name])))
        found[name] = {"distance_mm": round(distance, 1), "score": round(float(scores[0]), 2)}
        _mark(axis, scans[name], places, f"{distance:.0f} mm from the chin, score {scores[0]:.2f}", "#2ec4ff")
    _save(figure, "located.png")
    return found


def _propagated(model: sg_hub.SemanticGenesis3D, scans: dict, labels: dict) -> dict[str, dict[str, float]]:
    """Cord and mandible on the second patient, as a person drew them, carried over from the first, and from three."""
    other, *more = PATIENTS[1:4]
    shown: dict[str, np.ndarray | None] = {"another patient": None, "drawn by a person": labels[other]}
    found = {}
    for known in (PATIENTS[:1], (PATIENTS[0], *more)):
        given = [scans[name] for name in known], [labels[name] for name in known]
        carried = sg_hub.propagate(model, *given, scans[other], progress=False)
        cord, mandible = (round(value, 2) for value in overlap(carried, labels[other], 2)[1])
        count = "one patient" if len(known) == 1 else f"{len(known)} patients"
        shown[f"carried over from {count}:\nDice {cord} cord, {mandible} mandible"] = carried
        found[count] = {"cord_dice": cord, "mandible_dice": mandible}
    z = int((labels[other] == 2).sum((0, 1)).argmax())
    figure, axes = plt.subplots(1, len(shown), figsize=(3.5 * len(shown), 4.2), facecolor="black")
    for axis, (title, drawn) in zip(axes, shown.items(), strict=True):
        _slice(axis, scans[other], z, title)
        if drawn is not None:
            dx, dy, _ = scans[other].spacing
            masked = np.ma.masked_equal(drawn[:, :, z].T, 0)
            axis.imshow(masked, cmap="autumn", vmin=1, vmax=2, alpha=0.7, aspect=dy / dx, interpolation="nearest")
    _save(figure, "propagated.png")
    return found


def _mark(axis: plt.Axes, scan: sg_hub.Scan, place: np.ndarray, title: str, colour: str) -> None:
    x, y, z = scan.to_voxels(place)[0]
    _slice(axis, scan, int(np.clip(round(z), 0, scan.size[2] - 1)), title)
    axis.plot(x, y, "+", color=colour, markersize=22, markeredgewidth=2)


def _slice(axis: plt.Axes, scan: sg_hub.Scan, z: int, title: str) -> None:
    """Axial, anterior up, the patient's left on the right: what is within SIDE of the body's middle."""
    dx, dy, _ = scan.spacing
    axis.imshow(scan.array[0, :, :, z].T, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], aspect=dy / dx)
    x, y = np.median(np.argwhere(scan.array[0, :, :, z] > WINDOW[0]), axis=0)
    axis.set_xlim(x - SIDE / 2 / dx, x + SIDE / 2 / dx)
    axis.set_ylim(y + SIDE / 2 / dy, y - SIDE / 2 / dy)
    axis.set_title(title, color="white", fontsize=11)
    axis.axis("off")
    for letter, (across, up) in {"R": (0.02, 0.5), "L": (0.98, 0.5), "A": (0.5, 0.96), "P": (0.5, 0.03)}.items():
        axis.text(across, up, letter, color="#bbbbbb", transform=axis.transAxes, fontsize=9, ha="center", va="center")


def _save(figure: plt.Figure, name: str) -> None:
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.92, 0.04, 0.12)
    figure.savefig(OUT / name, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
