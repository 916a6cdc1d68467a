"""Damaged files of the releases that others published, of every family but Semantic Genesis (models.py)."""

from __future__ import annotations

import functools
import io
import json
import random
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from sg_hub.conversion.release import release_of
from sg_hub.models.families.dense_vnet import DenseVNet
from sg_hub.models.families.medicalnet import MedicalNet
from sg_hub.models.families.res_enc import ResEncUNet
from sg_hub.models.families.segresnet import SegResNet
from tests.reliability.fuzz.models import convert, other_tensors
from tests.reliability.fuzz.mutations import damage
from tests.reliability.harness import Files, Kind
from tests.reliability.processes import of_a_fork
from tests.sg_hub.conversion.published import light, without_classifier
from tests.sg_hub.conversion.releases.test_dense_vnet import variables_of

Shapes = dict[str, tuple[int, ...]]
_WRAPPED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "medicalnet": (("module.", ""), ("state_dict",)),
    "i3d": (("",), ("",)),
    "ct_fm": (("model.", "encoder.", ""), ("state_dict", "")),
    "nnssl": (("",), ("network_weights",)),
    "suprem": (("module.backbone.",), ("net",)),
}
"""What keys begin with in the files of a release, and what the state dict is called there; empty: nothing."""


def convert_tensorflow(path: Path) -> None:
    """By a reader in TensorFlow's place, which is not among what tests install, of what is in the file."""

    def load_checkpoint(name: str) -> SimpleNamespace:
        with np.load(f"{name}.index") as file:
            held = {key: file[key] for key in file.files}
        shapes = {name: list(value.shape) for name, value in held.items()}
        return SimpleNamespace(get_variable_to_shape_map=lambda: shapes, get_tensor=held.__getitem__)

    tensorflow = ModuleType("tensorflow")
    tensorflow.train = SimpleNamespace(load_checkpoint=load_checkpoint)  # type: ignore[attr-defined]
    sys.modules["tensorflow"] = tensorflow
    try:
        convert(path)
    finally:
        del sys.modules["tensorflow"]


def _file(rng: random.Random) -> Files:
    """A file of torch.save or safetensors: other tensors, another wrapping, or damaged bytes."""
    name = rng.choice(sorted(_WRAPPED))
    prefixes, wraps = _WRAPPED[name]
    prefix, within = rng.choice((*prefixes, "module.module.")), rng.choice((*wraps, "state_dict"))
    state = {prefix + key: _value(key, shape) for key, shape in _shapes()[name].items()}
    how = rng.randrange(4)
    if how == 0:
        state = other_tensors(state, rng)
    if rng.random() < 0.2 and how != 0:
        few = dict(rng.sample(sorted(state.items()), k=min(len(state), 40)))  # each of its bytes is in the file
        raw = save({key: value.flatten()[:2].clone() for key, value in few.items()})
        return {"a.safetensors": damage(raw, rng, rng.choice((300, None)))}, "a.safetensors"
    file = io.BytesIO()
    torch.save(
        {within: state, "epoch": 3} if within else state, file, _use_new_zipfile_serialization=rng.random() < 0.7
    )
    raw = file.getvalue()
    return {"a.pt": damage(raw, rng, rng.choice((2000, None))) if how >= 2 else raw}, "a.pt"


def _checkpoint(rng: random.Random) -> Files:
    """Variables of Dense V-Net: left out, called otherwise, of other shapes, types and values."""
    held = {name: np.zeros(shape, np.float32) for name, shape in _shapes()["dense_vnet"].items()}
    for _ in range(rng.choice((1, 2, 5))):
        name, how = rng.choice(sorted(held)), rng.randrange(5)
        value = held[name]
        if how == 0:
            del held[name]
        elif how == 1:
            held[
                rng.choice((name.upper(), f"{name}/x", "w", "a/b/w", name.replace("conv_bn_relu", "conv"), "x" * 200))
            ] = value
        elif how == 2:
            held[name] = np.zeros([rng.choice((0, 1, 2, 3, 60)) for _ in range(rng.randrange(6))], np.float32)
        elif how == 3:
            held[name] = value.astype(rng.choice((np.int64, np.float64, np.bool_, np.complex64, "S4")))
        else:
            held[name] = np.full_like(value, rng.choice((np.nan, np.inf, -1.0)))
    file = io.BytesIO()
    np.savez(file, **held)
    return {"model.ckpt-3.index": file.getvalue()}, "model.ckpt-3.index"


def _value(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor with one number behind all of its places."""
    counts = key.endswith("num_batches_tracked")
    return torch.tensor(7) if counts else torch.full((), 0.5).expand(shape)


@functools.cache
def _shapes() -> dict[str, Shapes]:
    """By release, the names of its file: where the size is told from the file, of a small network."""
    found: dict[str, Shapes] = of_a_fork(_told)
    return found


def _told() -> dict[str, Shapes]:
    with torch.device("meta"):
        small: dict[str, Any] = {
            "medicalnet": MedicalNet(depth=10, head="features"),
            "i3d": release_of("i3d").build({}, "batch", {}),
            "ct_fm": SegResNet(width=4, blocks=(1, 2, 1), norm="batch", head="features"),
            "nnssl": ResEncUNet(features=(4, 8, 8), blocks=(1, 2, 1), head="features"),
        }
    found = {}
    for name, model in small.items():
        own = model.state_dict()
        names = release_of(name).published_names(own)
        found[name] = {theirs: tuple(own[ours].shape) for theirs, ours in names.items()}
    found["suprem"] = {key: tuple(value.shape) for key, value in without_classifier(light(1)).items()}
    variables = variables_of(DenseVNet(head="segmentation", num_classes=9))
    found["dense_vnet"] = {key: tuple(value.shape) for key, value in variables.items()}
    json.dumps(found)
    return found


KINDS = {
    "releases of others": Kind(convert, _file),
    "TensorFlow checkpoint": Kind(convert_tensorflow, _checkpoint, weight=0.5),
}
