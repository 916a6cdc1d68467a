"""SegResNet's encoder (Myronenko, BrainLes 2018) as MONAI has it: the network of CT-FM (Pai et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.base import PretrainedModel, Shared, check_counts
from sg_hub.models.families.extras import check_levels, from_extra
from sg_hub.models.input_checks import check_shape

NORMS = ("batch", "instance")


class SegResNetEncoder(nn.Module):
    """MONAI's `SegResEncoder`: residual blocks, halved by strided convolutions in between.

    Attributes:
        channels: channels of each feature map, finest first: (1, 2, 4, ...) times `width`.
        strides: voxels of the input per voxel of each feature map: (1, 2, 4, ...).
        input_key: state-dict key of the first convolution.
    """

    input_key = "body.conv_init.weight"

    def __init__(self, in_chans: int, width: int, blocks: Sequence[int], norm: str) -> None:
        super().__init__()
        self.in_chans = in_chans
        self.channels = tuple(width * 2**level for level in range(len(blocks)))
        self.strides = tuple(2**level for level in range(len(blocks)))
        network = from_extra("monai.networks.nets.segresnet_ds", "SegResEncoder", "monai")
        self.body: Any = network(
            spatial_dims=3, init_filters=width, in_channels=in_chans, norm=norm, blocks_down=tuple(blocks)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of (N, in_chans, X, Y, Z), finest first."""
        check_shape(x, self.in_chans, self.strides[-1], 3)
        found: list[Tensor] = self.body(x)
        return found


class SegResNet(PretrainedModel):
    """MONAI's SegResNet encoder, with the heads and the decoder of sg_hub behind it.

    Input is (N, in_chans, X, Y, Z) in 0..1, x to the patient's left, y to posterior, z to superior; every side a
    multiple of 16, with the five levels of CT-FM. It needs MONAI: `pip install 'sg_hub[monai]'`.

    Args:
        width: channels of the first level; 32 in CT-FM.
        blocks: residual blocks of each level; (1, 2, 2, 4, 4) in CT-FM.
        norm: `batch` or `instance`.
        shared: head, in_chans, num_classes, class_names, multilabel, preprocessing, provenance, as in
            `PretrainedModel`.

    Raises:
        InvalidInputError: an option that is impossible.
        SgHubError: MONAI is not installed.
    """

    NDIM = 3
    SETTINGS = ("width", "blocks", "norm")
    TITLE = "SegResNet, as CT-FM was trained"
    SOURCE = "Myronenko, BrainLes 2018; CT-FM: Pai et al. 2025 (project-lighter)"
    LICENCE = "see the page of the weights: its text was not at hand here"
    EXPECTS = "CT, 1 channel, -1024 to 2048 HU to 0..1, 1 x 1 x 3 mm, sides multiples of 16"

    def __init__(
        self,
        *,
        width: int = 32,
        blocks: Sequence[int] = (1, 2, 2, 4, 4),
        norm: str = "batch",
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        (width,) = check_counts(width=width)
        levels = check_levels(blocks=blocks)
        if norm not in NORMS:
            raise InvalidInputError(f"norm={norm!r}: expected one of {', '.join(NORMS)}")
        encoder = SegResNetEncoder(self.in_chans, width, levels, norm)
        self.assemble(encoder, width=width, blocks=levels, norm=norm)
