"""What a target of a user's own need not say: the dimension is that of the files, the rest is as the weights expect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sg_hub import ImagePreprocessing, Preprocessing
from sg_hub.io.finder import PICTURE_SUFFIXES, SCAN_SUFFIXES, find_images, walk
from sg_hub.io.formats.dicom.files import storage_class

AnyPreprocessing = Preprocessing | ImagePreprocessing
_XRAYS = "1.2.840.10008.5.1.4.1.1.1"
"""DICOM's storage classes of computed and digital radiographs and mammograms: this one, and those below it."""


def dims_of(folder: Path) -> int:
    """Of the files in a folder: 3 for scans (also DICOM slices), 2 for pictures and X-rays; 3 where there is no folder,
    which is said when it is looked through.

    Raises:
        ReadError: a folder that may not be looked at.
    """
    if not folder.is_dir():
        return 3
    names = [name.lower() for _, files in walk(folder) for name in files]
    if any(name.endswith(SCAN_SUFFIXES) for name in names):
        return 3
    if any(name.endswith(PICTURE_SUFFIXES) for name in names):
        return 2
    first = next(iter(find_images(folder).values()), None)
    storage = storage_class(first) if first is not None else ""
    return 2 if storage == _XRAYS or storage.startswith(f"{_XRAYS}.") else 3


def as_weights_expect(
    values: dict[str, Any], dims: int, weights: Sequence[AnyPreprocessing]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of a target's TOML, and what they do not say.

    Args:
        dims: of its images.
        weights: preprocessing of the initialisations; the first that takes such images counts, and where none does,
            what sg_hub's own is.

    Returns:
        the values with everything that they left out, and what that was, by key.
    """
    grid, settings = values.get("grid", {}), values.get("settings", {})
    if not isinstance(grid, dict) or not isinstance(settings, dict) or values.get("ndim", dims) != dims:
        return values, {}
    generic: AnyPreprocessing = Preprocessing() if dims == 3 else ImagePreprocessing()
    theirs = next((one for one in weights if dims == one.NDIM), generic)
    wanted: dict[str, Any] = {}
    if grid.get("intensity", theirs.intensity) == theirs.intensity:
        wanted |= {"intensity": theirs.intensity, "low": theirs.low, "high": theirs.high}
    patch: dict[str, Any] = {}
    if isinstance(theirs, ImagePreprocessing):
        wanted["size"] = list(theirs.input_size)
    elif "size" not in grid:
        wanted |= {"spacing": list(theirs.spacing)} if theirs.spacing is not None else {}
        whole = list(theirs.size or theirs.input_size)
        if values.get("head") == "classification":
            wanted["size"] = whole
        else:
            patch["patch"] = list(theirs.input_size)
    wanted = {key: value for key, value in wanted.items() if key not in grid}
    patch = {key: value for key, value in patch.items() if key not in settings}
    taken = {f"grid.{key}": value for key, value in wanted.items()}
    taken |= {f"settings.{key}": value for key, value in patch.items()}
    return values | {"grid": grid | wanted, "settings": settings | patch}, taken
