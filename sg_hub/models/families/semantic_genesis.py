"""The two networks of Semantic Genesis (MICCAI 2020): a U-Net for scans, and one for images on any encoder of timm."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from sg_hub.models.base import PretrainedModel, Shared, check_counts
from sg_hub.models.families.timm_unet import TimmUNet
from sg_hub.models.heads import Classifier
from sg_hub.models.unet import Norm, UNetDecoder, UNetEncoder, check_norm


class SemanticGenesis3D(PretrainedModel):
    """U-Net of Semantic Genesis for 3D scans (MICCAI 2020).

    Input is (N, in_chans, X, Y, Z) in 0..1, x to the patient's left, y to posterior, z to superior; every side
    a multiple of 8. `model.preprocess(scan)` makes it from a scan.

    Args:
        width: channels of the first level; 32 in the paper.
        norm: `batch_stats` normalises by the batch's own statistics, in evaluation too, so that outputs depend on
            the batch (how the paper's weights were trained and published); `batch` is the usual batch
            normalisation; `instance` normalises every sample alone.
        shared: head, in_chans, num_classes (absent: 44 patterns), class_names, multilabel, preprocessing, provenance,
            as in `PretrainedModel`.

    Raises:
        InvalidInputError: an option that is impossible.
    """

    NDIM = 3
    SETTINGS = ("width", "norm")
    CHANGEABLE = ("norm",)
    TITLE = "Semantic Genesis and Models Genesis, a 3D U-Net"
    SOURCE = "Haghighi et al., MICCAI 2020; Zhou et al., MICCAI 2019"
    LICENCE = "the authors' weights: ASU GitHub Project License (non-commercial); those made here: Apache 2.0"
    EXPECTS = "CT in HU, 1 channel, window -1000 to 1000 to 0..1, each scan's own spacing, sides multiples of 8"

    def __init__(self, *, width: int = 32, norm: Norm | str = "batch_stats", **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        (width,) = check_counts(width=width)
        check_norm(norm)
        self.width, self.norm = width, norm
        self.assemble(UNetEncoder(self.in_chans, width, norm), width=width, norm=norm)

    def build_decoder(self, skips: bool = True) -> nn.Module:
        return UNetDecoder(self.encoder.channels, self.encoder.strides, ndim=3, norm=self.norm, skips=skips)

    def build_classifier(self) -> nn.Module:
        return Classifier(self.encoder.channels[-1], self.num_classes, ndim=3, hidden=32 * self.width, norm=self.norm)


class SemanticGenesis2D(TimmUNet):
    """U-Net of Semantic Genesis for 2D images (MICCAI 2020), on any encoder of timm; `resnet18` in the paper.

    Input is (N, in_chans, H, W) in 0..1, rows downwards; every side a multiple of the encoder's largest stride (32 for
    most). `model.preprocess(image)` makes it from an image. Arguments are those of `TimmUNet`; num_classes is 100
    patterns where it is absent.
    """

    PATTERNS = 100
    TITLE = "Semantic Genesis in 2D, a U-Net on any encoder of timm"
    SOURCE = "Haghighi et al., MICCAI 2020; its weights for X-rays were not published, those here were made here"
    LICENCE = "apache-2.0, of the weights made here"
    EXPECTS = "X-rays and other images, grey levels to 0..1, sides multiples of the largest stride (32 for most)"
