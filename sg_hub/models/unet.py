"""The U-Net in 2D and 3D: normalisation, convolution blocks, encoder, and a decoder for any encoder's strides.

Source: paper, Sec. 2 and 3; the layer sizes are those of the published checkpoint. The decoder of images has the widths
of that of segmentation_models_pytorch, which the paper builds on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.input_checks import Stride, check_shape, per_axis

Norm = Literal["batch_stats", "batch", "instance"]
NORMS: tuple[str, ...] = get_args(Norm)
CONVOLUTION: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_MAX_POOL: dict[int, Callable[..., Tensor]] = {2: F.max_pool2d, 3: F.max_pool3d}


class _StatisticsOfTheBatch(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation by the statistics of the batch, in evaluation too.

    The published weights were trained and read out like that. Outputs therefore depend on what else is in
    the batch. The running statistics are kept up in training, so that the weights can be used with
    `norm="batch"` later.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            return super().forward(input)
        return F.batch_norm(input, None, None, self.weight, self.bias, training=True, eps=self.eps)


class BatchStatNorm2d(_StatisticsOfTheBatch, nn.BatchNorm2d):
    """Of (N, C, H, W)."""


class BatchStatNorm3d(_StatisticsOfTheBatch, nn.BatchNorm3d):
    """Of (N, C, X, Y, Z)."""


_NORM: dict[str, dict[int, Any]] = {
    "batch_stats": {2: BatchStatNorm2d, 3: BatchStatNorm3d},
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    "instance": {2: partial(nn.InstanceNorm2d, affine=True), 3: partial(nn.InstanceNorm3d, affine=True)},
}


def check_norm(norm: object) -> None:
    """Refuse a normalisation that there is not.

    Raises:
        InvalidInputError: naming those that there are.
    """
    if not isinstance(norm, str) or norm not in NORMS:
        raise InvalidInputError(f"norm={norm!r}: expected one of {', '.join(NORMS)}")


def norm_layer(norm: str, channels: int, ndim: int) -> nn.Module:
    """A normalisation layer for (N, channels, spatial...): `batch_stats`, `batch` or `instance`."""
    check_norm(norm)
    layer: nn.Module = _NORM[norm][ndim](channels)
    return layer


def conv_block(
    in_chans: int,
    out_chans: int,
    *,
    ndim: int,
    norm: str,
    bias: bool = True,
    names: tuple[str, str] = ("conv", "norm"),
) -> nn.Sequential:
    """Convolution of 3 along each axis, normalisation, ReLU.

    Args:
        names: of the convolution and the normalisation in the state dict.
    """
    convolution = CONVOLUTION[ndim](in_chans, out_chans, kernel_size=3, padding=1, bias=bias)
    layers = [(names[0], convolution), (names[1], norm_layer(norm, out_chans, ndim)), ("relu", nn.ReLU(inplace=True))]
    return nn.Sequential(OrderedDict(layers))


class UNetEncoder(nn.Module):
    """Levels of two convolution blocks, max-pooling by 2 in between.

    Args:
        width: channels of the first convolution; 32 in the paper.
        ndim: 2 for images, 3 for scans.
        levels: number of feature maps.

    Attributes:
        channels: channels of each feature map, finest first: (2, 4, 8, 16) times `width`.
        strides: voxels of the input per voxel of each feature map: (1, 2, 4, 8).
        input_key: state-dict key of the first convolution, the one that sees the input's channels.
    """

    input_key = "levels.0.0.conv.weight"

    def __init__(
        self, in_chans: int = 1, width: int = 32, norm: str = "batch_stats", *, ndim: int = 3, levels: int = 4
    ) -> None:
        super().__init__()
        self.in_chans, self.ndim = in_chans, ndim
        self.channels: tuple[int, ...] = tuple(2 * width * 2**level for level in range(levels))
        self.strides: tuple[int, ...] = tuple(2**level for level in range(levels))
        self.levels = nn.ModuleList()
        block = partial(conv_block, ndim=ndim, norm=norm)
        previous = in_chans
        for out in self.channels:
            self.levels.append(nn.Sequential(block(previous, out // 2), block(out // 2, out)))
            previous = out

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of (N, in_chans, spatial...), finest first: (N, channels[i], sides / strides[i]).

        Raises:
            InvalidInputError: wrong number of dimensions or channels, or a side that the largest stride does not
                divide.
        """
        check_shape(x, self.in_chans, self.strides[-1], self.ndim)
        features = []
        for i, level in enumerate(self.levels):
            x = level(x if i == 0 else _MAX_POOL[self.ndim](x, kernel_size=2))
            features.append(x)
        return features


