"""Semantic Genesis, in 3D and 2D, and its encoders."""

from __future__ import annotations

from typing import Any

from sg_hub.models import SemanticGenesis2D, SemanticGenesis3D
from sg_hub.models.families.timm_encoder import TimmEncoder
from sg_hub.models.unet import UNetEncoder
from sg_hub.torch_hub.build import SMALL_2D, build

FULL = "semantic-genesis-3d"
TINY = "semantic-genesis-3d-tiny"
FULL_2D = "semantic-genesis-2d"
TINY_2D = "semantic-genesis-2d-tiny"


def semantic_genesis_3d(*, pretrained: bool = False, name: str | None = None, **options: Any) -> SemanticGenesis3D:
    """Semantic Genesis in 3D: the U-Net of the paper (Haghighi et al., MICCAI 2020) at its full width of 32.

        model = torch.hub.load(repo, "semantic_genesis_3d", num_classes=2)
        logits = model(x)  # x (N, 1, X, Y, Z) in 0..1, sides multiples of 8; logits (N, 2, X, Y, Z)

    axes: x to the patient's left, y to posterior, z to superior. `model.preprocess(sg_hub.load_scan(path))`
    makes such an input of a scan.

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: which weights: a registered name, a folder, or a hub id. Absent: "semantic-genesis-3d", the weights
            that the paper's authors published; they are not downloaded for you (the error says how to get and
            convert them), so give the folder that `sg-hub convert` made of them.
        options: num_classes, head ("pretext", "restoration", "segmentation" or "classification"), in_chans,
            norm. With num_classes and no head, it is a segmentation network; with neither, the one of the
            pretext tasks, which gives (restoration, pattern_logits). Without weights also preprocessing, and
            width; with weights also revision, token, cache_dir, local_files_only, device.

    Raises:
        InvalidInputError: there are no weights of that name (the message suggests the nearest), or an option
            is impossible.
        ReadError: weights that are not on this machine (the message says how to get them), or are damaged.
    """
    return build(SemanticGenesis3D, FULL, {"width": 32}, pretrained, name, options)


