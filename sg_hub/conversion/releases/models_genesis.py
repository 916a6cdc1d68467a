"""Models Genesis, chest CT, as its authors published it: the U-Net of Semantic Genesis, without its classifier."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sg_hub.conversion.releases import semantic_genesis
from sg_hub.models import SemanticGenesis3D
from sg_hub.preprocessing.preprocessing import Preprocessing


def build(state: Mapping[str, Tensor], norm: str, provenance: dict[str, Any]) -> SemanticGenesis3D:
    return SemanticGenesis3D(
        width=32, head="restoration", norm=norm, preprocessing=Preprocessing(), provenance=provenance
    )


RELEASE = dataclasses.replace(
    semantic_genesis.RELEASE,
    title="Models Genesis",
    files="Genesis_Chest_CT.pt",
    about="pre-trained by restoring corrupted cubes",
    home="https://github.com/MrGiovanni/ModelsGenesis",
    citation="Z. Zhou, V. Sodha, M. M. Rahman Siddiquee, R. Feng, N. Tajbakhsh, M. B. Gotway, J. Liang. Models "
    "Genesis: Generic Autodidactic Models for 3D Medical Image Analysis. MICCAI 2019.",
    build=build,
    known_by="the absence of a classifier (clc_out.*): inferred, the file does not name itself",
    notes=(
        "The checkpoint has no classifier (`clc_out.*`), and was taken for Models Genesis by that alone: a file does "
        "not name itself, and one of Semantic Genesis whose classifier was removed looks the same. A head that needs "
        'one starts it afresh (`head="pretext"` or `"classification"`, with `num_classes`), and `model.load_report` '
        "says so.",
    ),
)
