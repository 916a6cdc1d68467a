"""Which scans and which images there are below a folder. Whoever looks for them asks here."""

from __future__ import annotations

import gzip
import logging
import os
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.formats.dicom.files import SUFFIXES as DICOM_SUFFIXES
from sg_hub.io.formats.dicom.files import is_dicom_image

SCAN_SUFFIXES = (".nii.gz", ".nii", ".hdr.gz", ".hdr", ".mha", ".mhd", ".nrrd", ".nhdr")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
IMAGE_SUFFIXES = (*DICOM_SUFFIXES, *PICTURE_SUFFIXES)
_log = logging.getLogger(__name__)


def find_scans(root: str | os.PathLike[str], without: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """Scans below a folder: files of the known suffixes, and folders with DICOM slices, whatever those are called.

    Links are followed, each folder is looked at once; hidden files and folders, and stores (.zarr), are not looked at.

    Args:
        without: folder of results; where it is below `root`, it is not looked at either.

    Returns:
        by name, sorted: the path below `root` with / between its parts, without the suffix, composed (NFC) as
        `plain_name` does it; of slices in `root` itself, the name of `root`. The value is a file, or a folder.

    Raises:
        ReadError: no such folder, or one that may not be looked at.
        InvalidInputError: two scans of one name.
    """
    root = Path(root)
    found: dict[str, Path] = {}
    for folder, names in walk(root, without):
        paths = [folder / name for name in names if _is_scan_file(folder / name)]
        if any(is_dicom_image(folder / name) for name in names if not name.lower().endswith(SCAN_SUFFIXES)):
            paths.append(folder)
        for path in paths:
            _add(found, root, path, SCAN_SUFFIXES)
    return dict(sorted(found.items()))


def find_images(root: str | os.PathLike[str], without: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """2D images below a folder: files of the known suffixes, and DICOM whatever it is called. As `find_scans`."""
    root = Path(root)
    found: dict[str, Path] = {}
    for folder, names in walk(root, without):
        for path in (folder / name for name in names):
            called = path.name.lower().endswith(PICTURE_SUFFIXES)
            if called or is_dicom_image(path):
                _add(found, root, path, IMAGE_SUFFIXES)
    return dict(sorted(found.items()))


def plain_name(text: str, suffixes: tuple[str, ...] = ()) -> str:
    """A name as it can be compared: composed (NFC; files copied from a Mac are decomposed), and without its suffix
    where that is one of `suffixes`."""
    text = unicodedata.normalize("NFC", text)
    suffix = next((suffix for suffix in suffixes if text.lower().endswith(suffix)), "")
    return text[: len(text) - len(suffix)]


def _is_scan_file(path: Path) -> bool:
    """By its suffix; a .hdr also by its content, for other programs call their headers so."""
    name = path.name.lower()
    if not name.endswith((".hdr", ".hdr.gz")):
        return name.endswith(SCAN_SUFFIXES)
    try:
        with gzip.open(path) if name.endswith(".gz") else open(path, "rb") as file:
            start = file.read(348)
    except (OSError, EOFError, zlib.error):
        return False
    return start[344:347] == b"ni1" or start[4:7] == b"ni2"


def walk(root: Path, without: str | os.PathLike[str] | None = None) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below `root`, itself first, with the names of its files, both sorted; each folder once, however it
    is linked. Hidden ones and stores are passed over, and `without`.

    Raises:
        ReadError: no such folder, or one that may not be looked at.
    """
    if not root.is_dir():
        raise ReadError(f"{root} is no folder: give the folder that holds the scans or images")
    seen: dict[str, str] = {}
    apart = None if without is None else os.path.realpath(without)
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_unreadable):
        place = os.path.realpath(folder)
        if place == apart and seen:
            folders.clear()
            continue
        if place in seen:
            _log.warning("%s is the same folder as %s, whose files are taken", folder, seen[place])
            folders.clear()
            continue
        seen[place] = folder
        shown = (name for name in folders if not name.startswith(".") and not name.endswith(".zarr"))
        folders[:] = sorted(shown, key=lambda name: (os.path.islink(os.path.join(folder, name)), name))
        yield Path(folder), sorted(name for name in files if not name.startswith("."))


def _unreadable(error: OSError) -> None:
    raise ReadError(
        f"the folder {error.filename} cannot be looked at ({error.strerror}): ask for the right to read it, or move it "
        "elsewhere"
    ) from error


def _add(found: dict[str, Path], root: Path, path: Path, suffixes: tuple[str, ...]) -> None:
    below = path.relative_to(root).as_posix()
    name = plain_name(root.absolute().name) if below == "." else plain_name(below, () if path.is_dir() else suffixes)
    if name in found:
        raise InvalidInputError(f"{found[name]} and {path} have the same name: rename one of them, or leave one")
    found[name] = path
