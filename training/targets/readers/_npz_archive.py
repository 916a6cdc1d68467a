"""Data sets that are one .npz file: read whole, and checked."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from sg_hub.errors import ReadError

from ...run.folder.arrays import read_arrays


def read_archive(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """All of these arrays of a file, which are not to be changed: they are kept until another file is read.

    Raises:
        ReadError: missing, truncated or damaged, or without one of them.
    """
    try:
        stamp = path.stat()
    except FileNotFoundError:
        raise ReadError(f"{path} is not there; give root=FOLDER that holds {path.name}") from None
    except OSError as error:
        raise ReadError(f"{path} cannot be read ({error.strerror or error})") from error
    return _read(path, keys, (stamp.st_size, stamp.st_mtime_ns))


@lru_cache(maxsize=1)  # items are read one after the other, and each is a part of the same arrays
def _read(path: Path, keys: tuple[str, ...], _stamp: tuple[int, int]) -> dict[str, np.ndarray]:
    return read_arrays(path, *keys)