def semantic_genesis_3d_tiny(*, pretrained: bool = False, name: str | None = None, **options: Any) -> SemanticGenesis3D:
    """Semantic Genesis in 3D at width 8: small enough for a CPU; its weights come with the package.

        model = torch.hub.load(repo, "semantic_genesis_3d_tiny", pretrained=True, num_classes=2)
        logits = model(x)  # x (N, 1, X, Y, Z) in 0..1, sides multiples of 8; logits (N, 2, X, Y, Z)

    With num_classes the last layer starts at random: fine-tune it. `print(model.load_report)` says what was
    loaded; `model.preprocess(sg_hub.load_scan(path))` makes the input that the weights expect of a scan.

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: other weights than "semantic-genesis-3d-tiny": a registered name, a folder, or a hub id.
        options: num_classes, head, in_chans, ... as in `semantic_genesis_3d`.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return build(SemanticGenesis3D, TINY, {"width": 8}, pretrained, name, options)


def semantic_genesis_3d_encoder(*, pretrained: bool = False, name: str | None = None, **options: Any) -> UNetEncoder:
    """The encoder of `semantic_genesis_3d` alone, for networks of your own.

        encoder = torch.hub.load(repo, "semantic_genesis_3d_encoder")
        features = encoder(x)  # four maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (64, 128, 256, 512) and `encoder.strides` (1, 2, 4, 8).

    Args:
        pretrained, name: as in `semantic_genesis_3d`.
        options: in_chans, norm, ... as in `semantic_genesis_3d`; the head is left out.
    """
    encoder: UNetEncoder = build(SemanticGenesis3D, FULL, {"width": 32}, pretrained, name, options).encoder
    return encoder


def semantic_genesis_3d_tiny_encoder(
    *, pretrained: bool = False, name: str | None = None, **options: Any
) -> UNetEncoder:
    """The encoder of `semantic_genesis_3d_tiny` alone, for networks of your own.

        encoder = torch.hub.load(repo, "semantic_genesis_3d_tiny_encoder", pretrained=True)
        features = encoder(x)  # four maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (16, 32, 64, 128) and `encoder.strides` (1, 2, 4, 8).

    Args:
        pretrained, name: as in `semantic_genesis_3d_tiny`.
        options: in_chans, norm, ... as in `semantic_genesis_3d`; the head is left out.
    """
    encoder: UNetEncoder = build(SemanticGenesis3D, TINY, {"width": 8}, pretrained, name, options).encoder
    return encoder


def semantic_genesis_2d(*, pretrained: bool = False, name: str | None = None, **options: Any) -> SemanticGenesis2D:
    """Semantic Genesis in 2D: a U-Net on any encoder of timm, ResNet-18 as in the paper (Haghighi et al., MICCAI 2020).

        model = torch.hub.load(repo, "semantic_genesis_2d", num_classes=2, encoder="resnet50")
        logits = model(x)  # x (N, 1, H, W) in 0..1, sides multiples of 32; logits (N, 2, H, W)

    `model.preprocess(sg_hub.load_image(path))` makes such an input of an X-ray.

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: which weights: a registered name, a folder, or a hub id. Absent: "semantic-genesis-2d", which is on no
            hub yet, so give one of your own.
        options: num_classes, head ("pretext", "restoration", "segmentation" or "classification"), in_chans. With
            num_classes and no head, it is a segmentation network; with neither, the one of the pretext tasks,
            which gives (restoration, pattern_logits). Without weights also encoder, encoder_weights ("imagenet"),
            decoder_width and preprocessing; with weights also revision, token, cache_dir, local_files_only, device.

    Raises:
        InvalidInputError: there are no weights of that name (the message suggests the nearest), or an option
            is impossible.
        ReadError: weights that cannot be had, or are damaged.
    """
    return build(SemanticGenesis2D, FULL_2D, {}, pretrained, name, options)


def semantic_genesis_2d_tiny(*, pretrained: bool = False, name: str | None = None, **options: Any) -> SemanticGenesis2D:
    """Semantic Genesis in 2D on a small encoder (LCNet): for a CPU; its weights come with the package.

        model = torch.hub.load(repo, "semantic_genesis_2d_tiny", pretrained=True, num_classes=2)
        logits = model(x)  # x (N, 1, H, W) in 0..1, sides multiples of 32; logits (N, 2, H, W)

    With num_classes the last layer starts at random: fine-tune it. `print(model.load_report)` says what was
    loaded; `model.preprocess(sg_hub.load_image(path))` makes the input that the weights expect of an X-ray.

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: other weights than "semantic-genesis-2d-tiny": a registered name, a folder, or a hub id.
        options: num_classes, head, in_chans, ... as in `semantic_genesis_2d`.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return build(SemanticGenesis2D, TINY_2D, SMALL_2D, pretrained, name, options)


def semantic_genesis_2d_encoder(*, pretrained: bool = False, name: str | None = None, **options: Any) -> TimmEncoder:
    """The encoder of `semantic_genesis_2d` alone, for networks of your own.

        encoder = torch.hub.load(repo, "semantic_genesis_2d_encoder")
        features = encoder(x)  # maps (N, C, H / stride, W / stride), finest first, as timm's features_only gives them

    `encoder.channels` is (64, 64, 128, 256, 512) and `encoder.strides` (2, 4, 8, 16, 32) of a ResNet-18.

    Args:
        pretrained, name: as in `semantic_genesis_2d`.
        options: in_chans, encoder, ... as in `semantic_genesis_2d`; the head is left out.
    """
    encoder: TimmEncoder = build(SemanticGenesis2D, FULL_2D, {}, pretrained, name, options).encoder
    return encoder


def semantic_genesis_2d_tiny_encoder(
    *, pretrained: bool = False, name: str | None = None, **options: Any
) -> TimmEncoder:
    """The encoder of `semantic_genesis_2d_tiny` alone, for networks of your own.

        encoder = torch.hub.load(repo, "semantic_genesis_2d_tiny_encoder", pretrained=True)
        features = encoder(x)  # maps (N, C, H / stride, W / stride), finest first, as timm's features_only gives them

    `encoder.channels` is (16, 32, 64, 128, 256) and `encoder.strides` (2, 4, 8, 16, 32).

    Args:
        pretrained, name: as in `semantic_genesis_2d_tiny`.
        options: in_chans, ... as in `semantic_genesis_2d`; the head is left out.
    """
    encoder: TimmEncoder = build(SemanticGenesis2D, TINY_2D, SMALL_2D, pretrained, name, options).encoder
    return encoder
