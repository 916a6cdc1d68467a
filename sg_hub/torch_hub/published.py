"""Architectures of others, whose published weights `sg-hub convert` makes loadable, and their encoders."""

from __future__ import annotations

from typing import Any

from sg_hub.models.families.dense_vnet import DenseVNet, DenseVNetEncoder
from sg_hub.models.families.i3d import I3D, I3DEncoder
from sg_hub.models.families.medicalnet import MedicalNet, MedicalNetEncoder
from sg_hub.models.families.res_enc import ResEncEncoder, ResEncUNet
from sg_hub.models.families.segresnet import SegResNet, SegResNetEncoder
from sg_hub.torch_hub.build import build


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
    return build(MedicalNet, f"medicalnet-resnet{depth}", {"depth": depth}, pretrained, name, options)


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
    return build(I3D, "i3d-kinetics", {}, pretrained, name, options)


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
    return build(DenseVNet, "dense-vnet-abdominal-ct", {}, pretrained, name, options)


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
    return build(SegResNet, "ct-fm", {}, pretrained, name, options)


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
    return build(ResEncUNet, "nnssl-resenc-l", {}, pretrained, name, options)


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
