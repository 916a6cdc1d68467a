"""nnU-Net's residual encoder (Isensee et al., MICCAI 2024) as dynamic-network-architectures has it: ResEnc-L is the
network of nnssl's pre-trained weights (Wald et al. 2024/25)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.base import PretrainedModel, Shared
from sg_hub.models.families.extras import check_levels, from_extra
from sg_hub.models.input_checks import check_shape

_PACKAGE = "dynamic_network_architectures"
_SECOND_NAMES = ("conv", "norm", "dropout", "nonlin")
"""What its layers are called a second time, beside their place in `all_modules`."""


class ResEncEncoder(nn.Module):
    """The `ResidualEncoder` of dynamic-network-architectures, with the settings of nnU-Net's ResEnc presets.

    Attributes:
        channels: channels of each feature map, finest first.
        strides: voxels of the input per voxel of each feature map: (1, 2, 4, ...).
        input_key: state-dict key of the first convolution.
    """

    input_key = "body.stem.convs.0.all_modules.0.weight"

    def __init__(self, in_chans: int, features: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.in_chans, self.channels = in_chans, tuple(features)
        self.strides = tuple(2**level for level in range(len(features)))
        network = from_extra(f"{_PACKAGE}.building_blocks.residual_encoders", "ResidualEncoder", "nnssl")
        self.body: Any = network(
            input_channels=in_chans,
            n_stages=len(features),
            features_per_stage=list(features),
            conv_op=nn.Conv3d,
            kernel_sizes=3,
            strides=[1, *(2,) * (len(features) - 1)],
            n_blocks_per_stage=list(blocks),
            conv_bias=True,
            norm_op=nn.InstanceNorm3d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
            return_skips=True,
        )
        for module in self.body.modules():  # a file holds each tensor once
            if hasattr(module, "all_modules"):
                for name in _SECOND_NAMES:
                    module._modules.pop(name, None)
        self.body.apply(from_extra(f"{_PACKAGE}.initialization.weight_init", "InitWeights_He", "nnssl")(1e-2))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of (N, in_chans, X, Y, Z), finest first."""
        check_shape(x, self.in_chans, self.strides[-1], 3)
        found: list[Tensor] = self.body(x)
        return found


class ResEncUNet(PretrainedModel):
    """nnU-Net's residual encoder, with the heads and the decoder of sg_hub behind it; the default is ResEnc-L.

    Input is (N, in_chans, X, Y, Z), x to the patient's left, y to posterior, z to superior; every side a multiple of
    32, with six levels. It needs `pip install 'sg_hub[nnssl]'`.

    Args:
        features: channels of each level, finest first.
        blocks: residual blocks of each level.
        shared: head, in_chans, num_classes, class_names, multilabel, preprocessing, provenance, as in
            `PretrainedModel`.

    Raises:
        InvalidInputError: an option that is impossible.
        SgHubError: dynamic-network-architectures is not installed.
    """

    NDIM = 3
    SETTINGS = ("features", "blocks")
    TITLE = "nnU-Net's residual encoder, ResEnc-L as nnssl pre-trains it"
    SOURCE = "Isensee et al., MICCAI 2024; nnssl: Wald et al. 2024/25 (MIC-DKFZ)"
    LICENCE = "see the page of the weights: its text was not at hand here"
    EXPECTS = "MR, 1 channel, mean 0 and deviation 1, 1 x 1 x 1 mm, sides multiples of 32"

    def __init__(
        self,
        *,
        features: Sequence[int] = (32, 64, 128, 256, 320, 320),
        blocks: Sequence[int] = (1, 3, 4, 6, 6, 6),
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        channels, depths = check_levels(features=features), check_levels(blocks=blocks)
        if len(channels) != len(depths):
            raise InvalidInputError(
                f"features={channels} and blocks={depths}: expected as many of the ones as the others"
            )
        self.assemble(ResEncEncoder(self.in_chans, channels, depths), features=channels, blocks=depths)
