"""Where a network of a target task starts from: the initialisations that are held against each other."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import nn

import sg_hub
from sg_hub.errors import InvalidInputError
from training.targets import Target

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
        InvalidInputError: weights that cannot be had, or a network that does not take the target's cases.
    """
    torch.manual_seed(seed)
    asked: dict[str, Any] = {"head": target.head, "num_classes": target.num_classes}
    pretrained: Any = sg_hub.from_pretrained(name_of(init), **asked, in_chans=target.channels)
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
        config["provenance"] = {}
    if kind_of(init) == IMAGENET:
        if pretrained.NDIM != 2:
            raise InvalidInputError(f"{init}: there are ImageNet weights of 2D networks only, and this one is 3D")
        config |= {"encoder_weights": IMAGENET, "mean": None, "std": None}  # timm's own weights bring theirs
    model = type(pretrained)(**config)
    if kind_of(init) == ENCODER:
        model.encoder.load_state_dict(pretrained.encoder.state_dict())
    return model


def fingerprint(init: str) -> str:
    """What an initialisation is, whatever its folder is called: its kind, and the sha256 or the architecture."""
    model: Any = sg_hub.from_pretrained(name_of(init))
    if kind_of(init) in (RANDOM, IMAGENET):
        ignored = ("provenance", "preprocessing", "head", "num_classes", "in_chans")
        config = {key: value for key, value in model.config().items() if key not in ignored}
        text = json.dumps([type(model).__name__, config], sort_keys=True)
        return f"{kind_of(init)}:{hashlib.sha256(text.encode()).hexdigest()}"
    return f"{kind_of(init)}:{sha256_of(init)}"


def ndim_of(init: str) -> int:
    """Whether the network is a 2D or a 3D one."""
    return int(sg_hub.from_pretrained(name_of(init)).NDIM)


def sha256_of(init: str) -> str:
    """Of the weights that an initialisation names."""
    report = sg_hub.from_pretrained(name_of(init)).load_report
    return (report.sha256 if report else None) or ""


def head_parameters(model: nn.Module) -> set[str]:
    """Names of the last layer's parameters, which start afresh in every initialisation."""
    return {name for name, _ in model.named_parameters() if name.startswith(("segmentation.", "classifier.fc."))}
