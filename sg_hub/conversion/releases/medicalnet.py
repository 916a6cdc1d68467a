"""MedicalNet's 3D residual networks, as their authors published them: the backbones of segmentation networks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from sg_hub.conversion.release import Release, xyz
from sg_hub.models.families.medicalnet import DEPTHS, MedicalNet, shortcut_of
from sg_hub.preprocessing.preprocessing import Preprocessing

_BLOCK = re.compile(r"layer([1-4])\.(\d{1,3})\.")
_SIZE = (448, 448, 56)
PREPROCESSING = Preprocessing(modality="CT/MR", intensity="zscore", low=-10, high=10, size=_SIZE, input_size=_SIZE)


def build(state: Mapping[str, Tensor], norm: str, provenance: dict[str, Any]) -> MedicalNet:
    depth = depth_of(state)
    projected = any(".downsample." in key for key in state)
    shortcut = "B" if projected else shortcut_of(depth)
    return MedicalNet(
        depth=depth, shortcut=shortcut, head="features", preprocessing=PREPROCESSING, provenance=provenance
    )


def depth_of(keys: Iterable[str]) -> int:
    """The depth whose blocks are most like those that the keys name."""
    names = list(keys)
    found = [(int(match[1]), int(match[2])) for name in names if (match := _BLOCK.match(name))]
    counts = [max((index + 1 for level, index in found if level == wanted), default=0) for wanted in (1, 2, 3, 4)]
    expansion = 4 if any(_BLOCK.match(name) and ".conv3." in name for name in names) else 1

    def difference(depth: int) -> tuple[bool, int]:
        theirs, blocks = DEPTHS[depth]
        return theirs != expansion, sum(abs(one - other) for one, other in zip(blocks, counts, strict=True))

    return min(DEPTHS, key=difference)


def published_names(own: Iterable[str]) -> dict[str, str]:
    return {key.removeprefix("encoder."): key for key in own}


RELEASE = Release(
    title="MedicalNet",
    files="resnet_10.pth to resnet_200.pth or resnet_10_23dataset.pth to resnet_50_23dataset.pth of MedicalNet",
    about="trained to segment organs and lesions",
    data="eight public data sets of CT and MR (3DSeg-8), or 23 where the file is called so",
    home="https://github.com/Tencent/MedicalNet",
    citation=(
        "S. Chen, K. Ma, Y. Zheng. Med3D: Transfer Learning for 3D Medical Image Analysis. arXiv:1904.00625, 2019."
    ),
    licence="mit",
    licence_name="MIT",
    licence_terms="Any use; the notice is kept.",
    build=build,
    preprocessing=PREPROCESSING,
    published_names=published_names,
    known_by="its residual blocks (layer1 to layer4), whose number says the depth",
    marks=("layer1.",),
    left_out=("conv_seg",),
    tensor=lambda name, value: xyz(value),
    notes=(
        "What was published is the backbone alone: a segmentation or classification starts its head afresh. The "
        "kernels, whose axes were z, y, x, were turned to x, y, z, so that the input is (N, C, X, Y, Z) as "
        "everywhere here.",
        "Preprocessing as in the published code: a scan is resized to 448 x 448 x 56 voxels as a whole, and shifted "
        "and scaled to mean 0 and deviation 1 of its voxels above the background. There the background is voxels of "
        "0, which become noise of mean 0 and deviation 1; here it is the smallest value, and stays below all others. "
        "The paper says otherwise: scans resampled to the median spacing of their data set, and values outside of "
        "the percentiles 0.5 and 99.5 clipped. For that, set `spacing`, leave `size` out, and narrow `low` and "
        "`high`.",
        "A file does not say which data it was trained on: only its name does (`_23dataset`), which is kept in the "
        "config.",
    ),
)
