"""2D images: X-rays and the like from DICOM, PNG, JPEG, TIFF and BMP, as grey levels in 0..1."""

from __future__ import annotations

import io
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.given import several, whole
from sg_hub.io.files import LABEL_IMAGES, check_output, given_path, writing
from sg_hub.io.formats.dicom.files import SUFFIXES as DICOM_SUFFIXES
from sg_hub.io.formats.dicom.files import starts_as_dicom
from sg_hub.io.formats.kinds import picture_format
from sg_hub.io.formats.orientation import is_spacing
from sg_hub.io.formats.others import other_format
from sg_hub.io.formats.picture_files import BITS, FORMATS, opened, packing, white_is_zero
from sg_hub.io.results import plain

_log = logging.getLogger(__name__)
_FULL = {8: 255.0, 16: 65535.0}


@dataclass(frozen=True, eq=False, repr=False)
class Image:
    """A 2D image. Made by `load_image`.

    Attributes:
        array: (C, H, W) float32 in 0..1, rows downwards, 0 is black. C is 1 for grey images, 3 for colour.
        spacing: distance of pixels along (rows, columns) in mm; None where the file does not say it.
        source: file.
    """

    array: np.ndarray
    spacing: tuple[float, float] | None = None
    source: str = "array"

    def __post_init__(self) -> None:
        array = self.array
        if not isinstance(array, np.ndarray) or array.ndim != 3 or array.dtype != np.float32 or array.size == 0:
            given = (
                f"array of shape {array.shape} and type {array.dtype}" if hasattr(array, "dtype") else repr(type(array))
            )
            raise InvalidInputError(
                f"{given}: an Image takes (C, H, W) float32 in 0..1, for instance (array / 255)[None].astype('float32')"
            )
        low, high = float(array.min()), float(array.max())
        if not (low >= 0 and high <= 1):  # written so that NaN fails too
            raise InvalidInputError(
                f"{self.source}: values {low:g} to {high:g}; an Image holds grey levels in 0..1: divide by the largest "
                "value that its bit depth allows (255, 4095, 65535)"
            )
        if self.spacing is not None:
            spacing = several(self.spacing, 2)
            if spacing is None or not is_spacing(spacing):
                raise InvalidInputError(
                    f"{self.source}: spacing={shortened(repr(self.spacing), 80)}; expected two positive numbers (rows, "
                    "columns) in mm, or None"
                )
            object.__setattr__(self, "spacing", spacing)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        _, rows, columns = self.array.shape
        return rows, columns

    def __repr__(self) -> str:
        kind = {1: "grey", 3: "colour"}.get(self.array.shape[0], f"{self.array.shape[0]} channels")
        spacing = f" of {self.spacing[0]:.4g} x {self.spacing[1]:.4g} mm" if self.spacing else ""
        return (
            f"Image({self.size[0]} rows x {self.size[1]} columns{spacing}, {kind}, levels {self.array.min():.3g} to "
            f"{self.array.max():.3g}, {self.source})"
        )

    def save(self, array: Any, path: str | os.PathLike[str]) -> Path:
        """Write a result as an image of the same size; an older file of that name stays until the new one is complete.

        Args:
            array: (H, W) or (1, H, W), numpy or torch: whole numbers (labels, 0 to 65535) are written as they are,
                fractions in 0..1 as 16-bit grey levels.
            path: .png or .tif.

        Raises:
            InvalidInputError: another size, other values or another suffix, or the image's own file.
            ReadError: the folder is missing, or the file cannot be written.
        """
        path = check_output(path, LABEL_IMAGES, [self.source])
        pixels = self._pixels(array)
        from PIL import Image as PillowImage

        written = io.BytesIO()  # pillow's own writing of TIFF overlooks a disk that is full
        PillowImage.fromarray(pixels).save(written, format="PNG" if path.suffix.lower() == ".png" else "TIFF")
        with writing(path) as file:
            file.write(written.getvalue())
        return path

    def _pixels(self, array: Any) -> np.ndarray:
        pixels = plain(array)
        if pixels.ndim == 3 and pixels.shape[0] == 1:
            pixels = pixels[0]
        if pixels.shape != self.size:
            raise InvalidInputError(
                f"result of shape {pixels.shape}: expected {self.size}, the size of the image that it belongs to; of "
                "several channels save one at a time"
            )
        low, high = pixels.min(), pixels.max()
        if np.issubdtype(pixels.dtype, np.integer):
            if low < 0 or high > 65535:
                raise InvalidInputError(f"result with values {low} to {high}: labels are 0 to 65535")
            return pixels.astype(np.uint8 if high <= 255 else np.uint16)
        if not (low >= 0 and high <= 1):
            raise InvalidInputError(f"result with values {low:g} to {high:g}: expected 0..1, or whole numbers")
        return (pixels * 65535).round().astype(np.uint16)


