"""SemanticGenesis2D: a U-Net on any encoder of timm, with the head that the task at hand needs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError
from sg_hub.io.image import Image
from sg_hub.models.semantic_genesis import Head, SemanticGenesis, check_arguments
from sg_hub.models.unet2d import ClassifierHead2D, Decoder2D, Encoder2D, load_encoder_weights
from sg_hub.preprocessing.image_preprocessing import ImagePreprocessing


class SemanticGenesis2D(SemanticGenesis):
    """U-Net of Semantic Genesis for 2D images (MICCAI 2020), on any encoder of timm.

    Input is (N, in_chans, H, W) in 0..1, rows downwards; every side a multiple of the encoder's largest stride (32 for
    most). `model.preprocess(image)` makes it from an image.

    Args:
        encoder: name in timm; `resnet18` in the paper. timm.list_models() has the others; those that give feature
            maps at several scales will do (resnet50, convnext_tiny, efficientnet_b0, lcnet_050, ...).
        in_chans: channels of the input.
        head: `pretext` gives a `PretextOutput`; `restoration` the restored image alone; `segmentation` logits
            (N, num_classes, H, W); `classification` logits (N, num_classes). No softmax or sigmoid, but for the
            restoration.
        num_classes: patterns (pretext) or classes; not used, and 0 afterwards, with `restoration`.
        decoder_width: channels of the decoder at the size of the input; each level before it has twice as many.
        mean, std: the encoder shifts and scales its input, in 0..1, by them; absent: not, or with `encoder_weights`
            as timm's own weights of this encoder expect it.
        encoder_weights: `imagenet` starts the encoder with timm's own weights (downloaded, or from the cache);
            a .safetensors file of timm starts it with those. Absent: at random.
        preprocessing: what the weights expect of an image; it is saved with them.
        provenance: where the weights come from (data, recipe, commit, licence); saved with them.

    Raises:
        InvalidInputError: an option that is impossible, or an encoder that timm has not.
        ReadError: `encoder_weights` that cannot be had.
    """

    NDIM = 2
    CONFIG_KEYS = frozenset(
        {"encoder", "in_chans", "head", "num_classes", "decoder_width", "mean", "std", "preprocessing", "provenance"}
    )
    PREPROCESSING = ImagePreprocessing

    def __init__(
        self,
        *,
        encoder: str = "resnet18",
        in_chans: int = 1,
        head: Head | str = "pretext",
        num_classes: int = 100,
        decoder_width: int = 16,
        mean: float | None = None,
        std: float | None = None,
        encoder_weights: str | None = None,
        preprocessing: ImagePreprocessing | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_arguments(head, in_chans=in_chans, num_classes=num_classes, decoder_width=decoder_width)
        for key, value in (("mean", mean), ("std", std)):
            if value is not None and (not _is_number(value) or (key == "std" and value <= 0)):
                raise InvalidInputError(f"{key}={value!r}: expected a number{' above 0' if key == 'std' else ''}")
        if preprocessing is not None and not isinstance(preprocessing, ImagePreprocessing):
            raise InvalidInputError(
                f"preprocessing is a {type(preprocessing).__name__}: images need ImagePreprocessing"
            )
        self.encoder_name, self.decoder_width = encoder, decoder_width
        self.preprocessing = preprocessing or ImagePreprocessing()
        self.provenance = dict(provenance or {})
        self.encoder: Encoder2D = Encoder2D(encoder, in_chans)
        scaling = None
        if encoder_weights is not None:
            source, scaling = load_encoder_weights(self.encoder, encoder, encoder_weights)
            self.provenance["encoder_weights"] = source
        default_mean, default_std = scaling or (0.0, 1.0)
        self.encoder.mean = default_mean if mean is None else float(mean)
        self.encoder.std = default_std if std is None else float(std)
        channels, strides = self.encoder.channels, self.encoder.strides
        self._add_heads(
            head,
            in_chans,
            num_classes,
            decoder=lambda: Decoder2D(channels, strides, decoder_width),
            classifier=lambda: ClassifierHead2D(channels[-1], num_classes),
        )

    def config(self) -> dict[str, Any]:
        """What config.json holds: the arguments of the constructor, in JSON types."""
        return {
            "encoder": self.encoder_name,
            "in_chans": self.in_chans,
            "head": self.head_name,
            "num_classes": self.num_classes,
            "decoder_width": self.decoder_width,
            "mean": self.encoder.mean,
            "std": self.encoder.std,
            "preprocessing": self.preprocessing.to_dict(),
            "provenance": self.provenance,
        }

    def preprocess(self, scan: Image) -> Tensor:
        """(1, in_chans, *input_size) in 0..1 of an `Image`; a grey one is repeated for several channels."""
        return self.preprocessing.apply(scan, self.in_chans)

    def _check(self, x: Tensor) -> None:
        super()._check(x)
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return
        stride = self.encoder.strides[-1]
        if self.training and x.shape[0] == 1 and tuple(x.shape[2:]) == (stride, stride):
            raise InvalidInputError(
                f"one image of {stride} x {stride} leaves one pixel at the deepest level, which cannot be normalised "
                "in training: give several, or larger ones"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
