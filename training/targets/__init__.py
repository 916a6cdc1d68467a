"""Target tasks: one TOML file each, read by a short file per data set. `load_target` gives one, `list_targets` all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..run.settings import read_toml, settings_of, shipped
from .defaults import AnyPreprocessing
from .items import Found, Item, LoadedItem, identities, in_parts
from .protocol import Target
from .readers import reader_class

TASKS = "targets/tasks"
DATA = "data"
"""Where the shipped targets look for their data, below the current folder."""


def load_target(
    name: str | Path,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    weights: Sequence[AnyPreprocessing] = (),
) -> Target:
    """Read a target by file or shipped name, with `key=value` overrides as for recipes.

    A relative `root` or `splits.file` in a file is looked for beside the file, then in the current folder.

    Args:
        overrides: `key=value`, or `TARGET:key=value`, which is heeded where the target is called so, and comes last.
        data: folder that stands for `data/` in the root of a shipped target.
        weights: preprocessing of the initialisations, for what a target of a user's own does not say.

    Raises:
        InvalidInputError: no such target or reader, broken TOML, an unknown key or a value of the wrong kind.
    """
    values = read_toml(TASKS, name)
    if Path(name).is_file():
        _look_beside(values, Path(name).parent)
    elif data is not None and (place := Path(str(values.get("root", "")))).parts[:1] == (DATA,):
        values["root"] = str(Path(data).joinpath(*place.parts[1:]))
    general = [text for text in overrides if ":" not in text.partition("=")[0]]
    mine = [text.partition(":")[2] for text in overrides if text.startswith(f"{values.get('name')}:")]
    reader = reader_class(values.get("reader"), str(name))
    taken: dict[str, Any] = {}

    def complete(values: dict[str, Any]) -> dict[str, Any]:
        whole, theirs = reader.completed(values, weights)
        taken.update(theirs)
        return whole

    target = settings_of(reader, values, name, [*general, *mine], complete)
    target._file, target._taken = str(name) if Path(name).is_file() else "", taken
    return target


def list_targets() -> list[str]:
    """Names of the targets that come with the package."""
    return shipped(TASKS)


def _look_beside(values: dict[str, Any], folder: Path) -> None:
    """Resolve relative paths of a file, where what they name is there."""
    splits = values.get("splits")
    for place, key in ((values, "root"), (splits if isinstance(splits, dict) else {}, "file")):
        path = place.get(key)
        if isinstance(path, str) and (folder / path).exists():
            place[key] = str(folder / path)


__all__ = [
    "Found",
    "Item",
    "LoadedItem",
    "Target",
    "identities",
    "in_parts",
    "list_targets",
    "load_target",
]
