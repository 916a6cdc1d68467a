"""Every family of networks, as small as it can be: a new one names its settings here."""

import torch

from sg_hub.models.registry import family

SMALL = {
    "DenseVNet": {"width": 4},
    "I3D": {"width": 4, "decoder_width": 2},
    "MedicalNet": {"width": 4, "decoder_width": 2},
    "ResEncUNet": {"features": [4, 8, 8], "blocks": [1, 2, 1]},
    "SegResNet": {"width": 4, "blocks": [1, 2, 1]},
    "SemanticGenesis2D": {"encoder": "lcnet_035", "decoder_width": 2},
    "SemanticGenesis3D": {"width": 2, "norm": "batch"},
    "TimmUNet": {"encoder": "lcnet_035", "decoder_width": 2, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.3]},
}


def small(name, **options):
    torch.manual_seed(0)
    return family(name)(**SMALL[name], **options)


def batch(model, count=2, multiples=2):
    """Random numbers of a size that a model takes, of which no two sides are equal."""
    strides = model.encoder.strides[-1]
    steps = (strides,) * model.NDIM if isinstance(strides, int) else strides
    sides = [step * (multiples + axis) for axis, step in enumerate(steps)]
    return torch.rand(count, model.in_chans, *sides, generator=torch.Generator().manual_seed(1))
