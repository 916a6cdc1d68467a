"""nnssl's ResEnc-L as its authors publish it: a checkpoint of nnssl with dynamic-network-architectures' network.

Not checked against a published file, which was not at hand: the names are those that the class `ResidualEncoderUNet`
gives, under `network_weights`. That the arrays are z, y, x (SimpleITK), of 1 mm and with mean 0 and deviation 1 is how
nnU-Net and nnssl read scans; which way their axes go depends on the file there, and is not corrected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from sg_hub.conversion.release import Release, xyz
from sg_hub.models.families.res_enc import ResEncUNet
from sg_hub.preprocessing.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(
    modality="MR", intensity="zscore", low=-5, high=10, spacing=(1, 1, 1), input_size=(160, 160, 160)
)
_FIRST = "encoder.stem.convs.0.all_modules.0.weight"
_BLOCK = re.compile(r"encoder\.stages\.(\d)\.blocks\.(\d{1,2})\.conv1\.all_modules\.0\.weight")


def build(state: Mapping[str, Tensor], norm: str, provenance: dict[str, Any]) -> ResEncUNet:
    first = state.get(_FIRST)
    sizes: dict[str, Any] = {}
    blocks: dict[int, int] = {}
    features: dict[int, int] = {}
    for key, value in state.items():
        if (match := _BLOCK.fullmatch(key)) and value.ndim == 5 and value.shape[0]:
            level = int(match[1])
            blocks[level] = max(blocks.get(level, 0), int(match[2]) + 1)
            features[level] = value.shape[0]
    if len(blocks) >= 2:
        sizes = {
            "features": [features[level] for level in sorted(features)],
            "blocks": [blocks[i] for i in sorted(blocks)],
        }
    in_chans = first.shape[1] if first is not None and first.ndim == 5 and first.shape[1] else 1
    return ResEncUNet(**sizes, in_chans=in_chans, head="features", preprocessing=PREPROCESSING, provenance=provenance)


def published_names(own: Iterable[str]) -> dict[str, str]:
    return {key.replace("encoder.body.", "encoder.", 1): key for key in own}


RELEASE = Release(
    title="nnssl (ResEnc-L)",
    files="checkpoint_final.pth of a ResEnc-L of nnssl",
    about="pre-trained by one of nnssl's methods (the file says which)",
    data="114 000 MR of OpenMind (head and neck)",
    home="https://github.com/MIC-DKFZ/nnssl",
    citation="T. Wald, C. Ulrich, S. Lukyanenko, et al. Revisiting MAE Pre-training for 3D Medical Image Segmentation. "
    "CVPR 2025. T. Wald, C. Ulrich, J. Suprijadi, et al. An OpenMind for 3D medical vision self-supervised learning. "
    "arXiv:2412.17041, 2024.",
    licence="other",
    licence_name="that of the weights' own page",
    licence_terms="Its text was not at hand when this was written: read it where you found the weights, before you use "
    "them.",
    build=build,
    preprocessing=PREPROCESSING,
    published_names=published_names,
    known_by="its layers' places in all_modules",
    marks=("all_modules.",),
    tensor=lambda name, value: xyz(value),
    prefixes=("module.", "_orig_mod."),
    left_out=("decoder.",),
    repeated=(".conv.", ".norm."),
    checked=False,
    notes=(
        "The names of its tensors were not checked against a published file. The encoder alone is taken: a "
        "segmentation or classification starts its decoder and its head afresh.",
        "The network was trained on arrays z, y, x. The axes of its kernels were put into the order x, y, z, so that "
        "it sees a scan as everywhere here. Which way their axes go depends, there, on the file of the scan.",
    ),
)
