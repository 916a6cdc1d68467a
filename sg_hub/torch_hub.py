"""The functions that torch.hub offers (see hubconf.py): one per model, and its encoder alone.

Weights of others in the architecture of one of these are given by `name`; any encoder of timm by `semantic_genesis_2d`.
"""

from __future__ import annotations

from typing import Any, TypeVar

from sg_hub.errors import InvalidInputError
from sg_hub.hub.registry import is_registered, list_models
from sg_hub.models import PretrainedModel, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.models.families.dense_vnet import DenseVNet, DenseVNetEncoder
from sg_hub.models.families.i3d import I3D, I3DEncoder
from sg_hub.models.families.medicalnet import MedicalNet, MedicalNetEncoder
from sg_hub.models.families.res_enc import ResEncEncoder, ResEncUNet
from sg_hub.models.families.segresnet import SegResNet, SegResNetEncoder
from sg_hub.models.families.timm_encoder import TimmEncoder
from sg_hub.models.heads import CLASSES_MEAN, head_of
from sg_hub.models.unet import UNetEncoder

FULL = "semantic-genesis-3d"
TINY = "semantic-genesis-3d-tiny"
FULL_2D = "semantic-genesis-2d"
TINY_2D = "semantic-genesis-2d-tiny"
SMALL_2D = {"encoder": "lcnet_050", "decoder_width": 8}
_RESTORES = {"head": "restoration"}

Model = TypeVar("Model", bound=PretrainedModel)


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
    return _build(SemanticGenesis3D, FULL, {"width": 32}, pretrained, name, options)


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
    return _build(SemanticGenesis3D, TINY, {"width": 8}, pretrained, name, options)


def semantic_genesis_3d_encoder(*, pretrained: bool = False, name: str | None = None, **options: Any) -> UNetEncoder:
    """The encoder of `semantic_genesis_3d` alone, for networks of your own.

        encoder = torch.hub.load(repo, "semantic_genesis_3d_encoder")
        features = encoder(x)  # four maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (64, 128, 256, 512) and `encoder.strides` (1, 2, 4, 8).

    Args:
        pretrained, name: as in `semantic_genesis_3d`.
        options: in_chans, norm, ... as in `semantic_genesis_3d`; the head is left out.
    """
    encoder: UNetEncoder = _build(SemanticGenesis3D, FULL, {"width": 32}, pretrained, name, options).encoder
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
    encoder: UNetEncoder = _build(SemanticGenesis3D, TINY, {"width": 8}, pretrained, name, options).encoder
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
    return _build(SemanticGenesis2D, FULL_2D, {}, pretrained, name, options)


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
    return _build(SemanticGenesis2D, TINY_2D, SMALL_2D, pretrained, name, options)


def semantic_genesis_2d_encoder(*, pretrained: bool = False, name: str | None = None, **options: Any) -> TimmEncoder:
    """The encoder of `semantic_genesis_2d` alone, for networks of your own.

        encoder = torch.hub.load(repo, "semantic_genesis_2d_encoder")
        features = encoder(x)  # maps (N, C, H / stride, W / stride), finest first, as timm's features_only gives them

    `encoder.channels` is (64, 64, 128, 256, 512) and `encoder.strides` (2, 4, 8, 16, 32) of a ResNet-18.

    Args:
        pretrained, name: as in `semantic_genesis_2d`.
        options: in_chans, encoder, ... as in `semantic_genesis_2d`; the head is left out.
    """
    encoder: TimmEncoder = _build(SemanticGenesis2D, FULL_2D, {}, pretrained, name, options).encoder
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
    encoder: TimmEncoder = _build(SemanticGenesis2D, TINY_2D, SMALL_2D, pretrained, name, options).encoder
    return encoder


