"""SuPreM's U-Net as its authors publish it: the U-Net of Models Genesis, which is that of `SemanticGenesis3D`.

Not checked against the published file, which was not at hand: the names are those of that network, behind the prefix
`module.backbone.` and under `net`. These, that it is that network, and the size that its authors give (19.08 million
weights, which that network has) are from memory; their code was not at hand either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sg_hub.conversion.release import Release
from sg_hub.conversion.releases import semantic_genesis
from sg_hub.models import SemanticGenesis3D
from sg_hub.preprocessing.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(low=-175, high=250, spacing=(1.5, 1.5, 1.5), input_size=(96, 96, 96))


def build(state: Mapping[str, Tensor], norm: str, provenance: dict[str, Any]) -> SemanticGenesis3D:
    shared: dict[str, Any] = {"preprocessing": PREPROCESSING, "provenance": provenance}
    return SemanticGenesis3D(width=32, head="segmentation", num_classes=1, norm=norm, **shared)


def from_ras(name: str, value: Tensor) -> Tensor:
    """Kernels of a network that saw x to the right and y to anterior, as they see x to the left and y to posterior.

    Exact here: its convolutions are symmetric, and pooling and up-sampling are by 2 of even sides.
    """
    return value.flip(2, 3) if value.ndim == 5 else value


RELEASE = Release(
    title="SuPreM (U-Net)",
    files="supervised_suprem_unet_2100.pth of SuPreM",
    about="trained to segment organs and tumours",
    data="2100 CT of AbdomenAtlas 1.1",
    home="https://github.com/MrGiovanni/SuPreM",
    citation="W. Li, A. Yuille, Z. Zhou. How Well Do Supervised 3D Models Transfer to Medical Imaging Tasks? ICLR "
    "2024.",
    licence="other",
    licence_name="that of SuPreM",
    licence_terms="Its text was not at hand when this was written: read it at the link before you use the weights. The "
    "scans that they were trained on, AbdomenAtlas, are for non-commercial use.",
    build=build,
    preprocessing=PREPROCESSING,
    published_names=semantic_genesis.published_names,
    known_by="the prefix backbone. of its keys",
    marks=("backbone.",),
    tensor=from_ras,
    prefixes=("module.", "backbone."),
    left_out=("out_tr", "organ_embedding", "text_to_vision", "controller", "precls_conv", "GAP"),
    afresh=("segmentation.",),
    norms=("batch_stats", "batch"),
    checked=False,
    notes=(
        "The names of its tensors were not checked against the published file. The last layer is left out, for its "
        "organs do not exclude one another, as classes here do: the segmentation's last layer is 0, and has to be "
        'trained (`from_pretrained(..., head="segmentation", num_classes=3)`). Encoder and decoder keep their weights.',
        "The network was trained on scans whose x goes to the right and y to anterior (RAS). Its kernels were "
        "mirrored, so that it sees a scan as everywhere here (LPS), with the same result.",
    ),
)
