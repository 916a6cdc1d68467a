"""The functions that torch.hub offers (see hubconf.py): one per model, and its encoder alone."""

from __future__ import annotations

from typing import Any

from sg_hub.models import SemanticGenesis3D
from sg_hub.models.unet3d import Encoder3D

TINY = "semantic-genesis-3d-tiny"


def semantic_genesis_3d(*, pretrained: bool = False, name: str | None = None, **options: Any) -> SemanticGenesis3D:
    """The 3D U-Net of the paper at full width (32).

    Args:
        pretrained: load weights; then `name` says which (a registered name, folder or hub id).
        options: with weights, those of `SemanticGenesis3D.from_pretrained` (head, num_classes, in_chans, ...);
            without, those of `SemanticGenesis3D`. `num_classes` alone means a segmentation head.

    Raises:
        InvalidInputError: pretrained=True and no weights of that name.
    """
    if pretrained:
        return SemanticGenesis3D.from_pretrained(name or "semantic-genesis-3d", **options)
    return _untrained(32, **options)


def semantic_genesis_3d_tiny(*, pretrained: bool = False, **options: Any) -> SemanticGenesis3D:
    """The 3D U-Net at width 8, with the weights that ship with the package; options as in `semantic_genesis_3d`."""
    if pretrained:
        return SemanticGenesis3D.from_pretrained(TINY, **options)
    return _untrained(8, **options)


def semantic_genesis_3d_encoder(*, pretrained: bool = False, **options: Any) -> Encoder3D:
    """The encoder of `semantic_genesis_3d`: feature maps of (N, C, X, Y, Z), finest first."""
    return semantic_genesis_3d(pretrained=pretrained, **options).encoder


def semantic_genesis_3d_tiny_encoder(*, pretrained: bool = False, **options: Any) -> Encoder3D:
    """The encoder of `semantic_genesis_3d_tiny`: feature maps of (N, C, X, Y, Z), finest first."""
    return semantic_genesis_3d_tiny(pretrained=pretrained, **options).encoder


def _untrained(width: int, **options: Any) -> SemanticGenesis3D:
    if "num_classes" in options:
        options.setdefault("head", "segmentation")
    return SemanticGenesis3D(width=width, **options)
