"""Arrays in .npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sg_hub.errors import ReadError, shortened


def read_arrays(path: Path, *keys: str) -> dict[str, np.ndarray]:
    """Arrays of an .npz file by name; without names all of them.

    Raises:
        ReadError: it is missing, cut off or damaged, or lacks one of them.
    """
    try:
        with np.load(path) as file:
            return {key: file[key] for key in keys or file.files}
    except OSError as error:
        if error.errno is not None:
            raise ReadError(f"{path} cannot be read ({error.strerror or error})") from error
        raise ReadError(f"{path} is damaged ({shortened(error)})") from error
    except Exception as error:  # what zipfile, zlib and numpy raise of damaged bytes has no common class
        expected = f"; expected {', '.join(keys)}" if keys else ""
        raise ReadError(f"{path} is damaged or lacks an array ({shortened(error)}){expected}") from error
