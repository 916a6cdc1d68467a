"""Paths as they are given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError


def given_path(path: Any, what: str) -> Path:
    """A path with `~` resolved; nothing is looked up on the disk.

    Args:
        what: what is to be given, for the message.

    Raises:
        InvalidInputError: no path, or characters that no path has.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise InvalidInputError(f"a path is needed, not a value of type {type(path).__name__}: give {what}")
    text = os.fspath(path)
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeError:
        possible = False
    if not possible:
        raise InvalidInputError(f"{text!r} holds characters that no path can have: give {what}")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InvalidInputError(
            f"{text}: there is no such user's home folder: give {what} with its full path"
        ) from error
