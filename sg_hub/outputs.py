"""Files that the commands write: refused early where they cannot be written, and never half written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from sg_hub.errors import InvalidInputError, ReadError

LABEL_MAPS = (".nii.gz", ".nii", ".nrrd", ".mha")
"""What `Scan.save` writes."""
LABEL_IMAGES = (".png", ".tif", ".tiff")
"""What `Image.save` writes."""


def check_output(
    path: str | os.PathLike[str], suffixes: Sequence[str], inputs: Sequence[str | os.PathLike[str]] = ()
) -> Path:
    """Refuse a file that cannot be written, before the work rather than after it.

    Args:
        path: file to be written.
        suffixes: those that it may have.
        inputs: files that it must not replace.

    Raises:
        InvalidInputError: another suffix, a folder, or one of the inputs.
        ReadError: its folder is missing or may not be written to.
    """
    path = Path(path).expanduser()
    if not path.name.lower().endswith(tuple(suffixes)):
        raise InvalidInputError(f"{path}: expected a file name that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise InvalidInputError(f"{path} is a folder: give the name of a file in it")
    if not path.parent.is_dir():
        raise ReadError(f"{path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ReadError(f"{path}: you may not write to the folder {path.parent.resolve()}; choose another one")
    for given in inputs:
        if path.exists() and Path(given).exists() and path.samefile(given):
            raise InvalidInputError(f"{path} is the scan itself, which would be lost: give the result another name")
    return path


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file that takes its place when it is complete; until then an older one stays.

    Raises:
        ReadError: it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or error
        raise ReadError(f"{path} cannot be written ({reason}): is there space, and may you write there?") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
