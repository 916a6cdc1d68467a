"""Tensors of the Keras network: read with h5py as arrays, and named as in the PyTorch checkpoint.

The layout follows the published PyTorch network in Keras' own conventions (layers numbered by kind in order of
construction; kernels x, y, z, in, out). It was checked on files that were built like that; the released file was
not at hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sg_hub.conversion.torch_files import WANTED
from sg_hub.errors import InvalidInputError, ReadError

_LAYER = re.compile(r"(conv3d_transpose|conv3d|batch_normalization|dense)(?:_(\d+))?")
_ENCODER = [f"down_tr{channels}.ops.{block}" for channels in (64, 128, 256, 512) for block in (0, 1)]
_DECODER = [f"up_tr{channels}.ops.{block}" for channels in (256, 128, 64) for block in (0, 1)]
_UP = [f"up_tr{channels}.up_conv" for channels in (256, 128, 64)]
_CLASSIFIER = "clc_out"
_LAST = "out_tr.final_conv"
_STATISTICS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
# Of Keras' and PyTorch's batch normalisation, where nothing else is said.
_KERAS_EPSILON, _TORCH_EPSILON = 1e-3, 1e-5


@dataclass
class _Layer:
    name: str
    number: int
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def shape(self, weight: str) -> tuple[int, ...]:
        return self.weights[weight].shape if weight in self.weights else ()


def read_keras(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """State dict in the published names, and the file's own name of each tensor.

    Up-sampling in place of the transposed convolutions (a file without them) becomes the transposed convolution
    that repeats every voxel, which gives the same numbers.

    Raises:
        ReadError: h5py is not installed, or a damaged file.
        InvalidInputError: layers that are not those of the network.
    """
    kinds, epsilons = _read(path)
    convolutions, norms = kinds["conv3d"], kinds["batch_normalization"]
    targets = _targets(convolutions, bool(kinds["dense"]), path)
    _expect(norms, len(convolutions) - 1, "BatchNormalization", path)
    if kinds["conv3d_transpose"]:
        _expect(kinds["conv3d_transpose"], len(_UP), "Conv3DTranspose", path)
    if _CLASSIFIER in targets:
        _expect(kinds["dense"], 1, "Dense", path)
    state: dict[str, Tensor] = {}
    labels: dict[str, str] = {}

    def put(layer: _Layer, weight: str, key: str, axes: tuple[int, ...] = ()) -> None:
        if weight not in layer.weights:
            raise InvalidInputError(f"{path}: layer {layer.name} has no {weight}, but {', '.join(layer.weights)}")
        values = torch.from_numpy(layer.weights[weight])
        # A shape of another rank stays as it is, and is named with all other wrong shapes.
        state[key] = values.permute(axes) if axes and values.ndim == len(axes) else values
        labels[key] = f"{layer.name}/{weight}"

    following = iter(norms)
    for layer, target in zip(convolutions, targets, strict=True):
        module = target if target == _LAST else f"{target}.conv1"
        put(layer, "kernel", f"{module}.weight", (4, 3, 0, 1, 2))
        put(layer, "bias", f"{module}.bias")
        if target == _LAST:
            continue
        norm = next(following)
        for keras, torch_name in _STATISTICS.items():
            put(norm, keras, f"{target}.bn1.{torch_name}")
        if bool((state[f"{target}.bn1.running_var"] < 0).any()):
            raise InvalidInputError(
                f"{path} is damaged: {norm.name}/moving_variance holds negative values; expected {WANTED}"
            )
        # PyTorch adds its own epsilon to the variance.
        state[f"{target}.bn1.running_var"] += epsilons.get(norm.name, _KERAS_EPSILON) - _TORCH_EPSILON
        state[f"{target}.bn1.num_batches_tracked"] = torch.tensor(0)
    for layer, target in zip(kinds["conv3d_transpose"], _UP, strict=False):
        put(layer, "kernel", f"{target}.weight", (4, 3, 0, 1, 2))
        put(layer, "bias", f"{target}.bias")
    for layer in kinds["dense"]:
        put(layer, "kernel", f"{_CLASSIFIER}.fc1.weight", (1, 0))
        put(layer, "bias", f"{_CLASSIFIER}.fc1.bias")
    if not kinds["conv3d_transpose"]:
        state |= _upsampling()
    return state, labels


def _targets(convolutions: list[_Layer], classifier: bool, path: Path) -> list[str]:
    """Which convolution of the published network each one is; the classifier's stands before or behind the decoder."""
    plain = [*_ENCODER, *_DECODER, _LAST]
    if len(convolutions) == len(plain) and not classifier:
        return plain
    _expect(convolutions, len(plain) + 1, "Conv3D", path)
    wide = [index for index, layer in enumerate(convolutions) if layer.shape("kernel")[3:] == (512, 1024)]
    if wide == [len(_ENCODER)]:
        return [*_ENCODER, _CLASSIFIER, *_DECODER, _LAST]
    if wide == [len(plain)]:
        return [*plain, _CLASSIFIER]
    where = ", ".join(convolutions[index].name for index in wide) or "none"
    raise InvalidInputError(
        f"{path}: expected one Conv3D of 512 to 1024 channels (the classifier's), after the encoder or at the end; "
        f"there is {where} among {', '.join(layer.name for layer in convolutions)}"
    )