class DecoderLevel(nn.Module):
    """Up-sampling by whole numbers (by 1 along every axis: none), the skip connection joined behind it, two convolution
    blocks."""

    def __init__(
        self,
        in_chans: int,
        skip_chans: int,
        out_chans: int,
        scale: tuple[int, ...],
        up: Any,
        block: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        self.scale = scale
        learned = up is not None and max(scale) > 1
        self.up = up(in_chans, in_chans, kernel_size=scale, stride=scale) if learned else None
        self.blocks = nn.Sequential(block(in_chans + skip_chans, out_chans), block(out_chans, out_chans))

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        if self.up is not None:
            x = self.up(x)
        elif max(self.scale) > 1:
            x = F.interpolate(x, scale_factor=self.scale, mode="nearest")
        result: Tensor = self.blocks(x if skip is None else torch.cat([x, skip], dim=1))
        return result


class UNetDecoder(nn.Module):
    """Back from the deepest feature map to the size of the input.

    Each level goes to the next finer map; where the finest map is smaller than the input, a last one goes from there to
    the input's size, and has nothing to join.

    Args:
        channels, strides: those of the encoder, finest first; a stride is a whole number, or one for each axis.
        ndim: 2 for images, 3 for scans.
        width: channels at the size of the input; each level before it has twice as many. Absent: each level has the
            channels of the map that it goes to, the last one half of those of the finest map.
        norm: of the convolution blocks.
        up: `transposed` convolutions learn the up-sampling, `nearest` repeats voxels.
        skips: join the encoder's feature maps (a U-Net); without them it is an autoencoder's decoder.
        block: makes a convolution block of (channels in, channels out); absent: `conv_block` with `norm`.

    Attributes:
        channels: of each map that `maps` gives, finest first.
        out_chans: of the finest.

    Raises:
        InvalidInputError: strides of which one does not divide the next.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[Stride],
        ndim: int,
        *,
        width: int | None = None,
        norm: str = "batch_stats",
        up: Literal["transposed", "nearest"] = "transposed",
        skips: bool = True,
        block: Callable[[int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.skips = skips
        block = block or partial(conv_block, ndim=ndim, norm=norm)
        steps = [per_axis(stride, ndim) for stride in strides]
        targets = list(zip(steps[-2::-1], channels[-2::-1], strict=True))
        if max(steps[0]) > 1:
            targets.append(((1,) * ndim, 0))  # no feature map has the size of the input
        self.levels = nn.ModuleList()
        deep, step = channels[-1], steps[-1]
        self.channels: tuple[int, ...] = (deep,)
        for number, (finer, skip) in enumerate(targets):
            if any(coarse % fine for coarse, fine in zip(step, finer, strict=True)):
                raise InvalidInputError(f"strides {tuple(strides)}: expected each to divide the next")
            scale = tuple(coarse // fine for coarse, fine in zip(step, finer, strict=True))
            out = width * 2 ** (len(targets) - 1 - number) if width is not None else skip or max(1, channels[0] // 2)
            transposed = _TRANSPOSED[ndim] if up == "transposed" else None
            self.levels.append(DecoderLevel(deep, skip if skips else 0, out, scale, transposed, block))
            deep, step = out, finer
            self.channels = (out, *self.channels)
        self.out_chans = deep

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(N, out_chans, spatial...), of the input's size, from the feature maps that the encoder gives."""
        return self.maps(features)[0]

    def maps(self, features: Sequence[Tensor]) -> list[Tensor]:
        """What every level gives, finest first, and last the encoder's deepest map, which they begin with."""
        maps = [features[-1]]
        joined: list[Tensor | None] = list(features[-2::-1])
        joined += [None] * (len(self.levels) - len(joined))
        for level, skip in zip(self.levels, joined, strict=True):
            maps.insert(0, level(maps[0], skip if self.skips else None))
        return maps
