"""MedicalNet: 3D residual networks that were trained to segment many data sets (Chen et al., Med3D, 2019).

The last two levels are dilated instead of strided, so that three feature maps have the same size.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch.nn.functional as F
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.given import whole
from sg_hub.models.base import PretrainedModel, Shared, check_counts
from sg_hub.models.input_checks import check_shape
from sg_hub.models.unet import UNetDecoder

DEPTHS: dict[int, tuple[int, tuple[int, ...]]] = {
    10: (1, (1, 1, 1, 1)),
    18: (1, (2, 2, 2, 2)),
    34: (1, (3, 4, 6, 3)),
    50: (4, (3, 4, 6, 3)),
    101: (4, (3, 4, 23, 3)),
    152: (4, (3, 8, 36, 3)),
    200: (4, (3, 24, 36, 3)),
}
"""Of each depth: by how much the last convolution of a block widens, and the blocks of each level."""
_LEVELS = ((1, 1, 1), (2, 2, 1), (4, 1, 2), (8, 1, 4))
"""Of each level: its width in widths of the first, its stride, its dilation."""
SHORTCUTS = ("A", "B")


class Block(nn.Module):
    """Two convolutions of 3, or (`expansion` 4) one between two of 1, and the block's input added.

    Where the size or the channels change, shortcut A takes every other voxel and fills up with channels of zeros; B is
    a convolution.
    """

    def __init__(self, in_chans: int, width: int, stride: int, dilation: int, expansion: int, shortcut: str) -> None:
        super().__init__()
        self.stride, self.out_chans = stride, width * expansion
        kernels = [(3, stride), (3, 1)] if expansion == 1 else [(1, 1), (3, stride), (1, 1)]
        self.count = len(kernels)
        previous = in_chans
        for number, (kernel, step) in enumerate(kernels, 1):
            out = self.out_chans if number == self.count else width
            padding, apart = (dilation, dilation) if kernel == 3 else (0, 1)
            self.add_module(f"conv{number}", nn.Conv3d(previous, out, kernel, step, padding, apart, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm3d(out))
            previous = out
        self.changes = stride != 1 or in_chans != self.out_chans
        if self.changes and shortcut == "B":
            projection = nn.Conv3d(in_chans, self.out_chans, 1, stride, bias=False)
            self.downsample: nn.Module | None = nn.Sequential(projection, nn.BatchNorm3d(self.out_chans))
        else:
            self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        result = x
        for number in range(1, self.count + 1):
            result = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(result))
            if number < self.count:
                result = result.relu()
        return (result + self._shortcut(x)).relu()

    def _shortcut(self, x: Tensor) -> Tensor:
        if not self.changes:
            return x
        if self.downsample is not None:
            projected: Tensor = self.downsample(x)
            return projected
        every = slice(None, None, self.stride)
        return F.pad(x[:, :, every, every, every], (0, 0, 0, 0, 0, 0, 0, self.out_chans - x.shape[1]))


class MedicalNetEncoder(nn.Module):
    """A residual network of 3D convolutions; its state dict has the keys of the published one.

    Attributes:
        channels: of the stem and the four levels: (1, 1, 2, 4, 8) times `width`, the levels times 4 from depth 50 on.
        strides: (2, 4, 8, 8, 8).
        input_key: state-dict key of the first convolution.
    """

    input_key = "conv1.weight"

    def __init__(self, in_chans: int = 1, depth: int = 10, shortcut: str = "B", width: int = 64) -> None:
        super().__init__()
        self.in_chans = in_chans
        expansion, counts = DEPTHS[depth]
        self.conv1 = nn.Conv3d(in_chans, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        previous, self.channels = width, (width, *(width * times * expansion for times, _, _ in _LEVELS))
        self.strides = (2, 4, 8, 8, 8)
        self.levels: list[str] = []
        for number, (count, (times, stride, dilation)) in enumerate(zip(counts, _LEVELS, strict=True), 1):
            blocks: list[nn.Module] = []
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(Block(previous, width * times, step, dilation, expansion, shortcut))
                previous = width * times * expansion
            self.levels.append(f"layer{number}")
            self.add_module(self.levels[-1], nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of (N, in_chans, X, Y, Z), finest first: (N, channels[i], sides / strides[i]).

        Raises:
            InvalidInputError: wrong number of dimensions or channels, or a side that 8 does not divide.
        """
        check_shape(x, self.in_chans, self.strides[-1], 3)
        features = [self.bn1(self.conv1(x)).relu()]
        x = F.max_pool3d(features[0], 3, 2, 1)
        for name in self.levels:
            x = self.get_submodule(name)(x)
            features.append(x)
        return features


class MedicalNet(PretrainedModel):
    """3D ResNet of MedicalNet, with heads and a U-Net decoder of this package.

    Input is (N, in_chans, X, Y, Z), x to the patient's left, y to posterior, z to superior; every side a multiple of 8.
    `model.preprocess(scan)` makes it from a scan: the published weights take scans of mean 0 and deviation 1.

    Args:
        depth: 10, 18, 34, 50, 101, 152 or 200.
        shortcut: `A` has no parameters, `B` is a convolution; absent: that of the published weights (A for 18 and 34).
        width: channels of the first convolution; 64 as published.
        decoder_width: channels of the decoder at the size of the input; each level before it has twice as many.
        shared: head, in_chans, num_classes, class_names, multilabel, preprocessing, provenance, as in
            `PretrainedModel`.

    Raises:
        InvalidInputError: an option that is impossible.
    """

    NDIM = 3
    SETTINGS = ("depth", "shortcut", "width", "decoder_width")
    TITLE = "MedicalNet, 3D ResNet-10 to 200"
    SOURCE = "Chen, Ma, Zheng: Med3D, arXiv:1904.00625, 2019; github.com/Tencent/MedicalNet"
    LICENCE = "mit"
    EXPECTS = "CT or MR, 1 channel, mean 0 and deviation 1, resized to 448 x 448 x 56, sides multiples of 8"

    def __init__(
        self,
        *,
        depth: int = 10,
        shortcut: str | None = None,
        width: int = 64,
        decoder_width: int = 16,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        width, decoder_width = check_counts(width=width, decoder_width=decoder_width)
        layers = whole(depth) or 0
        if layers not in DEPTHS:
            raise InvalidInputError(f"depth={depth!r}: expected one of {', '.join(map(str, DEPTHS))}")
        kind = shortcut if shortcut is not None else shortcut_of(layers)
        if kind not in SHORTCUTS:
            raise InvalidInputError(f"shortcut={shortcut!r}: expected 'A' or 'B'")
        self.decoder_width = decoder_width
        settings: dict[str, Any] = {"depth": layers, "shortcut": kind, "width": width}
        self.assemble(MedicalNetEncoder(self.in_chans, **settings), **settings, decoder_width=decoder_width)

    def build_decoder(self, skips: bool = True) -> nn.Module:
        width, channels, strides = self.decoder_width, self.encoder.channels, self.encoder.strides
        return UNetDecoder(channels, strides, ndim=3, width=width, norm="batch", skips=skips)


def shortcut_of(depth: int) -> str:
    """That of the published weights of a depth."""
    return "A" if depth in (18, 34) else "B"
