"""Semantic Genesis, chest CT, as its authors published it: the PyTorch checkpoint, and the Keras file.

The layout of the Keras file follows the PyTorch network in Keras' own conventions (layers numbered by kind in order of
construction; kernels x, y, z, in, out). It was checked on files that were built like that; the released file was not at
hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sg_hub.conversion.keras_file import KINDS, Layer, Layers
from sg_hub.conversion.release import Release
from sg_hub.errors import InvalidInputError
from sg_hub.models import SemanticGenesis3D
from sg_hub.preprocessing.preprocessing import Preprocessing

_DOWN, _UP = (64, 128, 256, 512), (256, 128, 64)
_ENCODER = [f"down_tr{channels}.ops.{block}" for channels in _DOWN for block in (0, 1)]
_DECODER = [f"up_tr{channels}.ops.{block}" for channels in _UP for block in (0, 1)]
_CLASSIFIER = "clc_out"
_LAST = "out_tr.final_conv"
_STATISTICS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_TORCH_EPSILON = 1e-5


def build(state: Mapping[str, Tensor], norm: str, provenance: dict[str, Any]) -> SemanticGenesis3D:
    weight = state.get("clc_out.fc1.weight")
    classes = weight.shape[0] if weight is not None and weight.ndim == 2 and weight.shape[0] else 44
    return SemanticGenesis3D(
        width=32, num_classes=classes, norm=norm, preprocessing=Preprocessing(), provenance=provenance
    )


def published_names(own: Iterable[str]) -> dict[str, str]:
    modules = {"restoration": _LAST, "classifier.fc": "clc_out.fc1"}
    modules |= {"classifier.block.conv": "clc_out.conv1", "classifier.block.norm": "clc_out.bn1"}
    blocks = [(f"encoder.levels.{level}.{b}", f"down_tr{c}.ops.{b}") for level, c in enumerate(_DOWN) for b in (0, 1)]
    for level, channels in enumerate(_UP):
        modules[f"decoder.levels.{level}.up"] = f"up_tr{channels}.up_conv"
        blocks += [(f"decoder.levels.{level}.blocks.{b}", f"up_tr{channels}.ops.{b}") for b in (0, 1)]
    for ours, theirs in blocks:
        modules |= {f"{ours}.conv": f"{theirs}.conv1", f"{ours}.norm": f"{theirs}.bn1"}
    split = [key.rpartition(".") for key in own]
    return {f"{modules[module]}.{tensor}": f"{module}.{tensor}" for module, _, tensor in split}


def from_keras(layers: Layers, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by their published names, and the file's own name of each.

    Up-sampling in place of the transposed convolutions (a file without them) becomes the transposed convolution
    that repeats every voxel, which gives the same numbers.

    Raises:
        InvalidInputError: layers that are not those of the network.
    """
    state: dict[str, Tensor] = {}
    labels: dict[str, str] = {}

    def put(layer: Layer, weight: str, key: str) -> None:
        if weight not in layer.weights:
            raise InvalidInputError(f"{path}: layer {layer.name} has no {weight}, but {', '.join(layer.weights)}")
        values = layer.weights[weight]
        if weight == "kernel":  # of the wrong rank: it is named with all other wrong shapes
            values = values.permute((4, 3, 0, 1, 2) if values.ndim == 5 else tuple(reversed(range(values.ndim))))
        state[key], labels[key] = values, f"{layer.name}/{weight}"

    norms = iter(layers["batch_normalization"])
    for layer, target in zip(layers["conv3d"], _targets(layers, path), strict=True):
        module = target if target == _LAST else f"{target}.conv1"
        put(layer, "kernel", f"{module}.weight")
        put(layer, "bias", f"{module}.bias")
        if target != _LAST:
            norm, key = next(norms), f"{target}.bn1.running_var"
            for keras, torch_name in _STATISTICS.items():
                put(norm, keras, f"{target}.bn1.{torch_name}")
            if bool((state[key] < 0).any()):
                raise InvalidInputError(f"{path} is damaged: {norm.name}/moving_variance holds negative values")
            if state[key].is_floating_point():
                state[key] = state[key] + (norm.epsilon - _TORCH_EPSILON)  # which PyTorch adds to the variance
            state[f"{target}.bn1.num_batches_tracked"] = torch.tensor(0)
    for layer, channels in zip(layers["conv3d_transpose"], _UP, strict=False):
        put(layer, "kernel", f"up_tr{channels}.up_conv.weight")
        put(layer, "bias", f"up_tr{channels}.up_conv.bias")
    for layer in layers["dense"]:
        put(layer, "kernel", "clc_out.fc1.weight")
        put(layer, "bias", "clc_out.fc1.bias")
    if not layers["conv3d_transpose"]:
        for c in _UP:
            state[f"up_tr{c}.up_conv.weight"] = torch.eye(2 * c).view(2 * c, 2 * c, 1, 1, 1).repeat(1, 1, 2, 2, 2)
            state[f"up_tr{c}.up_conv.bias"] = torch.zeros(2 * c)
    return state, labels


def _targets(layers: Layers, path: Path) -> list[str]:
    """Which convolution of the published network each one is; the classifier's stands before or behind the decoder."""
    shapes = [layer.shape("kernel")[3:] for layer in layers["conv3d"]]
    wide = shapes.index((512, 1024)) if (512, 1024) in shapes else None
    targets = [*_ENCODER, *_DECODER, _LAST]
    if wide is not None or layers["dense"]:
        targets.insert(len(targets) if wide is None else wide, _CLASSIFIER)
    expected = {"conv3d": len(targets), "batch_normalization": len(targets) - 1}
    expected |= {"conv3d_transpose": 3 if layers["conv3d_transpose"] else 0, "dense": int(_CLASSIFIER in targets)}
    for kind, count in expected.items():
        if len(layers[kind]) != count:
            there = ", ".join(layer.name for layer in layers[kind]) or "none"
            raise InvalidInputError(
                f"{path} is not the Keras network of Semantic Genesis: it has {len(layers[kind])} layers of "
                f"{KINDS[kind]} ({there}), expected {count}"
            )
    return targets


RELEASE = Release(
    title="Semantic Genesis",
    files="semantic_genesis_chest_ct.pt or the Keras .h5 of Semantic Genesis",
    about="pre-trained by self-discovery, self-classification and self-restoration",
    data="623 chest CT of LUNA-2016",
    home="https://github.com/JLiangLab/SemanticGenesis",
    citation="F. Haghighi, M. R. Hosseinzadeh Taher, Z. Zhou, M. B. Gotway, J. Liang. Learning Semantics-enriched "
    "Representation via Self-discovery, Self-classification, and Self-restoration. MICCAI 2020.",
    licence="other",
    licence_name="ASU GitHub Project License",
    licence_terms="Academic and other non-commercial use only; notices are kept; the method is covered by patents "
    "pending.",
    build=build,
    published_names=published_names,
    known_by="its classifier (clc_out.*)",
    prefixes=("module.", "classficationNet."),  # of several GPUs; (sic) of the wrapper that it was trained in
    left_out=("projection_head", "prototypes"),
    norms=("batch_stats", "batch"),
    from_keras=from_keras,
    keras_note="The file was one of Keras. Its layers were assigned by kind and order, every shape checked. That was "
    "tested on files built in the layout of the PyTorch network, not on the released file: compare an output with one "
    'of yours. Keras itself predicts with the running statistics (`norm="batch"`; its epsilon is in them).',
)
