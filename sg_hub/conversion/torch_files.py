"""What published checkpoint files hold: their formats, and the names of their tensors."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError, ReadError

_PREFIXES = ("module.", "classficationNet.")  # of several GPUs; (sic) of the wrapper that the weights were trained in
_LEFT_OUT = ("projection_head", "prototypes")
WANTED = "semantic_genesis_chest_ct.pt, Genesis_Chest_CT.pt, or the Keras .h5 of Semantic Genesis, as published"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"


class _NotNeeded:
    """Stands for the NumPy numbers (losses, accuracies) beside the weights: read, and never used.

    Nothing of NumPy is called for them.
    """

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_NUMPY_NUMBERS: list[Any] = [
    (_NotNeeded, name) for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")
]


def published_keys(own: Iterable[str]) -> dict[str, str]:
    """The name in the published checkpoint of every tensor of a SemanticGenesis3D, to its own name."""
    modules = {"restoration": "out_tr.final_conv", "classifier.fc": "clc_out.fc1"}
    modules |= {"classifier.block.conv": "clc_out.conv1", "classifier.block.norm": "clc_out.bn1"}
    for level, channels in enumerate((64, 128, 256, 512)):
        for block in (0, 1):
            ours, theirs = f"encoder.levels.{level}.{block}", f"down_tr{channels}.ops.{block}"
            modules |= {f"{ours}.conv": f"{theirs}.conv1", f"{ours}.norm": f"{theirs}.bn1"}
    for level, channels in enumerate((256, 128, 64)):
        modules[f"decoder.levels.{level}.up"] = f"up_tr{channels}.up_conv"
        for block in (0, 1):
            ours, theirs = f"decoder.levels.{level}.blocks.{block}", f"up_tr{channels}.ops.{block}"
            modules |= {f"{ours}.conv": f"{theirs}.conv1", f"{ours}.norm": f"{theirs}.bn1"}
    split = [key.rpartition(".") for key in own]
    return {f"{modules[module]}.{tensor}": f"{module}.{tensor}" for module, _, tensor in split}


def read_state(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    """What a checkpoint file holds by name, and (of a Keras file) what each tensor is called there.

    Raises:
        ReadError: no such file, one of another format, a damaged one, or one with other things than tensors.
    """
    if not os.path.isfile(path):
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        raise ReadError(f"{path} {what}; expected {WANTED}")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error}") from error
    if start.startswith(_HDF5):
        from sg_hub.conversion.keras_file import read_keras

        return read_keras(path)
    if not start.startswith((_ZIP, _PICKLE)):
        raise ReadError(f"{path} {_other_format(start, path)}; expected {WANTED}")
    return _state_dict(_load(path, zipped=start.startswith(_ZIP)), path), {}


def _other_format(start: bytes, path: Path) -> str:
    text = start.lstrip().lower()
    if not start:
        return "is empty"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        return "is a web page, not the checkpoint (a download that asked for a login or failed?)"
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of git LFS, not the checkpoint itself (git lfs pull gets it)"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "is a safetensors file, which no published checkpoint is; from_pretrained loads the folders of sg_hub"
    return "is no file of torch.save and no HDF5 file"


def _load(path: Path, zipped: bool) -> Any:
    """`torch.load` of tensors, containers and numbers; anything that would run code is refused."""
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)|(?:class|function|call|instantiate)\W+([\w.]+)", str(error))
        named = f" ({found.group(1) or found.group(2)})" if found else ""
        raise ReadError(
            f"{path} is damaged, or holds other things than tensors{named}, which could run code and are not "
            f"loaded; expected {WANTED}"
        ) from error
    except Exception as error:  # torch raises nearly anything for a file that is cut off or of another kind
        raise ReadError(
            f"{path} is damaged, or not written by torch.save ({_first_line(error)}): download it again; "
            f"expected {WANTED}"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


def _state_dict(content: Any, path: Path) -> Mapping[str, Any]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise InvalidInputError(f"{path} holds a {type(content).__name__}, expected a state dict; expected {WANTED}")
    if not any(isinstance(value, Tensor) for value in content.values()):
        there = ", ".join(map(str, list(content)[:12])) or "nothing"
        raise InvalidInputError(f"{path} holds no state dict, but {there}; expected {WANTED}")
    return content


def state_of(raw: Mapping[Any, Any], path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of the network without the prefixes of how it was trained, and the keys that were left out.

    Raises:
        InvalidInputError: a value that is no tensor, or two keys that become the same.
    """
    state: dict[str, Tensor] = {}
    left_out = []
    for key, value in raw.items():
        name = str(key)
        if any(part in name for part in _LEFT_OUT):
            left_out.append(name)
            continue
        while name.startswith(_PREFIXES):
            name = name.split(".", 1)[1]
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise InvalidInputError(
                f"{path}: {key} is a {type(value).__name__}, expected a dense tensor; expected {WANTED}"
            )
        if name in state:
            raise InvalidInputError(f"{path}: two of its keys are {name} without their prefixes; expected {WANTED}")
        state[name] = value
    return state, sorted(left_out)
