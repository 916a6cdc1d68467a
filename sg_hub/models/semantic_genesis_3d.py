"""SemanticGenesis3D: the 3D U-Net of the paper with the head that the task at hand needs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError
from sg_hub.models.semantic_genesis import Head, SemanticGenesis, check_arguments
from sg_hub.models.unet3d import NORMS, ClassifierHead, Decoder3D, Encoder3D, Norm
from sg_hub.preprocessing.scan_preprocessing import Preprocessing


class SemanticGenesis3D(SemanticGenesis):
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
        norm: `batch_stats` normalises by the batch's own statistics, in evaluation too, so that outputs depend on
            the batch (how the paper's weights were trained and published); `batch` is the usual batch
            normalisation; `instance` normalises every sample alone.
        preprocessing: what the weights expect of a scan; it is saved with them.
        provenance: where the weights come from (data, recipe, commit, licence); saved with them.
    """

    NDIM = 3
    CONFIG_KEYS = frozenset({"width", "in_chans", "head", "num_classes", "norm", "preprocessing", "provenance"})
    PREPROCESSING = Preprocessing

    def __init__(
        self,
        *,
        width: int = 32,
        in_chans: int = 1,
        head: Head | str = "pretext",
        num_classes: int = 44,
        norm: Norm | str = "batch_stats",
        preprocessing: Preprocessing | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_arguments(head, width=width, in_chans=in_chans, num_classes=num_classes)
        if norm not in NORMS:
            raise InvalidInputError(f"norm={norm!r}: expected one of {', '.join(NORMS)}")
        if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
            raise InvalidInputError(f"preprocessing is a {type(preprocessing).__name__}: scans need Preprocessing")
        self.width, self.norm = width, norm
        self.preprocessing = preprocessing or Preprocessing()
        self.provenance = provenance or {}
        self.encoder = Encoder3D(in_chans, width, norm)
        channels = self.encoder.channels
        self._add_heads(
            head,
            in_chans,
            num_classes,
            decoder=lambda: Decoder3D(channels, norm),
            classifier=lambda: ClassifierHead(channels[-1], 32 * width, num_classes, norm),
        )

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
        super()._check(x)
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return
        if self.norm != "batch" and (self.norm == "instance" or x.shape[0] == 1) and x[0, 0].numel() == 512:
            raise InvalidInputError(
                f"input of size {tuple(x.shape[2:])} leaves one voxel at the deepest level, which norm={self.norm!r} "
                "cannot normalise: give larger cubes, or use norm='batch'"
            )
