"""Readers of data sets: one file each. A user's own package adds its through the entry point group `sg_hub.readers`."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sg_hub.errors import InvalidInputError

from ..protocol import Target

GROUP = "sg_hub.readers"


def reader_names() -> list[str]:
    """What `reader` may be in a target's TOML: the files of this folder, and the entry points of other packages."""
    return sorted({*_files(), *_entry_points()})


def reader_class(name: Any, source: str) -> type[Target]:
    """The class that reads a data set.

    Args:
        name: as the TOML gives it.
        source: the TOML, for the message.

    Raises:
        InvalidInputError: no such reader, or another package's that cannot be used.
    """
    if name in _files():
        module = import_module(f"{__name__}.{name}")
        (cls,) = (
            c
            for _, c in inspect.getmembers(module, inspect.isclass)
            if c.__module__ == module.__name__ and issubclass(c, Target)
        )
        return cls
    entry = _entry_points().get(name) if isinstance(name, str) else None
    if entry is None:
        raise InvalidInputError(f"{source}: reader = {name!r}; expected one of {', '.join(reader_names())}")
    try:
        cls = entry.load()
    except Exception as error:  # whatever the other package does when it is imported
        raise InvalidInputError(f"{source}: reader {name!r} ({entry.value}) cannot be loaded: {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, Target)):
        raise InvalidInputError(f"{source}: reader {name!r} ({entry.value}) is no subclass of training.targets.Target")
    return cls


def _files() -> list[str]:
    """Files whose names begin with _ are read by readers, and are none."""
    return [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]


def _entry_points() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
