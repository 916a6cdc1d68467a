"""SemanticGenesis3D: the 3D U-Net of the paper with the head that the task at hand needs."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.hub import PretrainedMixin
from sg_hub.models.unet3d import NORMS, ClassifierHead, Decoder3D, Encoder3D, Norm, check_shape
from sg_hub.preprocessing import Preprocessing, check_input
from sg_hub.scan import Scan

Head = Literal["pretext", "restoration", "segmentation", "classification"]
HEADS: tuple[str, ...] = get_args(Head)


class PretextOutput(NamedTuple):
    """What the network of the pretext tasks gives."""

    restoration: Tensor
    """(N, C, X, Y, Z) in 0..1: the restored cube, of the input's size and channels."""
    pattern_logits: Tensor
    """(N, num_classes): one logit per anatomical pattern."""


class SemanticGenesis3D(PretrainedMixin):
    """U-Net of Semantic Genesis for 3D scans (MICCAI 2020).

    Input is (N, in_chans, X, Y, Z) in 0..1, x to the patient's left, y to posterior, z to superior; every side
    a multiple of 8. `model.preprocess(scan)` makes it from a scan.

    Args:
        width: channels of the first level; 32 in the paper.
        in_chans: channels of the input.
        head: `pretext` gives a `PretextOutput`; `restoration` the restored cube alone (what Models Genesis
            was trained with); `segmentation` logits (N, num_classes, X, Y, Z); `classification` logits
            (N, num_classes). No softmax or sigmoid, but for the restoration.
        num_classes: patterns (pretext) or classes; not used, and 0 afterwards, with `restoration`.
        norm: `batch` normalises by the batch's own statistics, in evaluation too, so that outputs depend on
            the batch (how the paper's weights were trained and published); `running` is the usual batch
            normalisation; `instance` normalises every sample alone.
        preprocessing: what the weights expect of a scan; it is saved with them.
        provenance: where the weights come from (data, recipe, commit, licence); saved with them.
    """

    NDIM = 3

    def __init__(
        self,
        *,
        width: int = 32,
        in_chans: int = 1,
        head: Head | str = "pretext",
        num_classes: int = 44,
        norm: Norm | str = "batch",
        preprocessing: Preprocessing | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if head == "restoration":
            num_classes = 0
        _check_arguments(width, in_chans, head, num_classes, norm)
        self.width, self.in_chans, self.num_classes = width, in_chans, num_classes
        self.head_name, self.norm = head, norm
        self.preprocessing = preprocessing or Preprocessing()
        self.provenance = provenance or {}
        self.encoder = Encoder3D(in_chans, width, norm)
        channels = self.encoder.channels
        if head != "classification":
            self.decoder = Decoder3D(channels, norm)
        if head == "segmentation":
            self.segmentation = nn.Conv3d(channels[0], num_classes, kernel_size=1)
        elif head != "restoration":
            self.classifier = ClassifierHead(channels[-1], 32 * width, num_classes, norm)
        if head in ("pretext", "restoration"):
            self.restoration = nn.Conv3d(channels[0], in_chans, kernel_size=1)
        self._values_checked = False

    def forward(self, x: Tensor, pad: bool = False) -> PretextOutput | Tensor:
        """Run the network on (N, in_chans, X, Y, Z) in 0..1; see the class for what each head gives.

        Args:
            pad: accept any size: the far side of each axis is padded by its border, and the output cropped.

        Raises:
            InvalidInputError: a wrong shape, or values that are not in 0..1 (HU, for instance). Values are looked at
                in evaluation, and in training in the first batch.
        """
        size = x.shape[2:]
        if pad and x.ndim == 5:
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

    def preprocess(self, scan: Scan) -> Tensor:
        """(1, C, X, Y, Z) in 0..1 of a `Scan`, as these weights expect it (window, spacing, orientation)."""
        return self.preprocessing.apply(scan)

    def config(self) -> dict[str, Any]:
        """What config.json holds: every argument of the constructor, in JSON types."""
        return {
            "width": self.width,
            "in_chans": self.in_chans,
            "head": self.head_name,
            "num_classes": self.num_classes,
            "norm": self.norm,
            "preprocessing": self.preprocessing.to_dict(),
            "provenance": self.provenance,
        }

    def _check(self, x: Tensor) -> None:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return
        check_shape(x, self.in_chans, self.encoder.strides[-1])
        if self.norm != "running" and (self.norm == "instance" or x.shape[0] == 1) and x[0, 0].numel() == 512:
            raise InvalidInputError(
                f"input of size {tuple(x.shape[2:])} leaves one voxel at the deepest level, which norm={self.norm!r} "
                "cannot normalise: give larger cubes, or use norm='running'"
            )
        if not (self.training and self._values_checked):
            check_input(x, ndim_spatial=self.NDIM)
            self._values_checked = True


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad the far side of the three last axes of (N, C, X, Y, Z) by its border, to multiples of `multiple`."""
    amounts = [-side % multiple for side in x.shape[2:]]
    padding = [value for amount in reversed(amounts) for value in (0, amount)]
    return F.pad(x, padding, mode="replicate") if any(amounts) else x


def _crop(x: Tensor, size: torch.Size) -> Tensor:
    return x[..., : size[0], : size[1], : size[2]]


def _check_arguments(width: int, in_chans: int, head: str, num_classes: int, norm: str) -> None:
    for name, value in (("width", width), ("in_chans", in_chans), ("num_classes", num_classes)):
        lowest = 0 if head == "restoration" and name == "num_classes" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise InvalidInputError(f"{name}={value!r}: expected a whole number of at least 1")
    if head not in HEADS:
        raise InvalidInputError(f"head={head!r}: expected one of {', '.join(HEADS)}")
    if norm not in NORMS:
        raise InvalidInputError(f"norm={norm!r}: expected one of {', '.join(NORMS)}")
