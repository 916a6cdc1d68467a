"""Any encoder of timm that gives feature maps."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.families.timm_import import import_timm
from sg_hub.models.input_checks import check_shape

COMMON = (
    *("resnet18", "resnet50", "resnext50_32x4d", "seresnet50", "wide_resnet50_2", "res2net50_26w_4s", "densenet121"),
    *("convnext_tiny", "convnextv2_nano", "inception_next_tiny", "efficientnet_b0", "tf_efficientnetv2_s", "vgg16_bn"),
    *("mobilenetv3_large_100", "lcnet_050", "regnety_008", "edgenext_small", "fastvit_t8", "poolformer_s12"),
    *("swin_tiny_patch4_window7_224", "pvt_v2_b0", "caformer_s18", "hrnet_w18_small", "mambaout_femto"),
    *("vit_tiny_patch16_224", "vit_small_patch14_dinov2", "deit3_small_patch16_224", "eva02_tiny_patch14_224"),
)
"""Encoders of many kinds that work here, of which the nearest are named in place of one that does not."""
_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})
"""What encoders that are built for images of one size call the option to take others."""

Scaling = float | Sequence[float]
"""Of the input's grey levels: one number, or one for each channel."""


class TimmEncoder(nn.Module):
    """An encoder of timm: feature maps, and the scaling of the input that its weights expect.

    Args:
        name: of the encoder in timm, for instance `resnet18`.
        in_chans: channels of the input.
        mean, std: the input, in 0..1, is shifted and scaled by them first; a number, or one for each channel. A grey
            input is repeated for several, so that weights for colour images see it as timm shows it to them.

    Attributes:
        channels: channels of each feature map, finest first.
        strides: pixels of the input per pixel of each feature map, finest first: (2, 4, 8, 16, 32) of most encoders,
            (16, 16, 16) of a transformer that keeps one scale.
        input_key: state-dict key of the first convolution, the one that sees the input's channels.

    Raises:
        InvalidInputError: timm has no such encoder, or it gives no feature maps.
    """

    def __init__(self, name: str = "resnet18", in_chans: int = 1, mean: Scaling = 0.0, std: Scaling = 1.0) -> None:
        super().__init__()
        self.in_chans, self.mean, self.std = in_chans, mean, std
        seen = max(in_chans, *(1 if isinstance(values, (int, float)) else len(values) for values in (mean, std)))
        self.body: Any = build_body(name, seen)
        self.channels: tuple[int, ...] = tuple(self.body.feature_info.channels())
        self.strides: tuple[int, ...] = tuple(self.body.feature_info.reduction())
        pairs = zip(self.strides, self.strides[1:], strict=False)
        if len(self.strides) < 2 or any(deep < fine or deep % fine for fine, deep in pairs):
            raise _unusable(name, f"its feature maps have strides {self.strides}")
        self.input_key = "body." + _first_convolution(self.body, name, seen)
        if self.get_parameter(self.input_key).is_meta:  # running it would be slow, and tell no more than timm does
            self._channels_last = "NHWC" in str(getattr(self.body, "output_fmt", ""))
        else:
            self._channels_last = self._gives_channels_last(name, seen)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of (N, in_chans, H, W), finest first: (N, channels[i], H / strides[i], W / strides[i]).

        Raises:
            InvalidInputError: wrong number of dimensions or channels, or a side that the largest stride does not
                divide.
        """
        check_shape(x, self.in_chans, self.strides[-1], 2)
        if (self.mean, self.std) != (0.0, 1.0):
            x = (x - _as_channels(self.mean, x)) / _as_channels(self.std, x)
        return [found.permute(0, 3, 1, 2) if self._channels_last else found for found in self.body(x)]

    @torch.no_grad()
    def _gives_channels_last(self, name: str, seen: int) -> bool:
        """Whether the feature maps are (N, H, W, C), as those of some encoders are.

        Raises:
            InvalidInputError: the maps are not of the sizes that their strides say.
        """
        height, width = 2 * self.strides[-1], 4 * self.strides[-1]
        try:
            found = [tuple(m.shape[1:]) for m in self.body.eval()(torch.zeros(1, seen, height, width))]
        except (RuntimeError, AssertionError, ValueError) as error:
            raise _unusable(name, f"it takes no images of {height} x {width}: {error}") from error
        self.body.train()
        sizes = [(c, height // s, width // s) for c, s in zip(self.channels, self.strides, strict=True)]
        if found == sizes:
            return False
        if found == [(*size[1:], size[0]) for size in sizes]:
            return True
        raise _unusable(name, f"its maps of {height} x {width} have the sizes {found}, expected {sizes}")


def build_body(name: str, in_chans: int, **options: Any) -> Any:
    """timm's feature extractor of that name, for images of any size.

    Args:
        options: of `timm.create_model`, such as pretrained.

    Raises:
        InvalidInputError: timm has no such encoder, or it gives no feature maps.
    """
    timm = import_timm()
    if not isinstance(name, str) or not timm.is_model(name):
        near = difflib.get_close_matches(str(name).lower(), timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InvalidInputError(
            f"encoder={name!r}: timm {timm.__version__} has no such model; {hint}See timm.list_models()"
        )
    try:
        fixed = bool(timm.get_pretrained_cfg_value(name, "fixed_input_size"))
    except RuntimeError as error:
        raise InvalidInputError(f"encoder={name!r}: {error} See timm.list_pretrained()") from error
    reason = "it takes images of one size only"
    for any_size in _ANY_SIZE if fixed else ({},):
        try:
            return timm.create_model(name, features_only=True, in_chans=in_chans, **options, **any_size)
        except (TypeError, RuntimeError, AssertionError, AttributeError, ValueError) as error:
            if any(option in str(error) for option in any_size):
                continue
            if options.get("pretrained"):
                raise
            reason = str(error)
            break
    raise _unusable(name, reason)


def _unusable(name: str, reason: str) -> InvalidInputError:
    near = difflib.get_close_matches(name, COMMON, n=3, cutoff=0.4) or COMMON[:3]
    return InvalidInputError(
        f"encoder={name!r} gives no feature maps that a U-Net can join ({reason}). Like it, and able to: "
        f"{', '.join(near)}"
    )


def _as_channels(values: Scaling, x: Tensor) -> float | Tensor:
    if isinstance(values, (int, float)):
        return values
    return torch.tensor(values, dtype=x.dtype, device=x.device).view(-1, 1, 1)


def _first_convolution(body: nn.Module, name: str, in_chans: int) -> str:
    for key, module in body.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels == in_chans:
                return f"{key}.weight"
            break
    raise _unusable(name, f"its first layer is no convolution of {in_chans} channels")
