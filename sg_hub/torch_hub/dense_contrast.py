"""The networks of Semantic Genesis with weights by dense contrast, and their encoders."""

from __future__ import annotations

from typing import Any

from sg_hub.models import SemanticGenesis2D, SemanticGenesis3D
from sg_hub.models.families.timm_encoder import TimmEncoder
from sg_hub.models.unet import UNetEncoder
from sg_hub.torch_hub.build import SMALL_2D, build

_RESTORES = {"head": "restoration"}
_TELLS = {"head": "pretext", "num_classes": 24}
"""It restores, and tells as many patterns apart."""


def dense_contrast_3d_tiny(*, pretrained: bool = False, name: str | None = None, **options: Any) -> SemanticGenesis3D:
    """The U-Net of `semantic_genesis_3d` at width 8; its weights are by dense contrast on head-and-neck CT.

        model = torch.hub.load(repo, "dense_contrast_3d_tiny", pretrained=True, num_classes=2)
        logits = model(x)  # x (N, 1, X, Y, Z) in 0..1, sides multiples of 8; logits (N, 2, X, Y, Z)

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: other weights than "dense-contrast-3d-tiny": a registered name, a folder, or a hub id.
        options: num_classes, head, in_chans, ... as in `semantic_genesis_3d`; by default it restores.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return build(SemanticGenesis3D, "dense-contrast-3d-tiny", {"width": 8, **_RESTORES}, pretrained, name, options)


def dense_contrast_3d_tiny_encoder(*, pretrained: bool = False, name: str | None = None, **options: Any) -> UNetEncoder:
    """The encoder of `dense_contrast_3d_tiny` alone, for networks of your own.

        encoder = torch.hub.load(repo, "dense_contrast_3d_tiny_encoder", pretrained=True)
        features = encoder(x)  # four maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (16, 32, 64, 128) and `encoder.strides` (1, 2, 4, 8).

    Args:
        pretrained, name: as in `dense_contrast_3d_tiny`.
        options: in_chans, norm, ... as in `semantic_genesis_3d`; the head is left out.
    """
    found: UNetEncoder = dense_contrast_3d_tiny(pretrained=pretrained, name=name, **options).encoder
    return found


def dense_contrast_3d_small(*, pretrained: bool = False, name: str | None = None, **options: Any) -> SemanticGenesis3D:
    """The U-Net of `semantic_genesis_3d` at width 16; its weights are by dense contrast with patterns.

        model = torch.hub.load(repo, "dense_contrast_3d_small", pretrained=True, num_classes=2)
        logits = model(x)  # x (N, 1, X, Y, Z) in 0..1, sides multiples of 8; logits (N, 2, X, Y, Z)

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: other weights than "dense-contrast-3d-small": a registered name, a folder, or a hub id.
        options: num_classes, head, in_chans, ... as in `semantic_genesis_3d`; by default it restores, and
            tells 24 patterns apart.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    sizes = {"width": 16} | (_TELLS if options.get("head", "pretext") == "pretext" else {})
    return build(SemanticGenesis3D, "dense-contrast-3d-small", sizes, pretrained, name, options)


def dense_contrast_3d_small_encoder(
    *, pretrained: bool = False, name: str | None = None, **options: Any
) -> UNetEncoder:
    """The encoder of `dense_contrast_3d_small` alone, for networks of your own.

        encoder = torch.hub.load(repo, "dense_contrast_3d_small_encoder", pretrained=True)
        features = encoder(x)  # four maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (32, 64, 128, 256) and `encoder.strides` (1, 2, 4, 8).

    Args:
        pretrained, name: as in `dense_contrast_3d_small`.
        options: in_chans, norm, ... as in `semantic_genesis_3d`; the head is left out.
    """
    found: UNetEncoder = dense_contrast_3d_small(pretrained=pretrained, name=name, **options).encoder
    return found


def dense_contrast_3d_chest_tiny(
    *, pretrained: bool = False, name: str | None = None, **options: Any
) -> SemanticGenesis3D:
    """The U-Net of `semantic_genesis_3d` at width 8; its weights are by dense contrast on patches of chest CT.

        model = torch.hub.load(repo, "dense_contrast_3d_chest_tiny", pretrained=True, num_classes=2)
        logits = model(x)  # x (N, 1, X, Y, Z) in 0..1, sides multiples of 8; logits (N, 2, X, Y, Z)

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: other weights than "dense-contrast-3d-chest-tiny": a registered name, a folder, or a hub id.
        options: num_classes, head, in_chans, ... as in `semantic_genesis_3d`; by default it restores.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return build(
        SemanticGenesis3D, "dense-contrast-3d-chest-tiny", {"width": 8, **_RESTORES}, pretrained, name, options
    )


def dense_contrast_3d_chest_tiny_encoder(
    *, pretrained: bool = False, name: str | None = None, **options: Any
) -> UNetEncoder:
    """The encoder of `dense_contrast_3d_chest_tiny` alone, for networks of your own.

        encoder = torch.hub.load(repo, "dense_contrast_3d_chest_tiny_encoder", pretrained=True)
        features = encoder(x)  # four maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (16, 32, 64, 128) and `encoder.strides` (1, 2, 4, 8).

    Args:
        pretrained, name: as in `dense_contrast_3d_chest_tiny`.
        options: in_chans, norm, ... as in `semantic_genesis_3d`; the head is left out.
    """
    found: UNetEncoder = dense_contrast_3d_chest_tiny(pretrained=pretrained, name=name, **options).encoder
    return found


def dense_contrast_2d_tiny(*, pretrained: bool = False, name: str | None = None, **options: Any) -> SemanticGenesis2D:
    """The network of `semantic_genesis_2d_tiny`; its weights are by dense contrast on chest X-rays.

        model = torch.hub.load(repo, "dense_contrast_2d_tiny", pretrained=True, num_classes=2)
        logits = model(x)  # x (N, 1, H, W) in 0..1, sides multiples of 32; logits (N, 2, H, W)

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: other weights than "dense-contrast-2d-tiny": a registered name, a folder, or a hub id.
        options: num_classes, head, in_chans, ... as in `semantic_genesis_2d`; by default it restores.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return build(SemanticGenesis2D, "dense-contrast-2d-tiny", SMALL_2D | _RESTORES, pretrained, name, options)


def dense_contrast_2d_tiny_encoder(*, pretrained: bool = False, name: str | None = None, **options: Any) -> TimmEncoder:
    """The encoder of `dense_contrast_2d_tiny` alone, for networks of your own.

        encoder = torch.hub.load(repo, "dense_contrast_2d_tiny_encoder", pretrained=True)
        features = encoder(x)  # maps (N, C, H / stride, W / stride), finest first, as timm's features_only gives them

    `encoder.channels` is (16, 32, 64, 128, 256) and `encoder.strides` (2, 4, 8, 16, 32).

    Args:
        pretrained, name: as in `dense_contrast_2d_tiny`.
        options: in_chans, ... as in `semantic_genesis_2d`; the head is left out.
    """
    found: TimmEncoder = dense_contrast_2d_tiny(pretrained=pretrained, name=name, **options).encoder
    return found
