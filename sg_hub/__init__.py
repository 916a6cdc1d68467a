"""Pretrained weights of Semantic Genesis for medical images, in 3D and 2D.

import sg_hub

scan = sg_hub.load_scan("ct.nii.gz")
model = sg_hub.from_pretrained("semantic-genesis-3d-tiny", head="segmentation", num_classes=3)
labels = sg_hub.predict(model, scan, output="labels")

Every name is imported from its room when it is first asked for, so that `sg-hub --help` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sg_hub.checkout import alias_training
from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.version import __version__ as __version__

if TYPE_CHECKING:
    from sg_hub.conversion.convert import convert
    from sg_hub.hub.registry import PretrainedWeights, get_weights, list_models
    from sg_hub.inference.classify import classify
    from sg_hub.inference.embed import embed
    from sg_hub.inference.locate import locate
    from sg_hub.inference.predict import predict
    from sg_hub.inference.propagate import propagate
    from sg_hub.io.image import Image, load_image
    from sg_hub.io.scan import Scan, load_scan
    from sg_hub.models import LoadReport, PretextOutput, SemanticGenesis2D, SemanticGenesis3D, from_pretrained
    from sg_hub.preprocessing.preprocessing import ImagePreprocessing, Preprocessing

alias_training()

_PLACES = {
    "conversion.convert": ("convert",),
    "hub.registry": ("PretrainedWeights", "get_weights", "list_models"),
    "inference.classify": ("classify",),
    "inference.embed": ("embed",),
    "inference.locate": ("locate",),
    "inference.predict": ("predict",),
    "inference.propagate": ("propagate",),
    "io.image": ("Image", "load_image"),
    "io.scan": ("Scan", "load_scan"),
    "models": ("LoadReport", "PretextOutput", "SemanticGenesis2D", "SemanticGenesis3D", "from_pretrained"),
    "preprocessing.preprocessing": ("ImagePreprocessing", "Preprocessing"),
}
"""Modules, and the public names in each."""
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "Image",
    "ImagePreprocessing",
    "InvalidInputError",
    "LoadReport",
    "Preprocessing",
    "PretextOutput",
    "PretrainedWeights",
    "ReadError",
    "Scan",
    "SemanticGenesis2D",
    "SemanticGenesis3D",
    "SgHubError",
    "classify",
    "convert",
    "embed",
    "from_pretrained",
    "get_weights",
    "list_models",
    "load_image",
    "load_scan",
    "locate",
    "predict",
    "propagate",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'sg_hub' has no attribute {name!r}")
    value = getattr(import_module(f"sg_hub.{_PLACE_OF[name]}"), name)
    globals()[name] = value  # from now on it is found without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
