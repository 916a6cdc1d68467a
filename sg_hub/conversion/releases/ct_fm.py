"""CT-FM's encoder as its authors publish it: MONAI's `SegResEncoder`, or the encoder within a `SegResNetDS`.

Not checked against the published file, which was not at hand: the names are those that MONAI's classes give, which the
authors' package (lighter-zoo) takes as they are. Window, spacing and order of the axes (superior, posterior, left) are
from memory; neither the authors' example nor their paper was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from sg_hub.conversion.release import Release, xyz
from sg_hub.models.families.segresnet import SegResNet
from sg_hub.preprocessing.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(low=-1024, high=2048, spacing=(1, 1, 3), input_size=(128, 128, 32))
_BLOCK = re.compile(r"layers\.(\d)\.blocks\.(\d{1,2})\.")


def build(state: Mapping[str, Tensor], norm: str, provenance: dict[str, Any]) -> SegResNet:
    first = state.get("conv_init.weight")
    width, in_chans = first.shape[:2] if first is not None and first.ndim == 5 else (32, 1)
    found = [(int(match[1]), int(match[2])) for match in map(_BLOCK.match, state) if match]
    counts = [1 + max(block for level, block in found if level == wanted) for wanted in sorted(dict(found))]
    statistics = any(key.endswith("running_mean") for key in state)
    return SegResNet(
        width=max(1, width),
        blocks=counts if 2 <= len(counts) <= 8 else (1, 2, 2, 4, 4),
        norm="batch" if statistics or not found else "instance",
        in_chans=max(1, in_chans),
        head="features",
        preprocessing=PREPROCESSING,
        provenance=provenance,
    )


def published_names(own: Iterable[str]) -> dict[str, str]:
    return {key.removeprefix("encoder.body."): key for key in own}


RELEASE = Release(
    title="CT-FM",
    files="model.safetensors of CT-FM (ct_fm_feature_extractor or ct_fm_segresnet)",
    about="pre-trained by contrasting patches of scans",
    data="148 000 CT of the Imaging Data Commons",
    home="https://huggingface.co/project-lighter/ct_fm_feature_extractor",
    citation="S. Pai, I. Hadzic, D. Bontempi, K. Bressem, B. H. Kann, A. Fedorov, R. H. Mak, H. J. W. L. Aerts. Vision "
    "Foundation Models for Computed Tomography. arXiv:2501.09001, 2025.",
    licence="other",
    licence_name="that of CT-FM",
    licence_terms="Its text was not at hand when this was written: read it at the link before you use the weights.",
    build=build,
    preprocessing=PREPROCESSING,
    published_names=published_names,
    known_by="its first convolution (conv_init)",
    marks=("conv_init.",),
    tensor=lambda name, value: xyz(value),
    prefixes=("module.", "_orig_mod.", "model.", "backbone.", "encoder."),
    left_out=("up_layers.", "projection", "prediction", "criterion"),
    checked=False,
    notes=(
        "The names of its tensors were not checked against the published file. What was published is taken as the "
        "encoder alone: a segmentation or classification starts its head afresh.",
        "The network was trained on scans whose axes are superior, posterior, left. The axes of its kernels were put "
        "into the order left, posterior, superior, so that it sees a scan as everywhere here, with the same result.",
    ),
)
