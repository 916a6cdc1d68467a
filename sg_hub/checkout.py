"""In a checkout, `sg_hub.training` is the folder `training` beside `sg_hub`.

The wheel holds it as `sg_hub/training`, so that it brings no module called `training` of its own. A user's package
that adds a method or a reader writes `from sg_hub.training...` in both. Here that gives the very modules that the
repository's own tests and benchmarks import as `training...`, not second copies of them: a class exists once.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKAGE = Path(__file__).resolve().parent
_BESIDE = _PACKAGE.parent / "training"
_ALIAS, _REAL = "sg_hub.training", "training"


class _SameModules:
    """Finds `sg_hub.training.x` as the module `training.x`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _ALIAS and not fullname.startswith(f"{_ALIAS}."):
            return None
        real = importlib.util.find_spec(_REAL + fullname.removeprefix(_ALIAS))
        if real is None or real.origin is None or not Path(real.origin).is_relative_to(_BESIDE):
            return None  # there is none, or a module of the user's that is called training, too
        loader: Any = self  # without the base classes of importlib.abc, which every command would wait for
        return ModuleSpec(fullname, loader, loader_state=real.name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(spec.loader_state)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Python has just given it the spec of the alias; under its own the module's relative imports stay right.
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def alias_training() -> None:
    """Let `sg_hub.training` be found, where it lies beside the package and not in it."""
    if not (_PACKAGE / "training").is_dir() and (_BESIDE / "__init__.py").is_file():
        sys.meta_path.insert(0, _SameModules())  # before the usual one, which would load second copies from the folder