def load_image(path: str | os.PathLike[str], *, bits: int | None = None) -> Image:
    """Read an X-ray or another 2D image as grey levels in 0..1.

    DICOM: the modality's rescaling (or its table) and the first window of the file (or its table for display, VOI LUT)
    are applied; without either, the range that its bits can hold. MONOCHROME1 (white is 0) is inverted, so that bone is
    bright in either. PNG, JPEG, TIFF, BMP: divided by the largest value of the bit depth (a TIFF may name 12). Images
    whose red, green and blue are the same are grey.

    Args:
        path: DICOM, PNG, JPEG, TIFF or BMP, of one image.
        bits: bit depth of the values, where the file holds fewer than it has room for (12 bits in a 16-bit PNG).

    Returns:
        an `Image`: array (C, H, W) float32 in 0..1; C is 1, or 3 in colour.

    Raises:
        ReadError: missing, empty, truncated or damaged, or no image.
        InvalidInputError: several images in one file, a scan, an impossible bit depth, values in a layout that is not
            supported, the same value everywhere, or more pixels than are read (SG_HUB_MAX_BYTES in the environment
            allows more).
    """
    if bits is not None:
        depth = whole(bits) or 0
        if not 1 <= depth <= 32:
            raise InvalidInputError(f"bits={bits!r}: expected the number of bits of a value, such as 8, 12 or 16")
        bits = depth
    path = given_path(path, f"a file ({FORMATS})")
    try:
        if path.is_dir():
            raise InvalidInputError(f"{path} is a folder: load_image takes one file ({FORMATS}); for a scan load_scan")
        if path.exists() and not path.is_file():
            raise ReadError(f"{path} is neither a file nor a folder: expected {FORMATS}")
        with open(path, "rb") as file:
            start = file.read(1024)
    except FileNotFoundError:
        raise ReadError(f"{path}: no such file; check the path. Expected {FORMATS}") from None
    except NotADirectoryError:
        raise ReadError(f"{path}: no such file, for {path.parent} is no folder; check the path") from None
    except OSError as error:
        if isinstance(error, ReadError):
            raise
        what_to_do = "ask for the right to read it" if isinstance(error, PermissionError) else "check the path"
        raise ReadError(f"{path} cannot be read ({error.strerror}): {what_to_do}") from error
    if not start:
        raise ReadError(f"{path} is empty: copy, download or export it again; expected {FORMATS}")
    other = other_format(start)
    if other:
        raise ReadError(f"{path} {other}; expected {FORMATS}")
    called_dicom = path.name.lower().endswith(DICOM_SUFFIXES) and not picture_format(start)
    if starts_as_dicom(start) or called_dicom:
        from sg_hub.io.formats.dicom.image import read_dicom_image

        array, spacing = read_dicom_image(path, bits)
    else:
        array, spacing = _read_picture(path, bits), None
    if not np.isfinite(array).all():
        raise InvalidInputError(f"{path}: pixels that are no numbers; expected grey levels. Check the export")
    if float(array.min()) == float(array.max()):
        raise InvalidInputError(
            f"{path}: every pixel is {float(array.min()):g} (of 0..1), so there is nothing to see; check the export"
        )
    return Image(array, spacing, str(path))


def _read_picture(path: Path, bits: int | None) -> np.ndarray:
    """(C, H, W) float32 in 0..1 of a PNG, JPEG, TIFF or BMP file."""
    from PIL import ImageOps

    with opened(path, ("PNG", "JPEG", "TIFF", "MPO", "BMP"), FORMATS) as picture:
        mode, sixteen = picture.mode, ";16" in packing(picture)
        inverted = white_is_zero(picture) and mode.startswith(("I", "F"))
        stored = max(getattr(picture, "tag_v2", {}).get(BITS, (0,)))
        if mode.startswith("I") and 8 < stored < 16:  # pillow makes 16 bits of 12, with the same values
            bits = bits or stored
        picture = ImageOps.exif_transpose(picture)
        if mode in ("1", "P", "PA", "LA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La"):
            picture = picture.convert({"1": "L", "LA": "L", "La": "L"}.get(mode, "RGB"))
        pixels = np.asarray(picture)
    if bits is not None and bits > 8 and pixels.dtype == np.uint8:
        raise InvalidInputError(
            f"{path}: bits={bits} was given, and its values are read with 8 ({mode}; of 16 in colour, or beside "
            "transparency, the upper 8): leave it out, or save the image in plain grey"
        )
    if sixteen and pixels.dtype == np.uint8 and 0 < pixels.max() < 2**4:
        _log.warning(
            "%s: of its values of 16 bits (%s) the upper 8 are read, the largest of which is %d of 255: it will be "
            "dark, and coarse; does it hold 12 bits? Save it in plain grey, or with 8 bits",
            path,
            mode,
            pixels.max(),
        )
    if pixels.ndim == 3 and (pixels[..., :1] == pixels).all():
        pixels = pixels[..., 0]
    array = _to_unit(pixels, path, bits)
    if inverted:
        array = 1 - array
    return np.ascontiguousarray(np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None])


def _to_unit(pixels: np.ndarray, path: Path, bits: int | None) -> np.ndarray:
    """Grey levels in 0..1 by the bit depth: the one that was given, or that of the file."""
    low, high = float(pixels.min()), float(pixels.max())
    if bits is not None:
        full = 2.0**bits - 1
    elif np.issubdtype(pixels.dtype, np.floating):
        full = 1.0
    else:
        full = _FULL[8] if pixels.dtype == np.uint8 else _FULL[16]
    if not (low >= 0 and high <= full):
        depth = f"{bits} bits" if bits else f"its type ({pixels.dtype})"
        raise InvalidInputError(
            f"{path}: values {low:g} to {high:g} are not the grey levels 0 to {full:g} that {depth} allow; give the "
            "bit depth: load_image(path, bits=16)"
        )
    if bits is None and full == _FULL[16] and 0 < high < 2**12:
        _log.warning(
            "%s: its largest value is %g of 65535, so it will be dark; does it hold 12 bits? load_image(path, bits=12)",
            path,
            high,
        )
    unit = pixels.astype(np.float32)
    unit /= np.float32(full)
    return unit
