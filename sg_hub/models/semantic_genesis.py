"""What the networks in 2D and 3D share: the heads, the checks, the forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.input_checks import check_shape, pad_to_multiple
from sg_hub.models.pretrained import PretrainedMixin
from sg_hub.preprocessing.scan_preprocessing import check_input

Head = Literal["pretext", "restoration", "segmentation", "classification"]
HEADS: tuple[str, ...] = get_args(Head)
Parts = Callable[[], Any]


class PretextOutput(NamedTuple):
    """What the network of the pretext tasks gives."""

    restoration: Tensor
    """(N, C, spatial...) in 0..1: the restored cube or patch, of the input's size and channels."""
    pattern_logits: Tensor
    """(N, num_classes): one logit per anatomical pattern."""


class SemanticGenesis(PretrainedMixin):
    """Encoder, decoder and heads of one network; a subclass says what they are made of.

    Attributes:
        encoder: (N, in_chans, spatial...) to a list of feature maps, finest first; with `channels` and `strides`.
        decoder: that list to (N, decoder.out_chans, spatial...); absent with head="classification".
        classifier: the deepest feature map to (N, num_classes); absent with head="segmentation" and "restoration".
        preprocessing: what the weights expect of a scan or image.
        provenance: where the weights come from (data, recipe, commit, licence).
    """

    NDIM: int
    """Spatial dimensions of the input."""

    encoder: Any
    decoder: Any
    classifier: Any
    preprocessing: Any
    provenance: dict[str, Any]

    def _add_heads(self, head: str, in_chans: int, num_classes: int, decoder: Parts, classifier: Parts) -> None:
        """Build what the head needs of the parts, and add its last layers."""
        self.head_name, self.in_chans = head, in_chans
        self.num_classes = 0 if head == "restoration" else num_classes
        convolution = nn.Conv3d if self.NDIM == 3 else nn.Conv2d
        if head != "classification":
            self.decoder = decoder()
        if head == "segmentation":
            self.segmentation = convolution(self.decoder.out_chans, num_classes, kernel_size=1)
        elif head != "restoration":
            self.classifier = classifier()
        if head in ("pretext", "restoration"):
            self.restoration = convolution(self.decoder.out_chans, in_chans, kernel_size=1)
        self._values_checked = False

    def forward(self, x: Tensor, pad: bool = False) -> PretextOutput | Tensor:
        """Run the network on (N, in_chans, spatial...) in 0..1; see the class for what each head gives.

        Args:
            pad: accept any size: the far side of each axis is padded by its border, and the output cropped.

        Raises:
            InvalidInputError: a wrong shape, or values that are not in 0..1 (HU, for instance). Values are looked at
                in evaluation, and in training in the first batch.
        """
        size = x.shape[2:]
        if pad and x.ndim == self.NDIM + 2:
            x = pad_to_multiple(x, self.encoder.strides[-1])
        self._check(x)
        features = self.encoder(x)
        if self.head_name == "classification":
            return self.classifier(features[-1])
        decoded = self.decoder(features)
        if self.head_name == "segmentation":
            return _crop(self.segmentation(decoded), size)
        restoration = _crop(torch.sigmoid(self.restoration(decoded)), size)
        if self.head_name == "restoration":
            return restoration
        return PretextOutput(restoration, self.classifier(features[-1]))

    def preprocess(self, scan: Any) -> Tensor:
        """(1, C, spatial...) in 0..1 of a `Scan` (3D) or an `Image` (2D), as these weights expect it."""
        return self.preprocessing.apply(scan)

    def _check(self, x: Tensor) -> None:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return
        check_shape(x, self.in_chans, self.encoder.strides[-1], self.NDIM)
        if not (self.training and self._values_checked):
            check_input(x, ndim_spatial=self.NDIM)
            self._values_checked = True


def check_arguments(head: str, **counts: int) -> None:
    """Refuse a head that there is not, and counts that are no whole numbers of at least 1.

    Raises:
        InvalidInputError: naming the argument.
    """
    for name, value in counts.items():
        if name == "num_classes" and head == "restoration":
            continue  # it has none
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InvalidInputError(f"{name}={value!r}: expected a whole number of at least 1")
    if head not in HEADS:
        raise InvalidInputError(f"head={head!r}: expected one of {', '.join(HEADS)}")


def _crop(x: Tensor, size: torch.Size) -> Tensor:
    for axis, side in enumerate(size, 2):
        x = x.narrow(axis, 0, side)
    return x