def _expect(layers: list[_Layer], count: int, kind: str, path: Path) -> None:
    if len(layers) != count:
        there = ", ".join(layer.name for layer in layers) or "none"
        raise InvalidInputError(
            f"{path} is not the Keras network of Semantic Genesis: it has {len(layers)} layers of {kind} ({there}), "
            f"expected {count}"
        )


def _upsampling() -> dict[str, Tensor]:
    """Transposed convolutions that repeat every voxel 2 x 2 x 2 times, as UpSampling3D does."""
    state = {}
    for target, channels in zip(_UP, (512, 256, 128), strict=True):
        state[f"{target}.weight"] = torch.eye(channels).view(channels, channels, 1, 1, 1).repeat(1, 1, 2, 2, 2)
        state[f"{target}.bias"] = torch.zeros(channels)
    return state


def _read(path: Path) -> tuple[dict[str, list[_Layer]], dict[str, float]]:
    """The layers with weights by kind, in order of construction, and the epsilon of each normalisation."""
    try:
        import h5py
    except ImportError as error:
        raise ReadError(f"{path} is a Keras (HDF5) file, which needs h5py: pip install h5py") from error
    layers: dict[tuple[str, str], _Layer] = {}
    strangers, types = set(), []
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            epsilons = _epsilons(file.attrs.get("model_config"))

            def visit(name: str, item: Any) -> None:  # links to other files are not followed
                parts = name.split("/")
                if not isinstance(item, h5py.Dataset) or parts[0] == "optimizer_weights":
                    return
                found = next((match for part in parts[:-1] if (match := _LAYER.fullmatch(part))), None)
                if found is None:
                    strangers.add("/".join(parts[:-1]) or name)
                    return
                key = (found.group(1), found.group(0))
                layer = layers.setdefault(key, _Layer(found.group(0), int(found.group(2) or 0)))
                if item.dtype.kind != "f":
                    types.append(f"{name} is {item.dtype}")
                    return
                layer.weights[parts[-1].split(":")[0]] = np.asarray(item[()], dtype=np.float32)

            root.visititems(visit)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise ReadError(
            f"{path} is damaged, or no Keras file ({error}): download it again; expected {WANTED}"
        ) from error
    if strangers:
        raise InvalidInputError(
            f"{path} is not the Keras network of Semantic Genesis: unknown layers with weights "
            f"({', '.join(sorted(strangers)[:12])}); expected conv3d, conv3d_transpose, batch_normalization and dense"
        )
    if types:
        raise InvalidInputError(
            f"{path}: {len(types)} of its weights are no floating-point numbers ({', '.join(sorted(types)[:12])}); "
            f"expected {WANTED}"
        )
    kinds: dict[str, list[_Layer]] = {"conv3d": [], "conv3d_transpose": [], "batch_normalization": [], "dense": []}
    for (kind, _), layer in layers.items():
        kinds[kind].append(layer)
    for found in kinds.values():
        found.sort(key=lambda layer: layer.number)
    return kinds, epsilons


def _epsilons(model_config: Any) -> dict[str, float]:
    """Of every BatchNormalization by its name, where the file describes its model."""
    if model_config is None:
        return {}
    text = model_config.decode("utf-8") if isinstance(model_config, bytes) else str(model_config)
    found: dict[str, float] = {}

    def search(node: Any) -> None:
        if isinstance(node, Mapping):
            settings = node.get("config")
            if str(node.get("class_name")).startswith("BatchNormalization") and isinstance(settings, Mapping):
                found[str(settings["name"])] = float(settings["epsilon"])
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                search(child)

    search(json.loads(text))
    return found
