"""The network as it is kept: its model of sg_hub, as from_pretrained loads it, and what a method trained around it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from sg_hub import from_pretrained
from sg_hub.errors import ReadError
from sg_hub.hub.model_folder import sha256_of, weights_of
from sg_hub.hub.weights_file import WEIGHTS, read_weights
from sg_hub.io.files import working_folder, write_atomic
from sg_hub.models import PretrainedModel

from ..methods.blueprint import Blueprint
from ..methods.protocol import Method, Network

FOLDER = "pretraining"
"""Of a run: what pre-training writes."""
MODEL, AROUND = "model", "network.safetensors"
_SUM, _MODEL_SUM = "sha256", "model_sha256"
"""In the header of what is around the model: a checksum of all its tensors, and that of the model's file."""


def save_network(network: Network, folder: Path) -> None:
    """Write `model/` and, where a method has weights outside of it, `network.safetensors`, which says of which model it
    is: a kill between the two is seen. Else what an earlier method left of those is taken away."""
    around = {key: value.contiguous() for key, value in _around(network).items()}
    network.model.save_pretrained(folder / MODEL)
    if around:
        sums = {_SUM: _sha256(around), _MODEL_SUM: sha256_of(folder / MODEL / WEIGHTS)}
        write_atomic(folder / AROUND, save(around, sums))
    else:
        (folder / AROUND).unlink(missing_ok=True)


def load_network(method: Method, blueprint: Blueprint, model: PretrainedModel, folder: Path) -> Network:
    """The network around a model that was published, in evaluation mode.

    Raises:
        ReadError: what was trained around it is missing, damaged, or of another network.
    """
    network = method.network(blueprint)
    network.model.load_state_dict(model.state_dict())
    path, expected = folder / AROUND, {key: value.shape for key, value in _around(network).items()}
    if expected and not path.is_file():
        raise ReadError(
            f"{path}, which was trained around the model, is missing: copy it from where the weights were trained, or "
            "run `sg-hub pretrain` again in another run=FOLDER"
        )
    if path.is_file():
        around, _ = read_weights(path, None)
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
        shapes = {key: value.shape for key, value in around.items()}
        if said.get(_SUM) not in (None, _sha256(around)) or shapes != expected:
            raise ReadError(
                f"{path} is damaged or of another network (its checksum or its tensors are others): run `sg-hub "
                "pretrain` again in another run=FOLDER"
            )
        if said.get(_MODEL_SUM) not in (None, sha256_of(weights_of(folder / MODEL)[0])):
            raise ReadError(
                f"{path} is of other weights than {folder / MODEL}: the training was stopped while it wrote the two. "
                "Run the same `sg-hub pretrain` again, which goes on from there"
            )
        network.load_state_dict(around, strict=False)
    return network.eval()


def _around(network: Network) -> dict[str, Tensor]:
    """The weights that are not those of its model."""
    prefix = next(name for name, module in network.named_modules() if module is network.model) + "."
    return {key: value for key, value in network.state_dict().items() if not key.startswith(prefix)}


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    """Over the names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def published_model(folder: Path) -> PretrainedModel:
    """The best weights in the folder of a training, rounded to half precision as `publish` writes them.

    Raises:
        ReadError: there are none yet.
    """
    if not (folder / MODEL / WEIGHTS).is_file():
        raise ReadError(f"{folder / MODEL} is not there yet: run `sg-hub pretrain` first")
    with working_folder(folder) as temporary:
        from_pretrained(folder / MODEL).save_pretrained(temporary, half=True)
        return from_pretrained(temporary)
