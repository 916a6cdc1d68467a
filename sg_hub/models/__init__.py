"""The networks, and how they are loaded and saved."""

from __future__ import annotations

import os
from typing import Any

from sg_hub.errors import ReadError
from sg_hub.hub.config_file import architecture_of
from sg_hub.hub.locate import locate
from sg_hub.models.loading import LoadReport
from sg_hub.models.semantic_genesis import PretextOutput, SemanticGenesis
from sg_hub.models.semantic_genesis_2d import SemanticGenesis2D
from sg_hub.models.semantic_genesis_3d import SemanticGenesis3D

ARCHITECTURES: dict[str, type[SemanticGenesis]] = {cls.__name__: cls for cls in (SemanticGenesis2D, SemanticGenesis3D)}
_WHERE = ("revision", "token", "cache_dir", "local_files_only", "force_download")


def from_pretrained(name: str | os.PathLike[str], **options: Any) -> SemanticGenesis:
    """A pretrained model of whatever architecture its config names; options as in its class's `from_pretrained`.

    Raises:
        InvalidInputError, ReadError: see `SemanticGenesis3D.from_pretrained`.
    """
    where = {key: options.pop(key) for key in _WHERE if key in options}
    files = locate(name, **where)  # once, for a branch may move
    architecture = architecture_of(files.config)
    if architecture not in ARCHITECTURES:
        raise ReadError(
            f"{files.config} is of a {architecture!r}; this sg_hub knows {', '.join(ARCHITECTURES)}: "
            "upgrade it (pip install -U sg_hub)"
        )
    return ARCHITECTURES[architecture].from_pretrained(files, **options)


__all__ = [
    "ARCHITECTURES",
    "LoadReport",
    "PretextOutput",
    "SemanticGenesis",
    "SemanticGenesis2D",
    "SemanticGenesis3D",
    "from_pretrained",
]