def medicalnet(*, pretrained: bool = False, name: str | None = None, depth: int = 10, **options: Any) -> MedicalNet:
    """MedicalNet: a 3D ResNet (Chen et al., 2019), with heads and a U-Net decoder of this package.

        model = torch.hub.load(repo, "medicalnet", depth=50, num_classes=2)
        logits = model(x)  # x (N, 1, X, Y, Z), sides multiples of 8; logits (N, 2, X, Y, Z)

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: the folder that `sg-hub convert` made of a published file; it has its own depth. Absent:
            "medicalnet-resnet10" and so on, which are not downloaded for you (the error says how to get them).
        depth: 10, 18, 34, 50, 101, 152 or 200.
        options: num_classes, head, in_chans as in `semantic_genesis_3d`; without weights also shortcut, width,
            decoder_width and preprocessing.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return _build(MedicalNet, f"medicalnet-resnet{depth}", {"depth": depth}, pretrained, name, options)


def medicalnet_encoder(
    *, pretrained: bool = False, name: str | None = None, depth: int = 10, **options: Any
) -> MedicalNetEncoder:
    """The encoder of `medicalnet` alone, for networks of your own.

        encoder = torch.hub.load(repo, "medicalnet_encoder", depth=50)
        features = encoder(x)  # five maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (64, 256, 512, 1024, 2048) from depth 50 on, and `encoder.strides` (2, 4, 8, 8, 8).

    Args:
        pretrained, name, depth: as in `medicalnet`.
        options: in_chans, ... as in `medicalnet`; the head is left out.
    """
    options = {"head": "features"} | options
    found: MedicalNetEncoder = medicalnet(pretrained=pretrained, name=name, depth=depth, **options).encoder
    return found


def i3d(*, pretrained: bool = False, name: str | None = None, **options: Any) -> I3D:
    """I3D: Inception-v1 inflated to 3D (Carreira and Zisserman, CVPR 2017), with heads and a decoder of this package.

        model = torch.hub.load(repo, "i3d", num_classes=2, in_chans=1)
        logits = model(x)  # x (N, 1, X, Y, Z) in 0..1, x and y multiples of 32, z of 8; logits (N, 2, X, Y, Z)

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: the folder that `sg-hub convert` made of the published file. Absent: "i3d-kinetics", which is not
            downloaded for you (the error says how to get it).
        options: num_classes, head, in_chans as in `semantic_genesis_3d`; without weights also width, mean, std,
            decoder_width and preprocessing.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return _build(I3D, "i3d-kinetics", {}, pretrained, name, options)


def i3d_encoder(*, pretrained: bool = False, name: str | None = None, **options: Any) -> I3DEncoder:
    """The encoder of `i3d` alone, for networks of your own.

        encoder = torch.hub.load(repo, "i3d_encoder", in_chans=1)
        features = encoder(x)  # five maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (64, 192, 480, 832, 1024), and `encoder.strides` has one for each axis.

    Args:
        pretrained, name: as in `i3d`.
        options: in_chans, ... as in `i3d`; the head is left out.
    """
    found: I3DEncoder = i3d(pretrained=pretrained, name=name, **({"head": "features"} | options)).encoder
    return found


