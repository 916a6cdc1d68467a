"""Pictures of places: the three planes through a point in one scan, and through what was found in others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sg_hub.inference.matching import FOUND
from sg_hub.io.pictures import Row, axial, coronal, grey, montage, save_png
from sg_hub.io.scan import Scan
from sg_hub.models import PretrainedModel

_CELL = 200
"""Pixels of a plane's width."""
_MARK, _DOUBT = (0, 158, 115), (213, 94, 0)
"""Colours of the cross-hairs: found, and not."""
_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))
"""Of the patient's sides, along x, y and z."""


def draw_places(
    model: PretrainedModel,
    scan: Scan,
    points: np.ndarray,
    others: Sequence[tuple[str, Scan, np.ndarray, np.ndarray]],
    path: Path,
) -> None:
    """A row for every point in every other scan: axial, coronal and sagittal planes of the scan, then of the other.

    Args:
        points: (n, 3) in mm, LPS.
        others: name, scan, places (n, 3) in mm and scores (n,) of each.
    """
    rows = []
    for name, other, places, score in others:
        for number, (point, place, value) in enumerate(zip(points, places, score, strict=True), 1):
            sure = value >= FOUND
            known = "" if sure else " (hardly the same place, or not in this scan)"
            label = f"point {number}: {Path(scan.source).name}, and {Path(name).name}, score {value:.2f}{known}"
            planes = [*_planes(model, scan, point, _MARK), *_planes(model, other, place, _MARK if sure else _DOUBT)]
            rows.append(Row(label, planes))
    save_png(montage(rows, cell=_CELL), path)


def _planes(model: PretrainedModel, scan: Scan, place: np.ndarray, colour: tuple[int, int, int]) -> list[np.ndarray]:
    """Axial (anterior up), coronal and sagittal (superior up), through a place in mm."""
    low, high = (float(limit.flatten()[0]) for limit in model.preprocessing.limits(scan))
    voxel = scan.to_voxels(place[None])[0]
    x, y, z = (int(v) for v in voxel.round().clip(0, np.array(scan.size) - 1))
    shown = [axial(scan.array[0], z), coronal(scan.array[0], y), scan.array[0][x, :, ::-1].T]
    axes = [(0, 1), (0, 2), (1, 2)]  # of the columns and the rows
    return [
        _marked((plane - low) / (high - low), scan, voxel, columns, rows, colour)
        for plane, (columns, rows) in zip(shown, axes, strict=True)
    ]


def _marked(
    plane: np.ndarray, scan: Scan, voxel: np.ndarray, columns: int, rows: int, colour: tuple[int, int, int]
) -> np.ndarray:
    """A plane of the picture's size with cross-hairs, and letters where the patient's sides are."""
    height = max(1, round(_CELL * scan.extent[rows] / scan.extent[columns]))
    picture = Image.fromarray(grey(plane)).resize((_CELL, height), Image.Resampling.BILINEAR)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    share = (voxel + 0.5) / np.array(scan.size)
    across = round(float(share[columns]) * _CELL)
    down = round((1 - float(share[rows]) if rows == 2 else float(share[rows])) * height)
    gap = 6  # what is marked stays visible
    draw.line((0, down, across - gap, down), fill=colour)
    draw.line((across + gap, down, _CELL, down), fill=colour)
    draw.line((across, 0, across, down - gap), fill=colour)
    draw.line((across, down + gap, across, height), fill=colour)
    first, last = _LETTERS[columns]
    above, below = _LETTERS[rows] if rows != 2 else _LETTERS[rows][::-1]
    for text, place, anchor in (
        (first, (3, height // 2), "lm"),
        (last, (_CELL - 3, height // 2), "rm"),
        (above, (_CELL // 2, 3), "mt"),
        (below, (_CELL // 2, height - 3), "mb"),
    ):
        draw.text(place, text, fill="white", font=font, anchor=anchor, stroke_width=1, stroke_fill="black")
    return np.asarray(picture)
