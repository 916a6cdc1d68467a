"""PNG, JPEG, TIFF and BMP files, opened by pillow: their size is looked at first, and whatever pillow raises on a
damaged file is an error that names it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sg_hub.errors import InvalidInputError, ReadError, SgHubError, shortened
from sg_hub.io.for_all_threads import without_warnings
from sg_hub.io.formats.limits import IMAGE_BYTES, most_bytes, refuse_large
from sg_hub.io.formats.others import other_format_of

FORMATS = "DICOM, PNG, JPEG, TIFF or BMP"
BITS, COMPRESSION, PHOTOMETRIC = 258, 259, 262
"""TIFF's tags of the bits of a value, of how they are packed, and of the photometric interpretation; of the last 0 says
that white is zero, which pillow inverts for up to 8 bits only."""
_SCANS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")


@contextlib.contextmanager
def opened(path: Path, formats: tuple[str, ...], expected: str) -> Iterator[Any]:
    """A pillow image of one of the formats, which holds one picture of an allowed size; nothing is decoded yet.

    Args:
        expected: what is to be given instead of another format, for the message.

    Raises:
        ReadError: missing, truncated or damaged, or no picture; also for what fails while the image is used.
        InvalidInputError: another format, several pictures, or too large a one.
    """
    from PIL import Image, UnidentifiedImageError

    most = most_bytes(IMAGE_BYTES)
    if most > IMAGE_BYTES and Image.MAX_IMAGE_PIXELS is not None:  # pillow has a limit of its own, and lifts it so
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, most)
    try:
        # By its path pillow would map the file, and tear the rows of a TIFF that is to be turned by 90 degrees.
        with without_warnings, open(path, "rb") as file, Image.open(file) as picture:
            if picture.format not in formats:
                raise InvalidInputError(f"{path} is a {picture.format} file: expected {expected}")
            refuse_large(path, (*picture.size[::-1], len(picture.getbands())), IMAGE_BYTES)
            if picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
                count = picture.n_frames  # type: ignore[attr-defined]
                raise InvalidInputError(f"{path} holds {count} images: save the one that you need alone")
            if picture.format == "BMP":
                _refuse_misread(path, file, packing(picture))
            yield picture
    except UnidentifiedImageError:
        raise _unknown(path, expected) from None
    except (SgHubError, PermissionError, FileNotFoundError, NotADirectoryError):
        raise
    except Image.DecompressionBombError as error:
        raise InvalidInputError(f"{path}: {shortened(error, 200)}. Allow more: SG_HUB_MAX_BYTES=BYTES") from error
    except Exception as error:  # pillow raises nearly anything for a damaged file
        reason = shortened(error, 200) or type(error).__name__
        raise ReadError(f"{path} is truncated or damaged ({reason}): copy, download or export it again") from error


def white_is_zero(picture: Any) -> bool:
    """Whether a TIFF says so."""
    return getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == 0


def packing(picture: Any) -> str:
    """How pillow unpacks the values of a picture that is not decoded yet, such as `L;2` or `RGB;16B`; empty where it
    does not say it."""
    how = picture.tile[0].args if picture.tile else ""
    return str(how if isinstance(how, str) else next(iter(how or ()), ""))


def _refuse_misread(path: Path, file: BinaryIO, packed: str) -> None:
    """Pillow takes a BMP with a palette of black and white for one of 1 bit, and one of the greys 0, 1, 2, ... for one
    of 8, however many bits a pixel has: what comes of it are other pixels."""
    file.seek(0)
    head = file.read(30)
    place = 24 if head[14] == 12 else 28
    bits = int.from_bytes(head[place : place + 2], "little")
    if bits != {"1": 1, "L": 8}.get(packed, bits):
        raise InvalidInputError(
            f"{path} is a BMP of {bits} bits a pixel with a palette of greys, which is not read right: save it as PNG"
        )


def _unknown(path: Path, expected: str) -> ReadError | InvalidInputError:
    """Why pillow knows no format of a file: a TIFF whose values it cannot unpack, or something else."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        with open(path, "rb") as file:
            directory = ImageFileDirectory_v2(file.read(8))
            file.seek(directory.next)
            directory.load(file)
        bits, photometric = max(directory[BITS]), directory[PHOTOMETRIC]
    except Exception:  # pillow raises nearly anything for what is no TIFF, or a damaged one
        other = other_format_of(path)
        if other:
            return ReadError(f"{path} {other}; expected {expected}")
        if path.name.lower().endswith(_SCANS):
            return ReadError(
                f"{path} is a 3D scan, not a picture: expected {expected}; scans take 3D weights, such as "
                "semantic-genesis-3d-tiny"
            )
        return ReadError(f"{path} is in no format that can be read: expected {expected}")
    white = ", white is zero" if photometric == 0 else ""
    return InvalidInputError(
        f"{path} is a TIFF of {bits} bits a value{white} (photometric interpretation {photometric}), which cannot be "
        "read: save it with 8 or 16 bits, unsigned, and black as zero"
    )
