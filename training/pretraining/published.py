"""The network as it is kept: its model of sg_hub, as from_pretrained loads it, and what a method trained around it."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save

from sg_hub import from_pretrained
from sg_hub.errors import ReadError
from sg_hub.io.files import working_folder, write_atomic
from sg_hub.models import PretrainedModel

from ..methods.blueprint import Blueprint
from ..methods.protocol import Method, Network

FOLDER = "pretraining"
"""Of a run: what pre-training writes."""
MODEL, AROUND = "model", "network.safetensors"


def save_network(network: Network, folder: Path) -> None:
    """Write `model/` and, where a method has weights outside of it, `network.safetensors`."""
    prefix = next(name for name, module in network.named_modules() if module is network.model) + "."
    around = {key: value.contiguous() for key, value in network.state_dict().items() if not key.startswith(prefix)}
    if around:
        write_atomic(folder / AROUND, save(around))
    network.model.save_pretrained(folder / MODEL)


def load_network(method: Method, blueprint: Blueprint, model: PretrainedModel, folder: Path) -> Network:
    """The network around a model that was published, in evaluation mode."""
    network = method.network(blueprint)
    network.model.load_state_dict(model.state_dict())
    if (folder / AROUND).is_file():
        network.load_state_dict(load_file(folder / AROUND), strict=False)
    return network.eval()


def published_model(folder: Path) -> PretrainedModel:
    """The best weights in the folder of a training, rounded to half precision as `publish` writes them.

    Raises:
        ReadError: there are none yet.
    """
    if not (folder / MODEL / "model.safetensors").is_file():
        raise ReadError(f"{folder / MODEL} is not there yet: run `sg-hub pretrain` first")
    with working_folder(folder) as temporary:
        from_pretrained(folder / MODEL).save_pretrained(temporary, half=True)
        return from_pretrained(temporary)
