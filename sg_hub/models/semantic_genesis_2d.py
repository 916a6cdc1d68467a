"""SemanticGenesis2D: a U-Net on any encoder of timm, with the head that the task at hand needs."""

from __future__ import annotations

import math
from typing import Any

from sg_hub.errors import InvalidInputError
from sg_hub.image_preprocessing import ImagePreprocessing
from sg_hub.models.semantic_genesis import Head, SemanticGenesis, check_arguments
from sg_hub.models.unet2d import ClassifierHead2D, Decoder2D, Encoder2D, load_encoder_weights


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
        mean, std: the encoder shifts and scales its input, in 0..1, by them; ImageNet weights bring their own.
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
        mean: float = 0.0,
        std: float = 1.0,
        encoder_weights: str | None = None,
        preprocessing: ImagePreprocessing | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_arguments(head, in_chans=in_chans, num_classes=num_classes, decoder_width=decoder_width)
        if not (_is_number(mean) and _is_number(std) and std > 0):
            raise InvalidInputError(f"mean={mean!r}, std={std!r}: expected two numbers, std above 0")
        self.encoder_name, self.decoder_width = encoder, decoder_width
        self.preprocessing = preprocessing or ImagePreprocessing()
        self.provenance = dict(provenance or {})
        self.encoder: Encoder2D = Encoder2D(encoder, in_chans, float(mean), float(std))
        if encoder_weights is not None:
            self.provenance["encoder_weights"] = load_encoder_weights(self.encoder, encoder, encoder_weights)
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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