def dense_vnet(*, pretrained: bool = False, name: str | None = None, **options: Any) -> DenseVNet:
    """Dense V-Net of NiftyNet (Gibson et al., IEEE TMI 2018): small, densely joined, for organs of the abdomen.

        model = torch.hub.load(repo, "dense_vnet", num_classes=9)
        logits = model(x)  # x (N, 1, X, Y, Z) in 0..1, sides multiples of 8; logits (N, 9, X, Y, Z)

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: the folder that `sg-hub convert` made of the published checkpoint. Absent: "dense-vnet-abdominal-ct",
            which is not downloaded for you (the error says how to get it).
        options: num_classes, head, in_chans as in `semantic_genesis_3d`; without weights also width and preprocessing.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return _build(DenseVNet, "dense-vnet-abdominal-ct", {}, pretrained, name, options)


def dense_vnet_encoder(*, pretrained: bool = False, name: str | None = None, **options: Any) -> DenseVNetEncoder:
    """The encoder of `dense_vnet` alone, for networks of your own.

        encoder = torch.hub.load(repo, "dense_vnet_encoder")
        features = encoder(x)  # three maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (45, 104, 184) and `encoder.strides` (2, 4, 8).

    Args:
        pretrained, name: as in `dense_vnet`.
        options: in_chans, ... as in `dense_vnet`; the head is left out.
    """
    found: DenseVNetEncoder = dense_vnet(pretrained=pretrained, name=name, **({"head": "features"} | options)).encoder
    return found


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
    return _build(SemanticGenesis3D, "dense-contrast-3d-tiny", {"width": 8, **_RESTORES}, pretrained, name, options)


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
    """The U-Net of `semantic_genesis_3d` at width 16; its weights are by dense contrast on head-and-neck CT.

        model = torch.hub.load(repo, "dense_contrast_3d_small", pretrained=True, num_classes=2)
        logits = model(x)  # x (N, 1, X, Y, Z) in 0..1, sides multiples of 8; logits (N, 2, X, Y, Z)

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: other weights than "dense-contrast-3d-small": a registered name, a folder, or a hub id.
        options: num_classes, head, in_chans, ... as in `semantic_genesis_3d`; by default it restores.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return _build(SemanticGenesis3D, "dense-contrast-3d-small", {"width": 16, **_RESTORES}, pretrained, name, options)


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
    return _build(
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
    return _build(SemanticGenesis2D, "dense-contrast-2d-tiny", SMALL_2D | _RESTORES, pretrained, name, options)


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


def segresnet(*, pretrained: bool = False, name: str | None = None, **options: Any) -> SegResNet:
    """SegResNet's encoder as MONAI has it (Myronenko, 2018), that of CT-FM.

        model = torch.hub.load(repo, "segresnet", num_classes=2)
        logits = model(x)  # x (N, 1, X, Y, Z) in 0..1, sides multiples of 16; logits (N, 2, X, Y, Z)

    Heads and decoder are of this package. It needs `pip install 'sg_hub[monai]'`.

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: the folder that `sg-hub convert` made of the published file. Absent: "ct-fm", which is not downloaded
            for you (the error says how to get it).
        options: num_classes, head, in_chans as in `semantic_genesis_3d`; without weights also width, blocks, norm and
            preprocessing.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return _build(SegResNet, "ct-fm", {}, pretrained, name, options)


def segresnet_encoder(*, pretrained: bool = False, name: str | None = None, **options: Any) -> SegResNetEncoder:
    """The encoder of `segresnet` alone, for networks of your own.

        encoder = torch.hub.load(repo, "segresnet_encoder")
        features = encoder(x)  # five maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (32, 64, 128, 256, 512) and `encoder.strides` (1, 2, 4, 8, 16).

    Args:
        pretrained, name: as in `segresnet`.
        options: in_chans, ... as in `segresnet`; the head is left out.
    """
    found: SegResNetEncoder = segresnet(pretrained=pretrained, name=name, **({"head": "features"} | options)).encoder
    return found


def res_enc_unet(*, pretrained: bool = False, name: str | None = None, **options: Any) -> ResEncUNet:
    """nnU-Net's residual encoder (Isensee et al., MICCAI 2024), ResEnc-L as nnssl pre-trains it.

        model = torch.hub.load(repo, "res_enc_unet", num_classes=2)
        logits = model(x)  # x (N, 1, X, Y, Z) of mean 0 and deviation 1, sides multiples of 32; logits (N, 2, X, Y, Z)

    Heads and decoder are of this package. It needs `pip install 'sg_hub[nnssl]'`.

    Args:
        pretrained: load weights, in evaluation mode; otherwise it starts at random, in training mode.
        name: the folder that `sg-hub convert` made of the published file. Absent: "nnssl-resenc-l", which is not
            downloaded for you (the error says how to get it).
        options: num_classes, head, in_chans as in `semantic_genesis_3d`; without weights also features, blocks and
            preprocessing.

    Raises:
        InvalidInputError, ReadError: no such weights, weights that are damaged, or an impossible option.
    """
    return _build(ResEncUNet, "nnssl-resenc-l", {}, pretrained, name, options)


def res_enc_unet_encoder(*, pretrained: bool = False, name: str | None = None, **options: Any) -> ResEncEncoder:
    """The encoder of `res_enc_unet` alone, for networks of your own.

        encoder = torch.hub.load(repo, "res_enc_unet_encoder")
        features = encoder(x)  # six maps (N, C, X / stride, ...), finest first

    `encoder.channels` is (32, 64, 128, 256, 320, 320) and `encoder.strides` (1, 2, 4, 8, 16, 32).

    Args:
        pretrained, name: as in `res_enc_unet`.
        options: in_chans, ... as in `res_enc_unet`; the head is left out.
    """
    found: ResEncEncoder = res_enc_unet(pretrained=pretrained, name=name, **({"head": "features"} | options)).encoder
    return found


def _build(
    cls: type[Model], default: str, sizes: dict[str, Any], pretrained: bool, name: str | None, options: dict[str, Any]
) -> Model:
    """The model, with weights or (of these sizes) without."""
    if pretrained and name is None and not is_registered(default):
        raise InvalidInputError(
            f"the weights {default} are on no hub yet: give those of your own (name=FOLDER or a hub id), or "
            f"name=... one of {', '.join(list_models())}"
        )
    if pretrained:
        return cls.from_pretrained(name or default, **options)
    if name is not None:
        raise InvalidInputError(f"name={name!r} says which weights to load, but pretrained=False: give pretrained=True")
    if "num_classes" in options:
        options.setdefault("head", CLASSES_MEAN)
    elif head_of(options.get("head", "pretext")).is_task:
        raise InvalidInputError(f"head={options['head']!r} needs num_classes: give how many, such as num_classes=2")
    try:
        return cls(**{**sizes, **options})
    except TypeError as error:
        raise InvalidInputError(f"{error}: not an option of a network without weights (pretrained=False)") from error
