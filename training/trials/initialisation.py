"""Where a network of a target task starts from: the initialisations that are held against each other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import sg_hub
from sg_hub.errors import InvalidInputError

from ..targets import Target

RANDOM = "random"
"""`random:NAME`: the architecture of NAME, and none of its weights."""
ENCODER = "encoder"
"""`encoder:NAME`: the encoder of NAME with its weights, and everything behind it afresh."""
IMAGENET = "imagenet"
"""`imagenet:NAME`: the architecture of NAME (in 2D), its encoder with timm's ImageNet weights."""
KINDS = (RANDOM, ENCODER, IMAGENET)


def name_of(init: str) -> str:
    """The weights that an initialisation names."""
    kind, _, name = init.partition(":")
    return name if kind in KINDS and name else init


def kind_of(init: str) -> str:
    """`random`, `encoder`, `imagenet` or `whole`."""
    return init.partition(":")[0] if name_of(init) != init else "whole"


def initialise(init: str, target: Target, seed: int) -> Any:
    """The network of an initialisation, with the target's head.

    Raises:
        InvalidInputError: weights that cannot be had, or a network that does not take the target's items.
    """
    torch.manual_seed(seed)
    asked: dict[str, Any] = {"head": target.head, "num_classes": target.num_classes, "in_chans": target.channels}
    pretrained: Any = sg_hub.from_pretrained(name_of(init), **asked)
    if getattr(pretrained, "norm", None) == "batch_stats":  # else a test item's result would depend on those beside it
        pretrained = sg_hub.from_pretrained(name_of(init), **asked, norm="batch")
    if target.ndim != pretrained.NDIM:
        raise InvalidInputError(
            f"{name_of(init)} is a {pretrained.NDIM}D network, the target {target.name} takes a {target.ndim}D one"
        )
    stride = max(pretrained.encoder.strides)
    if any(side % stride for side in target.patch):
        raise InvalidInputError(
            f"target {target.name}: patches of {target.patch}; {name_of(init)} takes multiples of {stride}"
        )
    if kind_of(init) == "whole":
        return pretrained
    torch.manual_seed(seed)
    config = pretrained.config() | {"preprocessing": pretrained.preprocessing}
    if kind_of(init) != ENCODER:
        config["provenance"] = {"patients": []}
    if kind_of(init) == IMAGENET:
        if pretrained.NDIM != 2:
            raise InvalidInputError(f"{init}: there are ImageNet weights of 2D networks only, and this one is 3D")
        config |= {"encoder_weights": IMAGENET, "mean": None, "std": None}  # timm's own weights bring theirs
    model = type(pretrained)(**config)
    if kind_of(init) == ENCODER:
        model.encoder.load_state_dict(pretrained.encoder.state_dict())
    return model


@dataclass(frozen=True)
class Start:
    """An initialisation, and what it is whatever its folder is called."""

    init: str
    ndim: int
    architecture: str
    """A hash of the network without its weights and its head."""
    sha256: str
    """Of the weights that it names."""

    @property
    def fingerprint(self) -> str:
        """Its kind, and the weights or the architecture: whatever of it determines a trial."""
        fresh = kind_of(self.init) in (RANDOM, IMAGENET)
        return f"{kind_of(self.init)}:{self.architecture if fresh else self.sha256}"


def look_up(init: str) -> Start:
    """What an initialisation is.

    Raises:
        InvalidInputError, ReadError: weights that cannot be had.
    """
    model: Any = sg_hub.from_pretrained(name_of(init))
    ignored = ("provenance", "preprocessing", "head", "num_classes", "class_names", "multilabel", "in_chans")
    config = {key: value for key, value in model.config().items() if key not in ignored}
    text = json.dumps([type(model).__name__, config], sort_keys=True)
    sha256 = (model.load_report.sha256 if model.load_report else None) or ""
    return Start(init, model.NDIM, hashlib.sha256(text.encode()).hexdigest(), sha256)


def head_parameters(model: nn.Module) -> set[str]:
    """Names of the last layer's parameters, which start afresh in every initialisation."""
    return {name for name, _ in model.named_parameters() if name.startswith(("segmentation.", "classifier.fc."))}
