"""The 3D U-Net of Semantic Genesis: encoder, decoder, and the head at the end of the encoder.

Source: paper, Sec. 2 and 3 (a 3D U-Net with fully-connected layers appended to the encoder); the layer sizes
are those of the published checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.input_checks import check_shape

Norm = Literal["batch_stats", "batch", "instance"]
NORMS: tuple[str, ...] = get_args(Norm)


class BatchStatNorm3d(nn.BatchNorm3d):
    """Batch normalisation by the statistics of the batch, in evaluation too.

    The published weights were trained and read out like that. Outputs therefore depend on what else is in
    the batch. The running statistics are kept up in training, so that the weights can be used with
    `norm="batch"` later.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            return super().forward(input)
        return F.batch_norm(input, None, None, self.weight, self.bias, training=True, eps=self.eps)


def norm_layer(norm: str, channels: int) -> nn.Module:
    """A normalisation layer for (N, channels, X, Y, Z): `batch_stats`, `batch` or `instance`."""
    if norm == "batch_stats":
        return BatchStatNorm3d(channels)
    if norm == "batch":
        return nn.BatchNorm3d(channels)
    if norm == "instance":
        return nn.InstanceNorm3d(channels, affine=True)
    raise InvalidInputError(f"norm={norm!r}: expected one of {', '.join(NORMS)}")


class ConvBlock(nn.Module):
    """3x3x3 convolution, normalisation, ReLU."""

    def __init__(self, in_chans: int, out_chans: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_chans, out_chans, kernel_size=3, padding=1)
        self.norm = norm_layer(norm, out_chans)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class Encoder3D(nn.Module):
    """Four levels of two convolution blocks, max-pooling by 2 in between.

    Attributes:
        channels: channels of each feature map, finest first: (2, 4, 8, 16) times `width`.
        strides: voxels of the input per voxel of each feature map: (1, 2, 4, 8).
        input_key: state-dict key of the first convolution, the one that sees the input's channels.
    """

    input_key = "levels.0.0.conv.weight"

    def __init__(self, in_chans: int = 1, width: int = 32, norm: str = "batch_stats") -> None:
        super().__init__()
        self.in_chans = in_chans
        self.channels: tuple[int, ...] = tuple(2 * width * 2**level for level in range(4))
        self.strides: tuple[int, ...] = (1, 2, 4, 8)
        self.levels = nn.ModuleList()
        previous = in_chans
        for out in self.channels:
            self.levels.append(nn.Sequential(ConvBlock(previous, out // 2, norm), ConvBlock(out // 2, out, norm)))
            previous = out

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of (N, in_chans, X, Y, Z), finest first: (N, channels[i], X/strides[i], ...).

        Raises:
            InvalidInputError: wrong number of dimensions or channels, or a side that 8 does not divide.
        """
        check_shape(x, self.in_chans, self.strides[-1], 3)
        features = []
        for i, level in enumerate(self.levels):
            x = level(x if i == 0 else F.max_pool3d(x, kernel_size=2))
            features.append(x)
        return features


class DecoderLevel(nn.Module):
    """Transposed convolution by 2, the skip connection joined behind it, two convolution blocks."""

    def __init__(self, in_chans: int, skip_chans: int, out_chans: int, norm: str) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(in_chans, in_chans, kernel_size=2, stride=2)
        self.blocks = nn.Sequential(
            ConvBlock(in_chans + skip_chans, out_chans, norm), ConvBlock(out_chans, out_chans, norm)
        )

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = self.up(x)
        return self.blocks(x if skip is None else torch.cat([x, skip], dim=1))


class Decoder3D(nn.Module):
    """Back from the deepest feature map to the size of the input.

    Args:
        channels: those of the encoder, finest first.
        skips: join the encoder's feature maps (a U-Net); without them it is an autoencoder's decoder.
    """

    def __init__(self, channels: Sequence[int], norm: str = "batch_stats", skips: bool = True) -> None:
        super().__init__()
        self.skips = skips
        self.out_chans = channels[0]
        self.levels = nn.ModuleList(
            DecoderLevel(deep, fine if skips else 0, fine, norm)
            for deep, fine in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(N, channels[0], X, Y, Z) from the feature maps that the encoder gives."""
        x = features[-1]
        for level, skip in zip(self.levels, features[-2::-1], strict=True):
            x = level(x, skip if self.skips else None)
        return x


class ClassifierHead(nn.Module):
    """3x3x3 convolution, normalisation, ReLU, average over space, one linear layer."""

    def __init__(self, in_chans: int, hidden: int, num_classes: int, norm: str = "batch_stats") -> None:
        super().__init__()
        self.block = ConvBlock(in_chans, hidden, norm)
        self.fc = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, num_classes) from the deepest feature map (N, in_chans, X, Y, Z)."""
        return self.fc(self.block(x).mean(dim=(2, 3, 4)))
