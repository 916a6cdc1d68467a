"""PNG pictures for the commands: rows of slices with labels, and coloured label maps over slices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito's palette: told apart by most colour-blind people.
COLOURS = np.array(
    [[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167]],
    dtype=np.uint8,
)
_GAP, _TEXT = 4, 16


def axial(volume: np.ndarray, z: int) -> np.ndarray:
    """Axial slice z of (X, Y, Z) as an image (rows, columns): anterior up, the patient's left on the right side."""
    return volume[:, :, z].T


def coronal(volume: np.ndarray, y: int) -> np.ndarray:
    """Coronal slice y of (X, Y, Z) as an image: superior up, the patient's left on the right side."""
    return volume[:, y, ::-1].T


def grey(image: np.ndarray) -> np.ndarray:
    """(rows, columns) in 0..1 to (rows, columns, 3) uint8."""
    return np.repeat((np.clip(image, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def overlay(image: np.ndarray, labels: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Labels (rows, columns) in colour over an image (rows, columns) in 0..1; label 0 is transparent."""
    colours = COLOURS[np.where(labels > 0, (labels - 1) % (len(COLOURS) - 1) + 1, 0)]
    mask = (labels > 0)[..., None] * opacity
    return (grey(image) * (1 - mask) + colours * mask).astype(np.uint8)


def montage(rows: dict[str, Sequence[np.ndarray]], cell: int = 128) -> Image.Image:
    """A picture with a labelled row per entry.

    Args:
        rows: images (rows, columns, 3) uint8 by label; each is scaled to `cell` pixels in height.
        cell: height of a row in pixels.
    """
    font = ImageFont.load_default(size=12)
    scaled = {
        label: [_scale(image, cell) for image in images] for label, images in rows.items()
    }
    width = max(sum(image.width + _GAP for image in images) for images in scaled.values()) + _GAP
    picture = Image.new("RGB", (width, len(rows) * (cell + _TEXT + _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(picture)
    top = _GAP
    for label, images in scaled.items():
        draw.text((_GAP, top), label, fill="black", font=font)
        left = _GAP
        for image in images:
            picture.paste(image, (left, top + _TEXT))
            left += image.width + _GAP
        top += cell + _TEXT + _GAP
    return picture


def save_png(picture: Image.Image, path: str | os.PathLike[str]) -> Path:
    """Write a PNG completely, then put it in its place."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    picture.save(temporary, format="PNG")
    os.replace(temporary, path)
    return path


def _scale(image: np.ndarray, height: int) -> Image.Image:
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST)
