"""Where a network of a target task starts from: the initialisations that are held against each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import sg_hub
from sg_hub.errors import InvalidInputError
from sg_hub.models.input_checks import per_axis
from sg_hub.models.registry import blueprint, planned

from ...run.explain import toml_text
from ...targets import Target

WHOLE = "whole"
RANDOM = "random"
"""`random:NAME`: the architecture of NAME, and none of its weights."""
ENCODER = "encoder"
"""`encoder:NAME`: the encoder of NAME with its weights, and everything behind it afresh."""
IMAGENET = "imagenet"
"""`imagenet:NAME`: the architecture of NAME (in 2D), its encoder with timm's ImageNet weights."""
KINDS = (RANDOM, ENCODER, IMAGENET)
FRESH = (RANDOM, IMAGENET)
"""Kinds that take none of the weights that they name."""
OF_THE_HEAD = ("head", "num_classes", "class_names", "multilabel", "in_chans")
"""Settings of a network that are the target's."""


def name_of(init: str) -> str:
    """The weights that an initialisation names."""
    kind, _, name = init.partition(":")
    return name if kind in KINDS and name else init


def kind_of(init: str) -> str:
    """`random`, `encoder`, `imagenet` or `whole`."""
    return init.partition(":")[0] if name_of(init) != init else WHOLE


@dataclass(frozen=True)
class Initialisation:
    """What an initialisation is, whatever its folder is called; its network is built when a trial wants it."""

    init: str
    family: type[Any]
    """Class of the network."""
    config: Mapping[str, Any]
    """Arguments of the network that it names, but for its head."""
    stride: tuple[int, ...]
    """Of the encoder's deepest feature map along each axis: sides of what the network takes are multiples of it."""
    sha256: str
    """Of the weights that it takes; empty where it takes none."""

    @property
    def kind(self) -> str:
        return kind_of(self.init)

    @property
    def ndim(self) -> int:
        return int(self.family.NDIM)

    @property
    def architecture(self) -> str:
        """A hash of the network without its weights and its head."""
        described = {key: value for key, value in self.config.items() if key not in ("provenance", "preprocessing")}
        text = json.dumps([self.family.__name__, described], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Its kind, and the weights or the architecture: whatever of it determines a trial."""
        return f"{self.kind}:{self.architecture if self.kind in FRESH else self.sha256}"

    @property
    def named_provenance(self) -> Mapping[str, Any]:
        """Of the weights that it names, whether it takes them or not."""
        return dict(self.config["provenance"])

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Of the weights that it takes; fresh ones have seen nobody."""
        return {"patients": []} if self.kind in FRESH else self.named_provenance

    def check_fits(self, target: Target) -> None:
        """Refuse a network that does not take the target's items.

        Raises:
            InvalidInputError: saying why.
        """
        name = name_of(self.init)
        if self.kind == IMAGENET and self.ndim != 2:
            raise InvalidInputError(f"{self.init}: there are ImageNet weights of 2D networks only, and this one is 3D")
        if any(side % step for side, step in zip(target.patch, self.stride, strict=True)):
            multiple = self.stride[0] if len(set(self.stride)) == 1 else self.stride
            raise InvalidInputError(
                f"target {target.name}: patches of {target.patch}; {name} takes multiples of {multiple}"
            )

    def network(self, target: Target, seed: int) -> Any:
        """The network with the target's head, classes and preprocessing.

        Raises:
            InvalidInputError, ReadError: weights that cannot be had.
        """
        torch.manual_seed(seed)
        asked: dict[str, Any] = {
            "head": target.head,
            "num_classes": target.num_classes,
            "class_names": target.class_names,
            "multilabel": target.head == "classification" and not target.exclusive,
            "in_chans": target.channels,
        }
        if self.config.get("norm") == "batch_stats":  # else an item's result would depend on those beside it
            asked["norm"] = "batch"
        if self.kind in FRESH:
            config = {**self.config, **asked, "provenance": self.provenance}
            if self.kind == IMAGENET:
                config |= {"encoder_weights": IMAGENET, "mean": None, "std": None}  # timm's own weights bring theirs
            network: Any = self.family(**config)
        else:
            part = "encoder" if self.kind == ENCODER else None
            network = sg_hub.from_pretrained(name_of(self.init), part=part, **asked)
        if not target.sliced:
            network.preprocessing = target.preprocessing(network.preprocessing.modality)
        return network


def look_up(init: str) -> Initialisation:
    """What an initialisation is; of its weights no value is read.

    Raises:
        InvalidInputError, ReadError: weights that cannot be had.
    """
    named = name_of(init)
    model = planned(named) if kind_of(init) in FRESH else blueprint(named)
    config = {key: value for key, value in model.config().items() if key not in OF_THE_HEAD}
    config["preprocessing"] = model.preprocessing
    stride, report = per_axis(model.encoder.strides[-1], model.NDIM), model.load_report
    return Initialisation(init, type(model), config, stride, (report and report.sha256) or "")


def seen_by(starts: Sequence[Initialisation]) -> set[str]:
    """Hashes of the patients whom weights were pre-trained on, whether they are taken or not."""
    return {patient for start in starts for patient in start.named_provenance.get("patients", ())}


def say_taken(target: Target, init: str) -> None:
    """Say what of a target is as the weights expect it, for its file does not say it."""
    if target.from_weights:
        said = ", ".join(f"{key} = {toml_text(value)}" for key, value in target.from_weights.items())
        print(f"{target.name}: {said}, as {name_of(init)} expects; the target's TOML can say otherwise", flush=True)


def head_parameters(model: Any) -> set[str]:
    """Names of the last layer's parameters, which start afresh in every initialisation."""
    layers = tuple(f"{layer}." for layer in model.head.task_layers)
    return {name for name, _ in model.named_parameters() if name.startswith(layers)}
