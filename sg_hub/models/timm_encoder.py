"""Any encoder of timm that gives feature maps at several scales, and timm's weights for it."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.models.input_checks import check_shape
from sg_hub.models.timm_import import import_timm

IMAGENET = "imagenet"
_SCALES = "A U-Net needs maps at several scales, as convolutional encoders give (resnet18, convnext_tiny, ...)"


class TimmEncoder(nn.Module):
    """An encoder of timm: feature maps at several scales, and the scaling of the input that its weights expect.

    Args:
        name: of the encoder in timm, for instance `resnet18`.
        in_chans: channels of the input.
        mean, std: the input, in 0..1, is shifted and scaled by them first.

    Attributes:
        channels: channels of each feature map, finest first.
        strides: pixels of the input per pixel of each feature map, finest first, for instance (2, 4, 8, 16, 32).
        input_key: state-dict key of the first convolution, the one that sees the input's channels.

    Raises:
        InvalidInputError: timm has no such encoder, or it gives no feature maps at several scales.
    """

    def __init__(self, name: str = "resnet18", in_chans: int = 1, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.in_chans, self.mean, self.std = in_chans, mean, std
        self.body: Any = build_body(name, in_chans)
        self.channels: tuple[int, ...] = tuple(self.body.feature_info.channels())
        self.strides: tuple[int, ...] = tuple(self.body.feature_info.reduction())
        pairs = zip(self.strides, self.strides[1:], strict=False)
        if len(self.strides) < 2 or any(deep <= fine or deep % fine for fine, deep in pairs):
            raise InvalidInputError(f"encoder={name!r} gives feature maps of strides {self.strides}. {_SCALES}")
        self.input_key = "body." + _first_convolution(self.body, in_chans)
        if self.get_parameter(self.input_key).is_meta:  # running it would be slow, and tell no more than timm does
            self._channels_last = "NHWC" in str(getattr(self.body, "output_fmt", ""))
        else:
            self._channels_last = self._gives_channels_last(name)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of (N, in_chans, H, W), finest first: (N, channels[i], H / strides[i], W / strides[i]).

        Raises:
            InvalidInputError: wrong number of dimensions or channels, or a side that the largest stride does not
                divide.
        """
        check_shape(x, self.in_chans, self.strides[-1], 2)
        if (self.mean, self.std) != (0.0, 1.0):
            x = (x - self.mean) / self.std
        return [found.permute(0, 3, 1, 2) if self._channels_last else found for found in self.body(x)]

    @torch.no_grad()
    def _gives_channels_last(self, name: str) -> bool:
        """Whether the feature maps are (N, H, W, C), as those of some encoders are.

        Raises:
            InvalidInputError: the maps are not of the sizes that their strides say.
        """
        side = 2 * self.strides[-1]
        try:
            found = [tuple(m.shape[1:]) for m in self.body.eval()(torch.zeros(1, self.in_chans, side, side))]
        except (RuntimeError, AssertionError, ValueError) as error:
            raise InvalidInputError(
                f"encoder={name!r} takes no images of {side} x {side} ({error}). {_SCALES}"
            ) from error
        self.body.train()
        sizes = [(c, side // s, side // s) for c, s in zip(self.channels, self.strides, strict=True)]
        if found == sizes:
            return False
        if found == [(*size[1:], size[0]) for size in sizes]:
            return True
        raise InvalidInputError(
            f"encoder={name!r} gives maps of the sizes {found} for {side} x {side}, expected {sizes}. {_SCALES}"
        )


def build_body(name: str, in_chans: int, **options: Any) -> Any:
    """timm's feature extractor of that name.

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
        if has_fixed_size(name):
            options["strict_img_size"] = False
        return timm.create_model(name, features_only=True, in_chans=in_chans, **options)
    except (TypeError, RuntimeError, AssertionError, AttributeError, ValueError) as error:
        if options.get("pretrained"):
            raise
        reason = "it takes images of one size only" if "strict_img_size" in str(error) else str(error)
        raise InvalidInputError(
            f"encoder={name!r} has no feature maps at several scales ({reason}). {_SCALES}"
        ) from error


def has_fixed_size(name: str) -> bool:
    """Whether timm builds this encoder for one size of images, as transformers with position embeddings are."""
    return bool(import_timm().get_pretrained_cfg_value(name, "fixed_input_size"))


def load_encoder_weights(encoder: TimmEncoder, name: str, weights: str) -> tuple[str, tuple[float, float] | None]:
    """Put weights of timm into the encoder.

    The first convolution is adapted by timm where the number of input channels is another.

    Args:
        name: of the encoder in timm; `resnet18.a1_in1k` names one of several sets of weights.
        weights: `imagenet` for timm's own, or a .safetensors file with the keys of timm.

    Returns:
        where the weights come from, and the mean and standard deviation that timm's own of this encoder expect.

    Raises:
        InvalidInputError: neither `imagenet` nor a .safetensors file, or an encoder that has no weights.
        ReadError: the weights cannot be downloaded, or do not fit the encoder.
    """
    timm = import_timm()
    options: dict[str, Any] = {"pretrained": True}
    settings = timm.get_pretrained_cfg(name)
    if weights == IMAGENET:
        if settings is None or not settings.has_weights:
            raise InvalidInputError(
                f"encoder={name!r} has no weights in timm {timm.__version__}: leave encoder_weights out"
            )
        source = f"timm/{settings.architecture}.{settings.tag}"
    else:
        if not str(weights).endswith(".safetensors"):
            raise InvalidInputError(
                f"encoder_weights={weights!r}: expected {IMAGENET!r}, or a .safetensors file of timm"
            )
        if not Path(weights).is_file():
            raise ReadError(f"encoder_weights={weights!r}: no such file")
        _check_keys(name, weights)
        options["pretrained_cfg_overlay"] = {"file": str(weights)}
        source = Path(weights).name
    try:
        body = build_body(name, encoder.in_chans, **options)
    except Exception as error:  # the client's, the network's, or a file of another network
        if weights != IMAGENET:
            reason = " ".join(str(error).split())[:300]
            raise ReadError(f"{weights} does not fit encoder={name!r}: {reason}") from error
        raise ReadError(
            f"the ImageNet weights of {name!r} are not in the local cache and cannot be downloaded "
            f"({type(error).__name__}): connect once, set HF_ENDPOINT to a mirror, or copy model.safetensors of "
            f"{source} from a machine that is online and give encoder_weights='model.safetensors'"
        ) from error
    broken = [key for key, value in body.state_dict().items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ReadError(f"{weights}: NaN or infinite values in {', '.join(broken[:4])}: copy or download it again")
    encoder.body.load_state_dict(body.state_dict())
    if settings is None or not (settings.mean and settings.std):
        return source, None
    mean, std = (round(sum(values) / len(values), 4) for values in (settings.mean, settings.std))
    return source, (mean, std)


def _check_keys(name: str, weights: str) -> None:
    """Refuse a file that lacks parts of the encoder: timm would leave these at random and go on.

    Raises:
        ReadError: no safetensors file, or one of another network.
    """
    with torch.device("meta"):
        model = import_timm().create_model(name)
    classifier = model.pretrained_cfg.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    wanted = {key for key in model.state_dict() if not key.startswith(heads)} if heads else set(model.state_dict())
    try:
        with safe_open(weights, framework="pt") as file:
            missing = sorted(wanted - set(file.keys()))
    except (SafetensorError, OSError) as error:
        raise ReadError(f"{weights} is damaged or no safetensors file ({error})") from error
    if missing:
        shown = ", ".join(missing[:4]) + (", ..." if len(missing) > 4 else "")
        raise ReadError(
            f"{weights} does not fit encoder={name!r}: it lacks {len(missing)} of {len(wanted)} tensors ({shown}); "
            "give the model.safetensors that timm publishes for this encoder"
        )


def _first_convolution(body: nn.Module, in_chans: int) -> str:
    for name, module in body.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels == in_chans:
                return f"{name}.weight"
            break
    raise InvalidInputError(f"the encoder's first layer is no convolution of {in_chans} channels, as a U-Net needs it")
