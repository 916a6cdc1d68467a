"""Target tasks: one TOML file each, read by a short file per data set. `load_target` gives one, `list_targets` all."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError

from ..run.recipe import load_settings, shipped
from .protocol import Found, Item, LoadedItem, Settings, Target, identities, in_parts

TASKS = "targets/tasks"
READERS = {
    "luna16": "Luna16",
    "lidc_idri": "LidcIdri",
    "lits": "Lits",
    "brats2018": "Brats2018",
    "chestxray14": "ChestXray14",
    "siim_acr": "SiimAcr",
    "lidc_patches": "LidcPatches",
    "openkbp": "OpenKbp",
    "chestxray14_npz": "ChestXray14Npz",
    "folder": "Folder",
}
"""Modules of this folder, and the class in each."""


def load_target(target: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Target:
    """Read a target by file or shipped name, with `key=value` overrides as for recipes.

    A relative `root` or `splits.file` in a file is looked for beside the file, then in the current folder.

    Raises:
        InvalidInputError: no such target or reader, broken TOML, an unknown key or a value of the wrong kind.
    """
    found = load_settings(_reader(target), TASKS, target, overrides)
    given = {text.partition("=")[0].strip() for text in overrides}
    if not Path(target).is_file():
        return found
    if "root" not in given and (beside := Path(target).parent / found.root).exists():
        found = found.model_copy(update={"root": str(beside)})
    split = found.splits.file
    if split is not None and "splits.file" not in given and (beside := Path(target).parent / split).is_file():
        found = found.model_copy(update={"splits": found.splits.model_copy(update={"file": str(beside)})})
    return found


def list_targets() -> list[str]:
    """Names of the targets that come with the package."""
    return shipped(TASKS)


def _reader(target: str | Path) -> type[Target]:
    path: Any = Path(target)
    if not path.is_file():
        path = Path(__file__).parent / "tasks" / f"{target}.toml"
    if not path.is_file():
        raise InvalidInputError(f"no target {str(target)!r}: give a TOML file or one of {', '.join(list_targets())}")
    try:
        reader = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("reader")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{target}: {error}") from error
    if not isinstance(reader, str) or reader not in READERS:
        raise InvalidInputError(f"{target}: reader = {reader!r}; expected one of {', '.join(READERS)}")
    cls: type[Target] = getattr(import_module(f"{__package__}.readers.{reader}"), READERS[reader])
    return cls


__all__ = [
    "READERS",
    "Found",
    "Item",
    "LoadedItem",
    "Settings",
    "Target",
    "identities",
    "in_parts",
    "list_targets",
    "load_target",
]
