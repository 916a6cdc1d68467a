"""What is a scan, and what is something else: pictures, films, colours, several volumes in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sg_hub.errors import InvalidInputError, ReadError

if TYPE_CHECKING:
    import SimpleITK as sitk

# Of 2D pictures, by their first bytes: for a message.
_PICTURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
}


def check_shape(source: str, sides: Sequence[int]) -> None:
    """Refuse what is not one volume; `sides` are those along the file's axes, the channels' left out."""
    shown = " x ".join(f"{side:.12g}" for side in sides)
    if len(sides) < 3 or 1 in sides[:3]:
        raise InvalidInputError(
            f"{source} is a 2D image (size {shown}); expected a 3D scan: give the folder with all its slices, or the "
            "whole volume"
        )
    if len(sides) == 4 and sides[3] > 1:
        raise InvalidInputError(
            f"{source} is 4D: {sides[3]} volumes of {' x '.join(map(str, sides[:3]))}; expected one 3D "
            "volume. Save the one you need: SimpleITK.WriteImage(SimpleITK.ReadImage(path)[:, :, :, 0], "
            "'volume.nii.gz')"
        )
    if len(sides) > 4:
        raise InvalidInputError(f"{source} has {len(sides)} dimensions (size {shown}); expected one 3D volume")


def refuse_colour(source: str, channels: int, kind: str) -> None:
    """Raise InvalidInputError: colours are no measurements."""
    raise InvalidInputError(
        f"{source} is a colour image ({'RGB' if channels == 3 else 'RGBA'}, {kind}); expected a scan "
        "of grey values, such as HU: convert the original scan, not a picture of it"
    )


def refuse_complex(source: str, kind: str) -> None:
    """Raise InvalidInputError: complex numbers cannot be ordered."""
    raise InvalidInputError(f"{source} holds {kind} values; expected real ones: save the magnitude")


def looks_like_colour(channels: int, bits: int, unsigned: bool) -> bool:
    """Three or four channels of 8 bits without sign, where the file does not say what they are. Of more bits they are
    channels: MR contrasts, for instance."""
    return channels in (3, 4) and unsigned and bits == 8


def check_image(image: sitk.Image, source: str) -> None:
    """Refuse an image of SimpleITK that is no 3D scan of grey values."""
    kind = image.GetPixelIDTypeAsString()
    channels = image.GetNumberOfComponentsPerPixel()
    if "complex" in kind:
        refuse_complex(source, kind)
    if looks_like_colour(channels, 8 if "8-bit" in kind else 16, "unsigned" in kind):
        refuse_colour(source, channels, kind)
    check_shape(source, image.GetSize())


def lossy_labels(path: str | Path, kind: str) -> ReadError:
    """The error for a label map whose compression has changed its numbers; `kind` says which."""
    return ReadError(
        f"{path} is a label map saved with loss ({kind}): its numbers are no longer those that were drawn. Export "
        "the labels again without: as PNG or TIFF, in 3D as NIfTI, NRRD or MHA"
    )


def picture_format(start: bytes) -> str:
    """Name of the format of a 2D picture by its first bytes; empty where it is none."""
    return next((name for mark, name in _PICTURES.items() if start.startswith(mark)), "")
