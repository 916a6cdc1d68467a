"""A model in a folder: config.json and model.safetensors are written so that they always belong together.

config.json holds the sha256 of the weights that it was written for, and taking its place is the one step that makes a
new model of an older one. Until then the older weights stay, under a name of their own once the new ones have taken
theirs; so whenever a process is killed, the folder holds one whole model, the older or the new.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import save
from torch import Tensor

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.hub.config_file import CONFIG, sha256_of_weights, write_config
from sg_hub.hub.weights_file import WEIGHTS
from sg_hub.io.files import given_path, remove_unfinished, unwritable, write_atomic, writing_path

OLDER_WEIGHTS = f".{WEIGHTS}.older"
"""Where the weights of the config that is still there are, while new ones take their place."""
_TRIES, _PAUSE = 9, 0.05
"""Of a folder into which somebody saves all the time; seconds."""
Result = TypeVar("Result")


def new_folder(path: str | os.PathLike[str]) -> Path:
    """A folder for a model, with `~` resolved; made where there is none.

    Raises:
        InvalidInputError: a file.
        ReadError: it cannot be made.
    """
    folder = given_path(path, "a folder for the model")
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise InvalidInputError(f"{folder} is a file: give a folder for the model")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def write_model(
    folder: Path,
    state: Mapping[str, Tensor],
    architecture: str,
    arguments: Mapping[str, Any],
    texts: Mapping[str, str],
) -> None:
    """Write config.json and model.safetensors, and before them what goes with them; other files stay as they are.

    Args:
        state: tensors on the CPU, contiguous, by name.
        architecture: class that the config names.
        arguments: what else it holds.
        texts: card and licence by file name.

    Raises:
        ReadError: it cannot be written; the older model is there as it was.
    """
    with _alone(folder):
        remove_unfinished(folder)
        _restore(folder)
        try:
            for name, text in texts.items():
                write_atomic(folder / name, text)
            # The last to be named is the first to take its place.
            with writing_path(folder / CONFIG) as config, writing_path(folder / WEIGHTS) as weights:
                # Not by its save_file: of that a killed process leaves a file of a name that nobody knows.
                weights.write_bytes(save(dict(state), metadata={"format": "pt"}))
                write_config(config, architecture, arguments, sha256_of(weights))
                _keep_older(folder)
        except BaseException:
            _restore(folder)
            raise
        (folder / OLDER_WEIGHTS).unlink(missing_ok=True)


def weights_of(folder: Path) -> tuple[Path, str | None]:
    """The weights that belong to a folder's config.json, and their sha256 where the config says it.

    Where a save was killed between its two files, that is the older one: a config that does not say which weights are
    its own was there before.
    """
    expected, older = sha256_of_weights(folder / CONFIG), folder / OLDER_WEIGHTS
    if older.is_file() and (expected is None or sha256_of(older) == expected):
        return older, expected
    return folder / WEIGHTS, expected


def undisturbed(name: str | os.PathLike[str], load: Callable[[], Result]) -> Result:
    """What `load` gives of a name's files. Where these are in a folder into which another process saves meanwhile, what
    was read of two models goes wrong, and is read again.

    Raises:
        ReadError: of `load`, in a folder that stays as it is.
    """
    for _ in range(_TRIES):
        before = _state_of(name)
        try:
            return load()
        except ReadError:
            if _state_of(name) == before:
                raise
            time.sleep(_PAUSE)
    return load()


def _state_of(name: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Of the config, which a save replaces last."""
    try:
        found = os.stat(os.path.join(os.path.expanduser(name), CONFIG))
    except (OSError, TypeError, ValueError):
        return None
    return found.st_ino, found.st_mtime_ns


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep_older(folder: Path) -> None:
    """Give the weights of the older config a second name; where a folder has no links, their only one."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        return
    try:
        os.link(folder / WEIGHTS, folder / OLDER_WEIGHTS)
    except OSError:
        os.replace(folder / WEIGHTS, folder / OLDER_WEIGHTS)


def _restore(folder: Path) -> None:
    """Undo a save that was not completed: the config that is there gets its weights back."""
    older = folder / OLDER_WEIGHTS
    if older.exists():
        if weights_of(folder)[0] == older:
            os.replace(older, folder / WEIGHTS)
        older.unlink(missing_ok=True)  # where both are names of one file, replacing the one leaves the other


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time writes into a folder, where the system has such locks; they end with their process."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a folder on another machine that gives no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
