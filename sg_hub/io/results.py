"""Results that are written: of a type that common tools read, and by ITK read again before they take their place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.io.files import writing_path

if TYPE_CHECKING:
    import SimpleITK as sitk

_SMALL = (np.uint8, np.int16, np.uint16, np.int32, np.uint32)


def plain(array: Any) -> np.ndarray:
    """An array, numpy or torch, on any device, as numpy: whole numbers in their own type, fractions as float32.

    Raises:
        InvalidInputError: it holds no numbers.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = array.float().numpy() if array.is_floating_point() else array.numpy()
    result: np.ndarray = np.asarray(array)
    if result.dtype == bool:
        return result.astype(np.uint8)
    if result.dtype.kind not in "iuf":
        raise InvalidInputError(f"array of type {result.dtype}: expected real numbers")
    kind: Any = result.dtype.newbyteorder("=") if result.dtype.kind in "iu" else np.float32
    return result.astype(kind, copy=False)


def smallest_type(array: np.ndarray) -> np.ndarray:
    """Whole numbers of 64 bits in the smallest type that holds them; others as they are.

    Raises:
        InvalidInputError: numbers that need 64 bits.
    """
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return array
    low, high = int(array.min()), int(array.max())
    for kind in _SMALL:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    raise InvalidInputError(
        f"result of type {array.dtype} with values {low} to {high}: common tools read whole numbers of at most 32 "
        "bits; number the labels anew, or give floating-point numbers"
    )


def _bytes(array: np.ndarray) -> np.ndarray:
    """A view, in which NaN is equal to itself."""
    return array.reshape(-1).view(np.uint8)


def write_with_itk(path: Path, image: sitk.Image) -> None:
    """Write .mha or .nrrd; what was written is read again before it takes the place of an older file.

    Raises:
        ReadError: it cannot be written.
    """
    import SimpleITK as sitk

    with writing_path(path, path.suffix.lower()) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), True)
            written = sitk.ReadImage(str(temporary))
            one, other = (sitk.GetArrayViewFromImage(entry) for entry in (image, written))
            same = one.dtype == other.dtype and np.array_equal(_bytes(one), _bytes(other))
            reason = "" if same else "what is there is not what was written"
        except RuntimeError as error:
            reason = shortened(str(error).strip().splitlines()[-1])
        if reason:
            raise ReadError(f"{path} cannot be written ({reason}): is there space, and may you write there?")
