"""Dense V-Net: stacks of densely joined convolutions at three scales (Gibson et al., IEEE TMI 2018; NiftyNet).

Padding, averages and resizing are those of TensorFlow 1, in which it was published.
"""

from __future__ import annotations

from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sg_hub.models.base import PretrainedModel, Shared, check_counts
from sg_hub.models.input_checks import check_shape
from sg_hub.models.same_padding import SameConv3d

UNITS, GROWTH, SKIPS = (5, 10, 10), (4, 8, 16), (12, 24, 24)
"""Of each stack: its units, the channels of each of them, and of what goes from it to the end."""


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, in_chans: int, out_chans: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = SameConv3d(in_chans, out_chans, kernel_size, stride)
        self.norm = nn.BatchNorm3d(out_chans)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(x)).relu()
        return result


class Stack(nn.Module):
    """Units of which each takes what went into the stack and what all units before it gave."""

    def __init__(self, in_chans: int, units: int, growth: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(Unit(in_chans + growth * number, growth) for number in range(units))
        self.out_chans = in_chans + growth * units

    def forward(self, x: Tensor) -> Tensor:
        for unit in self.units:
            x = torch.cat([x, unit(x)], dim=1)
        return x


class DenseVNetEncoder(nn.Module):
    """The three stacks: each gives a feature map, and a strided convolution leads to the next.

    Args:
        width: channels of the first convolution and of those between the stacks; 24 as published, all others in
            proportion.

    Attributes:
        channels: (45, 104, 184) at the published width.
        strides: (2, 4, 8).
        input_key: state-dict key of the first convolution.
    """

    input_key = "first.conv.weight"

    def __init__(self, in_chans: int = 1, width: int = 24) -> None:
        super().__init__()
        self.in_chans, self.strides = in_chans, (2, 4, 8)
        self.first = Unit(in_chans, width, 5, 2)
        self.stacks, self.down = nn.ModuleList(), nn.ModuleList()
        channels: list[int] = []
        for number, (units, growth) in enumerate(zip(UNITS, GROWTH, strict=True)):
            if number:
                self.down.append(Unit(channels[-1], width, 3, 2))
            stack = Stack(width if number else width + 1, units, scaled(growth, width))
            self.stacks.append(stack)
            channels.append(stack.out_chans)
        self.channels: tuple[int, ...] = tuple(channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of (N, in_chans, X, Y, Z), finest first: (N, channels[i], sides / strides[i]).

        Raises:
            InvalidInputError: wrong number of dimensions or channels, or a side that 8 does not divide.
        """
        check_shape(x, self.in_chans, self.strides[-1], 3)
        x = torch.cat([average_by_two(x.mean(1, keepdim=True)), self.first(x)], dim=1)
        features = []
        for number, stack in enumerate(self.stacks):
            x = stack(x if number == 0 else self.down[number - 1](x))
            features.append(x)
        return features


class DenseVNetDecoder(nn.Module):
    """A convolution of each feature map, all resized to the finest and joined: at half the size of the input."""

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], width: int) -> None:
        super().__init__()
        skips = [scaled(skip, width) for skip in SKIPS]
        self.skips = nn.ModuleList(Unit(have, skip) for have, skip in zip(channels, skips, strict=True))
        self.scales = tuple(stride // strides[0] for stride in strides)
        self.out_chans = sum(skips)

    def forward(self, features: list[Tensor]) -> Tensor:
        """(N, out_chans, sides / 2) from the feature maps that the encoder gives."""
        each = zip(self.skips, features, self.scales, strict=True)
        return torch.cat([enlarged(skip(feature), scale) for skip, feature, scale in each], dim=1)


class Last(nn.Module):
    """A convolution to the classes at half the size of the input, resized to all of it."""

    def __init__(self, in_chans: int, out_chans: int) -> None:
        super().__init__()
        self.conv = SameConv3d(in_chans, out_chans, 3, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return enlarged(self.conv(x), 2)


class DenseVNet(PretrainedModel):
    """Dense V-Net, with heads of this package.

    Input is (N, in_chans, X, Y, Z) in 0..1, x to the patient's left, y to posterior, z to superior; every side a
    multiple of 8. `model.preprocess(scan)` makes it from a scan. What drops channels at random in the published
    training is not here.

    Args:
        width: channels of the first convolution; 24 as published, and all others in proportion.
        shared: head, in_chans, num_classes, class_names, multilabel, preprocessing, provenance, as in
            `PretrainedModel`.

    Raises:
        InvalidInputError: an option that is impossible.
    """

    NDIM = 3
    SETTINGS = ("width",)
    TITLE = "Dense V-Net of NiftyNet"
    SOURCE = "Gibson et al., IEEE Transactions on Medical Imaging 37, 2018; NiftyNet"
    LICENCE = "apache-2.0"
    EXPECTS = "CT of the abdomen in HU, 1 channel, 0..1, resized to 144 x 144 x 144, sides multiples of 8"

    def __init__(self, *, width: int = 24, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        (width,) = check_counts(width=width)
        self.width = width
        self.assemble(DenseVNetEncoder(self.in_chans, width), width=width)

    def build_decoder(self, skips: bool = True) -> nn.Module:
        if not skips:  # an autoencoder's
            return super().build_decoder(skips=False)
        return DenseVNetDecoder(self.encoder.channels, self.encoder.strides, self.width)

    def build_last(self, out_chans: int) -> nn.Module:
        return Last(self.decoder.out_chans, out_chans)


def scaled(channels: int, width: int) -> int:
    """Of the published channels, those of a network of that width."""
    return max(1, channels * width // 24)


def average_by_two(x: Tensor) -> Tensor:
    """Means of windows of 3 at every other voxel, of what of them is inside."""
    return F.avg_pool3d(x, 3, 2, ceil_mode=True, count_include_pad=False)


def enlarged(x: Tensor, scale: int) -> Tensor:
    """(N, C, X, Y, Z) resized linearly by a whole number: voxel i of the result is at i / scale of x, as TensorFlow 1
    has it, and what lies behind the last voxel is the last voxel."""
    if scale == 1:
        return x
    sides = [scale * side for side in x.shape[2:]]
    x = F.pad(x, (0, 1, 0, 1, 0, 1), mode="replicate")
    x = F.interpolate(x, size=[side + 1 for side in sides], mode="trilinear", align_corners=True)
    return x[:, :, : sides[0], : sides[1], : sides[2]]
