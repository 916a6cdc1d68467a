"""The families of networks: which class a config's `architecture` names, imported where it is first needed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError, ReadError, SgHubError, shortened
from sg_hub.hub.config_file import architecture_of
from sg_hub.hub.find import ModelFiles, find_files
from sg_hub.hub.model_folder import undisturbed
from sg_hub.models import loading
from sg_hub.models.base import PretrainedModel
from sg_hub.models.loading import read_skeleton

GROUP = "sg_hub.models"
"""A package adds its own families by entry points of this group: `ClassName = "module:ClassName"`."""
_MODULES = {
    "DenseVNet": "sg_hub.models.families.dense_vnet",
    "I3D": "sg_hub.models.families.i3d",
    "MedicalNet": "sg_hub.models.families.medicalnet",
    "ResEncUNet": "sg_hub.models.families.res_enc",
    "SegResNet": "sg_hub.models.families.segresnet",
    "SemanticGenesis2D": "sg_hub.models.families.semantic_genesis",
    "SemanticGenesis3D": "sg_hub.models.families.semantic_genesis",
    "TimmUNet": "sg_hub.models.families.timm_unet",
}
_PREFIXES = {"timm:": "TimmUNet"}
"""How names of weights begin that others keep as they are, and the family that reads them."""
_WHERE = ("revision", "token", "cache_dir", "local_files_only", "force_download")


def from_pretrained(name: str | os.PathLike[str], **options: Any) -> PretrainedModel:
    """A pretrained model of whatever architecture its config names; options as in `PretrainedModel.from_pretrained`.

    Raises:
        InvalidInputError, ReadError: see `PretrainedModel.from_pretrained`.
    """
    where = {key: options.pop(key) for key in _WHERE if key in options}

    def load() -> PretrainedModel:
        cls, files = _find(name, **where)  # once, for a branch may move
        return cls.from_pretrained(files, **options)

    return undisturbed(name, load)


def blueprint(name: str | os.PathLike[str]) -> PretrainedModel:
    """The same model without memory: its settings, its encoder's strides, and what its weights are (`load_report`).

    Raises:
        InvalidInputError, ReadError: as for the model itself, which would not be had either.
    """
    cls, files = _find(name)
    model: PretrainedModel = loading.blueprint(cls, files)
    return model


def planned(name: str | os.PathLike[str]) -> PretrainedModel:
    """The network of a name without memory, and without a look at its weights.

    Raises:
        InvalidInputError, ReadError: a name or a config that cannot be had.
    """
    reader = _reader_of(name)
    return network_of(find_files(name).config) if reader is None else reader.planned(name)


def network_of(config: Path) -> PretrainedModel:
    """The network that a config.json describes, without weights and without memory (on the meta device).

    Raises:
        ReadError: a missing, damaged, newer or wrong file, or values that are impossible.
    """
    network: PretrainedModel = read_skeleton(_family_of(config), config)[1]
    return network


def _find(name: str | os.PathLike[str], **where: Any) -> tuple[type[PretrainedModel], ModelFiles]:
    """The family of a name, and where its files are."""
    if (reader := _reader_of(name)) is not None:
        return reader, reader.find(name, **where)
    files = find_files(name, **where)
    return _family_of(files.config), files


def _reader_of(name: object) -> type[PretrainedModel] | None:
    """The family that reads weights of that name as others keep them."""
    return next((family(_PREFIXES[start]) for start in _PREFIXES if str(name).startswith(start)), None)


def _family_of(config: Path) -> type[PretrainedModel]:
    architecture = architecture_of(config)
    cls = family(architecture)
    if cls is None:
        raise ReadError(
            f"{config} is of a {shortened(repr(architecture), 80)}; this sg_hub knows {', '.join(families())}: "
            "upgrade it (pip install -U sg_hub), or install the package that adds this family"
        )
    return cls


def families() -> list[str]:
    """Architectures that are known, by name."""
    return sorted({*_MODULES, *_added()})


def family(architecture: str) -> type[PretrainedModel] | None:
    """The class of an architecture; None: it is not known.

    Raises:
        SgHubError: another package that adds it cannot be imported, or gives something else.
    """
    if architecture in _MODULES:
        own: type[PretrainedModel] = getattr(importlib.import_module(_MODULES[architecture]), architecture)
        return own
    found = _added().get(architecture)
    if found is None:
        return None
    try:
        cls = found.load()
    except Exception as error:  # whatever another package does
        raise SgHubError(
            f"the package that adds {architecture} ({found.value}) cannot be imported: {shortened(error)}"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, PretrainedModel)) or cls.__name__ != architecture:
        raise SgHubError(
            f"the entry point {architecture} = {found.value} ({GROUP}) gives {shortened(repr(cls), 80)}: expected a "
            "PretrainedModel of that name"
        )
    return cls


def _added() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def build(config: Mapping[str, Any]) -> PretrainedModel:
    """The network that the values of a config.json describe, with random weights.

    Args:
        config: `architecture`, and the arguments of its constructor in JSON types; without preprocessing it has the
            family's own.

    Raises:
        InvalidInputError: an architecture that is not known, or values that are impossible.
    """
    settings = dict(config)
    architecture = str(settings.pop("architecture", ""))
    cls = family(architecture)
    if cls is None:
        raise InvalidInputError(f"architecture {architecture!r}: this sg_hub knows {', '.join(families())}")
    if settings.get("preprocessing") is not None:
        settings["preprocessing"] = cls.preprocessing_class().from_dict(settings["preprocessing"])
    return cls(**settings)
