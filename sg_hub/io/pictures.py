"""PNG pictures for the commands: rows of slices with labels, and coloured label maps over slices."""

from __future__ import annotations

import io
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sg_hub.io.files import writing

# Okabe and Ito's palette without black, which is the background: told apart by most colour-blind people. Behind it, one
# by one, what is furthest in CIELAB from all before it and from grey: at least 39, of which the first seven have 26.
COLOURS = np.array(
    [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
        (85, 0, 255),
        (0, 255, 0),
        (255, 17, 221),
        (255, 0, 102),
        (153, 119, 255),
        (102, 102, 17),
        (153, 255, 136),
        (255, 170, 136),
        (0, 255, 255),
        (153, 51, 51),
        (0, 136, 0),
        (153, 17, 136),
        (187, 204, 136),
    ],
    dtype=np.uint8,
)
ORIENTATION = {
    "axial": "anterior up, patient's left on the right",
    "coronal": "superior up, patient's left on the right",
}
_GAP, _TEXT = 4, 18
_TALLEST = 4  # times the width: more of a narrow, tall scan is drawn smaller


@dataclass(frozen=True)
class Row:
    """Slices side by side, under one line of text."""

    label: str
    images: Sequence[np.ndarray]
    """(rows, columns, 3) uint8 each."""
    pixel: tuple[float, float] = (1.0, 1.0)
    """Height and width of a pixel in mm, so that shapes are drawn true."""


def axial(volume: np.ndarray, z: int) -> np.ndarray:
    """Axial slice z of (X, Y, Z) in LPS order: (rows, columns), anterior up, patient's left right."""
    return volume[:, :, z].T


def coronal(volume: np.ndarray, y: int) -> np.ndarray:
    """Coronal slice y of (X, Y, Z) in LPS order: (rows, columns), superior up, patient's left right."""
    return volume[:, y, ::-1].T


def grey(image: np.ndarray) -> np.ndarray:
    """(rows, columns) in 0..1 to (rows, columns, 3) uint8."""
    return np.repeat((np.clip(image, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def colour_of(label: int) -> tuple[int, int, int]:
    """Red, green and blue of a label from 1 on; after twenty they come again."""
    red, green, blue = (int(value) for value in COLOURS[(label - 1) % len(COLOURS)])
    return red, green, blue


def overlay(image: np.ndarray, labels: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Labels (rows, columns) in colour over an image (rows, columns) in 0..1; label 0 is transparent."""
    colours = COLOURS[(labels.astype(np.int64) - 1) % len(COLOURS)]
    mask = (labels > 0)[..., None] * opacity
    result: np.ndarray = (grey(image) * (1 - mask) + colours * mask).round().astype(np.uint8)
    return result


def montage(rows: Sequence[Row], cell: int = 128, legend: Mapping[str, int] | None = None) -> Image.Image:
    """A picture with a labelled row of slices per entry, and a legend of label colours at the bottom. Texts are written
    in the letters that there are everywhere: `in_ascii`.

    Args:
        rows: from top to bottom.
        cell: width of a slice in pixels; its height follows from its shape in mm.
        legend: label by text; the square before the text has the colour that `overlay` gives the label.
    """
    font = ImageFont.load_default(size=12)
    labels = [in_ascii(row.label) for row in rows]
    scaled = [[_scale(image, row.pixel, cell) for image in row.images] for row in rows]
    width = max(
        *(sum(image.width + _GAP for image in images) for images in scaled),
        *(round(font.getlength(label)) + _GAP for label in labels),
    )
    heights = [max(image.height for image in images) + _TEXT + _GAP for images in scaled]
    lines = _legend_lines(legend or {}, font, width)
    picture = Image.new("RGB", (width + _GAP, sum(heights) + _TEXT * len(lines) + _GAP), "white")
    draw = ImageDraw.Draw(picture)
    top = _GAP
    for label, images, height in zip(labels, scaled, heights, strict=True):
        draw.text((_GAP, top), label, fill="black", font=font)
        left = _GAP
        for image in images:
            picture.paste(image, (left, top + _TEXT))
            left += image.width + _GAP
        top += height
    for line in lines:
        for left, text, number in line:
            draw.rectangle((left, top, left + 11, top + 11), fill=colour_of(number))
            draw.text((left + 16, top - 1), text, fill="black", font=font)
        top += _TEXT
    return picture


def save_png(picture: Image.Image, path: str | os.PathLike[str]) -> Path:
    """Write a PNG completely, then put it in its place."""
    written = io.BytesIO()
    picture.save(written, format="PNG")
    with writing(path) as file:
        file.write(written.getvalue())
    return Path(path)


def in_ascii(text: str) -> str:
    """A text in the letters of Pillow's own font: u for ü, ss for ß, and ? for what has no such letter."""
    letters = unicodedata.normalize("NFKD", text.replace("\u00df", "ss"))
    return "".join(letter if letter.isascii() else "?" for letter in letters if not unicodedata.combining(letter))


def _legend_lines(
    legend: Mapping[str, int], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[list[tuple[int, str, int]]]:
    """(left, text, label) of every entry, in as many lines as the width asks for."""
    lines: list[list[tuple[int, str, int]]] = []
    left = width + 1
    for name, label in legend.items():
        text = in_ascii(name)
        needed = round(font.getlength(text)) + 32
        if left + needed > width:
            lines.append([])
            left = _GAP
        lines[-1].append((left, text, label))
        left += needed
    return lines


def _scale(image: np.ndarray, pixel: tuple[float, float], cell: int) -> Image.Image:
    """Drawn `cell` pixels wide, in its true shape; the box filter repeats pixels, or averages them."""
    height, width = (count * step for count, step in zip(image.shape[:2], pixel, strict=True))
    scale = min(cell / width, _TALLEST * cell / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BOX)
