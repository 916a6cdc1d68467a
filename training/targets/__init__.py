"""Target tasks: one TOML file each, read by a short file per data set. `load_target` gives one, `list_targets` all."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError

from ..run.settings import read_toml, settings_of, shipped
from .protocol import Found, Item, LoadedItem, Settings, Target, identities, in_parts

TASKS = "targets/tasks"
DATA = "data"
"""Where the shipped targets look for their data, below the current folder."""
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


def load_target(target: str | Path, overrides: Sequence[str] = (), data: str | Path | None = None) -> Target:
    """Read a target by file or shipped name.

    A relative `root` or `splits.file` in a file is looked for beside the file, then in the current folder.

    Args:
        overrides: `key=value` as for recipes, or `TARGET:key=value` for the target of that name alone.
        data: folder that stands for `data/` in the root of a shipped target.

    Raises:
        InvalidInputError: no such target or reader, broken TOML, an unknown key or a value of the wrong kind.
    """
    values = read_toml(TASKS, target)
    beside = Path(target).parent if Path(target).is_file() else None
    overrides = _of(values.get("name"), overrides)
    place = Path(str(values.get("root")))
    if data is not None and beside is None and place.parts[:1] == (DATA,):
        values["root"] = str(Path(data).joinpath(*place.parts[1:]))
    found = settings_of(_reader(values, target), values, target, overrides)
    if beside is None:
        return found
    given = {text.partition("=")[0].strip() for text in overrides}
    if "root" not in given and (beside / found.root).exists():
        found = found.model_copy(update={"root": str(beside / found.root)})
    split = found.splits.file
    if split is not None and "splits.file" not in given and (beside / split).is_file():
        found = found.model_copy(update={"splits": found.splits.model_copy(update={"file": str(beside / split)})})
    return found


def list_targets() -> list[str]:
    """Names of the targets that come with the package."""
    return shipped(TASKS)


def _of(name: Any, overrides: Sequence[str]) -> list[str]:
    """The overrides for every target, and after them those for the target of this name."""
    general = [text for text in overrides if ":" not in text.partition("=")[0]]
    return general + [text.partition(":")[2] for text in overrides if text.startswith(f"{name}:")]


def _reader(values: dict[str, Any], target: str | Path) -> type[Target]:
    reader = values.get("reader")
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
