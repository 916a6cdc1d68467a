"""The two networks of Semantic Genesis (MICCAI 2020): a U-Net for scans, and one for images on any encoder of timm."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Unpack

from torch import nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.base import PretrainedModel, Shared, check_counts
from sg_hub.models.heads import Classifier
from sg_hub.models.timm_encoder import TimmEncoder, load_encoder_weights
from sg_hub.models.unet import Norm, UNetDecoder, UNetEncoder, check_norm, conv_block


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
        check_counts(width=width)
        check_norm(norm)
        self.width, self.norm = width, norm
        self.assemble(UNetEncoder(self.in_chans, width, norm), width=width, norm=norm)

    def build_decoder(self, skips: bool = True) -> nn.Module:
        return UNetDecoder(self.encoder.channels, self.encoder.strides, ndim=3, norm=self.norm, skips=skips)

    def build_classifier(self) -> nn.Module:
        return Classifier(self.encoder.channels[-1], self.num_classes, ndim=3, hidden=32 * self.width, norm=self.norm)


class SemanticGenesis2D(PretrainedModel):
    """U-Net of Semantic Genesis for 2D images (MICCAI 2020), on any encoder of timm.

    Input is (N, in_chans, H, W) in 0..1, rows downwards; every side a multiple of the encoder's largest stride (32 for
    most). `model.preprocess(image)` makes it from an image.

    Args:
        encoder: name in timm; `resnet18` in the paper. timm.list_models() has the others; those that give feature
            maps at several scales will do (resnet50, convnext_tiny, efficientnet_b0, lcnet_050, ...).
        decoder_width: channels of the decoder at the size of the input; each level before it has twice as many.
        mean, std: the encoder shifts and scales its input, in 0..1, by them; absent: not, or with `encoder_weights`
            as timm's own weights of this encoder expect it.
        encoder_weights: `imagenet` starts the encoder with timm's own weights (downloaded, or from the cache);
            a .safetensors file of timm starts it with those. Absent: at random.
        shared: head, in_chans, num_classes (absent: 100 patterns), class_names, multilabel, preprocessing, provenance,
            as in `PretrainedModel`.

    Raises:
        InvalidInputError: an option that is impossible, or an encoder that timm has not.
        ReadError: `encoder_weights` that cannot be had.
    """

    NDIM = 2
    SETTINGS = ("encoder", "decoder_width", "mean", "std")
    PATTERNS = 100
    TITLE = "Semantic Genesis in 2D, a U-Net on any encoder of timm"
    SOURCE = "Haghighi et al., MICCAI 2020; encoders: timm (Wightman), ImageNet weights of their authors"
    LICENCE = "those made here: Apache 2.0; timm's ImageNet weights: as timm says of each encoder"
    EXPECTS = "X-rays and other images, grey levels to 0..1, sides multiples of the largest stride (32 for most)"

    def __init__(
        self,
        *,
        encoder: str = "resnet18",
        decoder_width: int = 16,
        mean: float | None = None,
        std: float | None = None,
        encoder_weights: str | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        check_counts(decoder_width=decoder_width)
        for key, value in (("mean", mean), ("std", std)):
            if value is not None and (not _is_number(value) or (key == "std" and value <= 0)):
                raise InvalidInputError(f"{key}={value!r}: expected a number{' above 0' if key == 'std' else ''}")
        self.encoder_name, self.decoder_width = encoder, decoder_width
        network = TimmEncoder(encoder, self.in_chans)
        default_mean, default_std = 0.0, 1.0
        if encoder_weights is not None:
            source, scaling = load_encoder_weights(network, encoder, encoder_weights)
            self.provenance["encoder_weights"] = source
            default_mean, default_std = scaling or (default_mean, default_std)
        network.mean = default_mean if mean is None else float(mean)
        network.std = default_std if std is None else float(std)
        self.assemble(network, encoder=encoder, decoder_width=decoder_width, mean=network.mean, std=network.std)

    def build_decoder(self, skips: bool = True) -> nn.Module:
        return UNetDecoder(
            self.encoder.channels,
            self.encoder.strides,
            ndim=2,
            width=self.decoder_width,
            up="nearest",
            skips=skips,
            block=partial(conv_block, ndim=2, norm="batch", bias=False, names=("0", "1")),
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf
