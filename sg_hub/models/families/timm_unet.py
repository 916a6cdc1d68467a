"""A U-Net for images on any encoder of timm, with timm's own weights or without."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Self, Unpack

import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.given import real
from sg_hub.hub.find import ModelFiles
from sg_hub.models import loading
from sg_hub.models.base import PretrainedModel, Shared, check_counts
from sg_hub.models.families import timm_weights
from sg_hub.models.families.timm_encoder import Scaling, TimmEncoder
from sg_hub.models.input_checks import nearest_size
from sg_hub.models.unet import UNetDecoder, conv_block
from sg_hub.preprocessing.preprocessing import ImagePreprocessing


class TimmUNet(PretrainedModel):
    """U-Net for 2D images on any encoder of timm; `from_pretrained("timm:resnet18")` gives it timm's own weights.

    Input is (N, in_chans, H, W) in 0..1, rows downwards; every side a multiple of the encoder's largest stride (32 for
    most). `model.preprocess(image)` makes it from an image.

    Args:
        encoder: name in timm, such as `resnet18`, `convnext_tiny` or `vit_small_patch14_dinov2`. timm.list_models() has
            the others; those that give feature maps will do.
        decoder_width: channels of the decoder at the size of the input; each level before it has twice as many.
        mean, std: the encoder shifts and scales its input, in 0..1, by them: a number, or one for each channel. Absent:
            not, or with `encoder_weights` as timm's own weights of this encoder expect it. A grey input is repeated for
            the colours; of another number of channels the colours' mean is taken.
        encoder_weights: `imagenet` starts the encoder with timm's own weights (downloaded, or from the cache);
            a .safetensors file of timm starts it with those. Absent: at random.
        shared: head, in_chans, num_classes, class_names, multilabel, preprocessing, provenance, as in
            `PretrainedModel`.

    Raises:
        InvalidInputError: an option that is impossible, or an encoder that timm has not.
        ReadError: `encoder_weights` that cannot be had.
    """

    NDIM = 2
    SETTINGS = ("encoder", "decoder_width", "mean", "std")
    TITLE = "U-Net on any encoder of timm, with timm's own weights (ImageNet and others)"
    SOURCE = "timm (Wightman and others), weights of their authors"
    LICENCE = "as timm says of each set of weights: apache-2.0 of most"
    EXPECTS = "images in colour or grey, grey levels to 0..1, sides multiples of the largest stride (32 for most)"

    def __init__(
        self,
        *,
        encoder: str = "resnet18",
        decoder_width: int = 16,
        mean: Scaling | None = None,
        std: Scaling | None = None,
        encoder_weights: str | None = None,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        (decoder_width,) = check_counts(decoder_width=decoder_width)
        mean, std = _checked_scaling("mean", mean), _checked_scaling("std", std)
        self.encoder_name, self.decoder_width = encoder, decoder_width
        default = (0.0, 1.0) if encoder_weights is None else timm_weights.scaling(encoder)
        used = [default[0] if mean is None else mean, default[1] if std is None else std]
        network = TimmEncoder(encoder, self.in_chans, *(timm_weights.of_channels(each, self.in_chans) for each in used))
        if encoder_weights is not None:
            source = timm_weights.load_encoder_weights(network, encoder, encoder_weights)
            self.provenance["encoder_weights"] = source
        in_json = {key: _in_json(value) for key, value in (("mean", network.mean), ("std", network.std))}
        self.assemble(network, encoder=encoder, decoder_width=decoder_width, **in_json)

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

    @classmethod
    def find(cls, name: Any, **where: Any) -> ModelFiles:
        if isinstance(name, str) and name.startswith(timm_weights.PREFIX):
            return timm_weights.find(name.removeprefix(timm_weights.PREFIX), **where)
        return super().find(name, **where)

    @classmethod
    def planned(cls, name: Any) -> Self:
        if isinstance(name, str) and name.startswith(timm_weights.PREFIX):  # nothing needs to be downloaded
            network: Self = loading.skeleton(cls, cls.of_timm(name.removeprefix(timm_weights.PREFIX)))
            return network
        return super().planned(name)

    @classmethod
    def described(cls, files: ModelFiles) -> tuple[dict[str, Any], Self]:
        if not isinstance(files, timm_weights.TimmFiles):
            return super().described(files)
        config = cls.of_timm(files.encoder)
        return config, loading.skeleton(cls, config)

    @classmethod
    def stored(cls, files: ModelFiles) -> tuple[dict[str, Tensor], str]:
        if not isinstance(files, timm_weights.TimmFiles):
            return super().stored(files)
        body, sha256 = timm_weights.read(files.encoder, 3, files.weights)
        return {f"encoder.body.{key}": value for key, value in body.items()}, sha256

    @classmethod
    def of_timm(cls, encoder: str) -> dict[str, Any]:
        """The constructor's arguments that timm's weights of an encoder ask for, with a head that gives features.

        Raises:
            InvalidInputError: timm has no such encoder, or no weights of it.
        """
        settings = timm_weights.settings_of(encoder)
        encoder = timm_weights.full_name(settings)
        mean, std = timm_weights.scaling(encoder)
        with torch.device("meta"):
            strides = TimmEncoder(encoder, 3).strides
        height, width = nearest_size(settings.input_size[1:], strides[-1])
        return {
            "encoder": encoder,
            "decoder_width": 16,
            "mean": mean,
            "std": std,
            "in_chans": 3,
            "head": "features",
            "num_classes": 0,
            "class_names": (),
            "multilabel": False,
            "preprocessing": ImagePreprocessing(
                modality="OT", input_size=(height, width), interpolation=settings.interpolation
            ),
            "provenance": timm_weights.provenance(settings),
        }


def _checked_scaling(key: str, value: Any) -> Scaling | None:
    if value is None:
        return None
    several = isinstance(value, Sequence) and not isinstance(value, str)
    found = [number for each in (value if several else (value,)) if (number := real(each)) is not None]
    if not found or len(found) != (len(value) if several else 1) or (key == "std" and min(found) <= 0):
        above = " above 0" if key == "std" else ""
        raise InvalidInputError(f"{key}={value!r}: expected a number{above}, or one for each channel")
    return found if several else found[0]


def _in_json(values: Scaling) -> float | list[float]:
    return float(values) if isinstance(values, (int, float)) else list(values)
