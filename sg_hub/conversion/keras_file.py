"""Layers with weights of a Keras file, read with h5py as arrays: nothing of Keras is needed, and nothing is run."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError, ReadError, shortened

KINDS = {
    "conv3d": "Conv3D",
    "conv3d_transpose": "Conv3DTranspose",
    "batch_normalization": "BatchNormalization",
    "dense": "Dense",
}
"""Layers that are read: how their names begin, and their class."""
_LAYER = re.compile(rf"({'|'.join(sorted(KINDS, key=len, reverse=True))})(?:_(\d{{1,9}}))?")
_EPSILON = 1e-3
"""Of Keras' batch normalisation, where the file does not say another."""
_MOST_FOLD = 20
"""How much larger than the file what is in it may be: weights are hardly compressed."""


@dataclass
class Layer:
    name: str
    number: int
    epsilon: float = _EPSILON
    """Of a batch normalisation."""
    weights: dict[str, Tensor] = field(default_factory=dict)

    def shape(self, weight: str) -> tuple[int, ...]:
        return tuple(self.weights[weight].shape) if weight in self.weights else ()


Layers = Mapping[str, list[Layer]]
"""By kind (the keys of KINDS), in order of construction."""


def read_keras(path: Path) -> Layers:
    """The layers of an .h5 file, whatever groups Keras 2 or 3 put around them.

    Raises:
        ReadError: h5py is not installed, or a damaged file, or one that points to other files.
        InvalidInputError: layers of other kinds.
    """
    if find_spec("h5py") is None:
        raise ReadError(f"{path} is a Keras (HDF5) file, which needs h5py: pip install h5py")
    layers: dict[tuple[str, str], Layer] = {}
    strangers: set[str] = set()
    try:
        arrays, model_config = _read(path)
        epsilons = _epsilons(model_config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReadError(f"{path} is damaged, or no Keras file ({shortened(error)}): download it again") from error
    for name, values in arrays.items():
        *groups, weight = name.split("/")
        found = next((match for group in groups if (match := _LAYER.fullmatch(group))), None)
        if found is None:
            strangers.add("/".join(groups) or name)
        else:
            layer = layers.setdefault((found[1], found[0]), Layer(found[0], int(found[2] or 0)))
            layer.weights[weight.split(":")[0]] = values
    if strangers:
        raise InvalidInputError(
            f"{path} has unknown layers with weights ({shortened(', '.join(sorted(strangers)))}), where "
            f"{', '.join(KINDS)} are known"
        )
    for layer in layers.values():
        layer.epsilon = epsilons.get(layer.name, _EPSILON)
    ordered = sorted(layers.items(), key=lambda entry: entry[1].number)
    return {kind: [layer for (own, _), layer in ordered if own == kind] for kind in KINDS}


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """Every array by its name, and the attribute model_config, read by another process.

    Raises:
        OSError, ValueError: what is wrong with the file.
    """
    arrays: dict[str, Tensor] = {}
    reader = [sys.executable, "-P", str(Path(__file__).with_name("hdf5_reader.py"))]
    arguments = [os.path.abspath(path), str(_MOST_FOLD * path.stat().st_size)]
    with subprocess.Popen([*reader, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while line := process.stdout.readline():
            said = json.loads(line)
            if "error" in said:
                raise ValueError(said["error"])
            if "model_config" in said:
                return arrays, said["model_config"]
            kind = np.dtype(said["type"])
            data = process.stdout.read(math.prod(said["shape"]) * kind.itemsize)
            arrays[said["name"]] = torch.from_numpy(np.frombuffer(bytearray(data), kind).reshape(said["shape"]))
    raise ValueError("the HDF5 library gave up on it")


def _epsilons(model_config: str) -> dict[str, float]:
    """Of every BatchNormalization by its name, as far as the file describes its model."""
    found: dict[str, float] = {}

    def note(node: dict[str, Any]) -> dict[str, Any]:
        if str(node.get("class_name")).startswith("BatchNormalization"):
            found[str(node["config"]["name"])] = float(node["config"]["epsilon"])
        return node

    json.loads(model_config, object_hook=note)
    return found
