"""timm, imported where a 2D network is built and nowhere else: 3D users never pay for it."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

# timm imports torchvision, whose Linux build on PyPI is for CUDA. Beside a torch without CUDA its compiled operators
# cannot be loaded, and its Python part fails at the first of them that it describes ("operator torchvision::nms does
# not exist"). Nothing here uses them, so it is enough that they are declared.
_MISSING = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def import_timm() -> ModuleType:
    """The timm package, also where torchvision was built for another torch."""
    _declare_operators()
    import timm

    return timm


@cache
def _declare_operators() -> torch.library.Library | None:
    """Declare torchvision's operators when its compiled part cannot be loaded.

    Once in a process, for they cannot be declared twice; what is returned, and kept by the cache, keeps them alive.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or not found.submodule_search_locations:
        return None
    for file in Path(found.submodule_search_locations[0]).glob("_C*.*"):
        try:
            torch.ops.load_library(str(file))
            return None
        except OSError:
            continue
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _MISSING:
        name = schema.partition("(")[0]
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    return library
