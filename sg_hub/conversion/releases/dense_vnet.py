"""NiftyNet's Dense V-Net, a checkpoint of TensorFlow 1.

Its layers are told by the shapes of their kernels, which are all different but for two of the second stack: of these,
what goes to the end was made before what leads to the next stack. The released file was not at hand: this was checked
on a checkpoint of TensorFlow that was built as the network is described.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sg_hub.conversion.release import Release
from sg_hub.errors import InvalidInputError, shortened
from sg_hub.models.families.dense_vnet import DenseVNet
from sg_hub.preprocessing.preprocessing import Preprocessing

_LAST = "segmentation"
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_SIZE = (144, 144, 144)
_OF_TRAINING = ("/Adam", "/Momentum", "ExponentialMovingAverage", "global_step", "_power", "learning_rate")
_ORDER = ("encoder.first", "encoder.stacks", "decoder.skips", "encoder.down", _LAST)
"""Parts of the network; where two kernels have one shape, they are in this order."""
PREPROCESSING = Preprocessing(size=_SIZE, input_size=_SIZE)


def build(state: Mapping[str, Tensor], norm: str, provenance: dict[str, Any]) -> DenseVNet:
    bias = state.get(f"{_LAST}.conv.bias")
    classes = bias.shape[0] if bias is not None and bias.ndim == 1 and bias.shape[0] else 9
    return DenseVNet(head="segmentation", num_classes=classes, preprocessing=PREPROCESSING, provenance=provenance)


def published_names(own: Iterable[str]) -> dict[str, str]:
    return {key: key for key in own}


def from_tensorflow(variables: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by the names of the model, and the file's own name of each; what belongs to training keeps its name.

    Raises:
        InvalidInputError: layers that are not those of the network.
    """
    state = {name: value for name, value in variables.items() if any(part in name for part in _OF_TRAINING)}
    labels: dict[str, str] = {}
    layers: dict[str, dict[str, str]] = {}
    for name in sorted(variables.keys() - state.keys(), key=_by_number):
        layer, _, weight = name.rpartition("/")
        layers.setdefault(layer.rpartition("/")[0], {})[weight] = name
    waiting: dict[tuple[int, ...], list[dict[str, str]]] = {}
    for layer, names in layers.items():
        kernel = names.pop("w", None) or names.pop("kernel", None)
        if kernel is None or variables[kernel].ndim != 5:
            raise InvalidInputError(f"{path}: {shortened(layer or list(names.values()), 120)} is no convolution in 3D")
        waiting.setdefault(tuple(variables[kernel].shape), []).append({"w": kernel, **names})
    for module, shape in _modules(waiting):
        if not waiting.get(shape):
            raise InvalidInputError(
                f"{path} is not the Dense V-Net of NiftyNet: it has no kernel of {shape}, which {module} needs"
            )
        labels |= _keys_of(module, waiting[shape].pop(0))
        if module != _LAST:
            state[f"{module}.norm.num_batches_tracked"] = torch.tensor(0)
    if left := [names["w"] for several in waiting.values() for names in several]:
        raise InvalidInputError(f"{path} has layers that the Dense V-Net has not: {shortened(', '.join(left))}")
    for key, name in labels.items():
        value = variables[name]
        state[key] = value.permute(4, 3, 0, 1, 2) if value.ndim == 5 else value
    return state, labels


def _keys_of(module: str, names: dict[str, str]) -> dict[str, str]:
    """What the variables of a layer are called in the model; those that it has not keep their names."""
    known = {"b": f"{module}.conv.bias"}
    if module != _LAST:
        known = {theirs: f"{module}.norm.{ours}" for theirs, ours in _NORM.items()}
    known["w"] = f"{module}.conv.weight"
    return {known.get(weight, name): name for weight, name in names.items()}


def _modules(waiting: Iterable[tuple[int, ...]]) -> list[tuple[str, tuple[int, ...]]]:
    """The model's convolutions and the shapes of their kernels in the file, in the order in which they were made."""
    joined = max((shape for shape in waiting if shape[3] == 60), default=(3, 3, 3, 60, 9))
    with torch.device("meta"):
        model = build({f"{_LAST}.conv.bias": torch.empty(joined[4])}, "batch", {})
    found = [
        (key.removesuffix(".conv.weight"), (*value.shape[2:], value.shape[1], value.shape[0]))
        for key, value in model.state_dict().items()
        if key.endswith(".conv.weight")
    ]
    return sorted(found, key=lambda entry: next(i for i, part in enumerate(_ORDER) if entry[0].startswith(part)))


def _by_number(name: str) -> list[tuple[int, str]]:
    """For sorting: conv_2 before conv_10, and conv before both."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


RELEASE = Release(
    title="Dense V-Net",
    files="the TensorFlow checkpoint (model.ckpt-....index and .data-....) of NiftyNet's dense_vnet_abdominal_ct",
    about="trained to segment eight organs",
    data="abdominal CT",
    home="https://github.com/NifTK/NiftyNetModelZoo",
    citation="E. Gibson, F. Giganti, Y. Hu, E. Bonmati, S. Bandula, K. Gurusamy, B. Davidson, S. P. Pereira, M. J. "
    "Clarkson, D. C. Barratt. Automatic Multi-Organ Segmentation on Abdominal CT With Dense V-Networks. IEEE "
    "Transactions on Medical Imaging 37(8), 2018.",
    licence="apache-2.0",
    licence_name="Apache License 2.0",
    licence_terms="Any use; notices are kept.",
    build=build,
    preprocessing=PREPROCESSING,
    published_names=published_names,
    known_by="the shapes of its kernels",
    marks=("encoder.stacks.",),
    left_out=_OF_TRAINING,
    from_tensorflow=from_tensorflow,
    notes=(
        "Layers were assigned by the shapes of their kernels. That was tested on a checkpoint of TensorFlow that was "
        "built as the network is described, not on the released file: compare an output with one of yours.",
        "The file says neither what its classes are called, nor which intensities and which orientation it was "
        "trained on. Here a scan is resized to 144 x 144 x 144 as a whole, as published, HU from -1000 to 1000 "
        "become 0..1, and x goes to the patient's left. `from_pretrained(..., class_names=[...])` gives the classes "
        "names.",
    ),
)
