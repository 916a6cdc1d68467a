"""The networks, and how they are loaded and saved."""

from __future__ import annotations

import os
from typing import Any

from sg_hub.errors import ReadError
from sg_hub.models.semantic_genesis import PretextOutput, SemanticGenesis
from sg_hub.models.semantic_genesis_2d import SemanticGenesis2D
from sg_hub.models.semantic_genesis_3d import SemanticGenesis3D
from sg_hub.models.source import architecture_of, locate
from sg_hub.models.state import LoadReport

ARCHITECTURES: dict[str, type[SemanticGenesis]] = {cls.__name__: cls for cls in (SemanticGenesis2D, SemanticGenesis3D)}


def from_pretrained(name: str | os.PathLike[str], **options: Any) -> SemanticGenesis:
    """A pretrained model of whatever architecture its config names; options as in its class's `from_pretrained`.

    Raises:
        InvalidInputError, ReadError: see `SemanticGenesis3D.from_pretrained`.
    """
    where = {key: options[key] for key in ("revision", "token", "cache_dir", "local_files_only") if key in options}
    files = locate(name, **where, force_download=options.get("force_download", False))
    architecture = architecture_of(files.config)
    if architecture not in ARCHITECTURES:
        raise ReadError(
            f"{files.config} is of a {architecture!r}; this sg_hub knows {', '.join(ARCHITECTURES)}: "
            "upgrade it (pip install -U sg_hub)"
        )
    options.pop("force_download", None)
    return ARCHITECTURES[architecture].from_pretrained(name, **options)


__all__ = [
    "ARCHITECTURES",
    "LoadReport",
    "PretextOutput",
    "SemanticGenesis",
    "SemanticGenesis2D",
    "SemanticGenesis3D",
    "from_pretrained",
]
