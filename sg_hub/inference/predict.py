"""A map of a whole scan or image: probabilities or labels of its voxels, or its restoration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn

from sg_hub.errors import InvalidInputError
from sg_hub.inference.running import evaluation
from sg_hub.inference.scan_grid import collect, collect_labels
from sg_hub.inference.sliding_window import head_of_model, prepare, preprocessing_of, slabs_of
from sg_hub.io.image import Image
from sg_hub.io.scan import Scan
from sg_hub.models.wrapped import unwrapped

Output = Literal["probabilities", "labels"]
_OUTPUTS: tuple[str, ...] = get_args(Output)


def predict(
    model: nn.Module,
    scan: Scan | Image,
    *,
    patch_size: Sequence[int] | None = None,
    overlap: float = 0.5,
    batch_size: int = 4,
    output: Output | str = "probabilities",
    device: str | torch.device | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Run a segmentation or pretext model over a whole scan or image and give the result in its own grid.

    A scan goes through a 3D model in windows: they are weighed by a Gaussian and blended. An image goes through a 2D
    model in one window, resized as `model.preprocess` does. The preprocessed scan is held twice at first, and is given
    up while the result grows; beside them there is one slab of patch_size[0] planes of the network's output: memory
    does not grow with the number of windows. With `output="labels"` the result is one byte per voxel, whatever the
    number of classes.

    Args:
        model: with `preprocessing` and `head_name`; `segmentation` gives logits (N, classes, spatial...),
            `pretext` a tuple with `restoration` (N, C, spatial...), `restoration` that alone. It may be in half,
            bfloat16 or double precision, and wrapped for several devices, of which one is used. Its training or
            evaluation mode is as before afterwards.
        scan: as `load_scan` gives it, or `load_image` for a 2D model.
        patch_size: window (x, y, z) in voxels of the network's grid, for scans; absent: the one that the weights
            recommend. A scan smaller than that is padded by its border.
        overlap: share of a window that its neighbour covers too, from 0 to below 1.
        batch_size: windows at once. It changes the result of norm="batch_stats", which normalises over the batch.
        output: `probabilities` (softmax over the classes, sigmoid for one; the restoration of a pretext
            model) or `labels` (the most probable class; for one class, whether it is above a half).
        device: where to run; the model is moved there. Absent: where the model is.
        progress: show a progress bar on standard error.

    Returns:
        (classes, X, Y, Z) float32, or (X, Y, Z) uint8 (int16 above 256 classes) for labels; `scan.save`
        writes it. Of an image (classes, H, W) and (H, W).

    Raises:
        InvalidInputError: a model without maps (classification), or impossible settings.
    """
    model = unwrapped(model)
    preprocessing_of(model, scan)
    head = head_of_model(model)
    if output not in _OUTPUTS:
        raise InvalidInputError(f"output={output!r}: expected one of {', '.join(_OUTPUTS)}")
    if head is None or not head.has_map:
        name = head.name if head else type(model).__name__
        other = "sg_hub.classify(model, scan) for classes" if head and head.classifies else "model(x) for its output"
        raise InvalidInputError(
            f"predict gives a map of the scan, which a {name} head has not: call {other}, or sg_hub.embed(model, scan) "
            "for features"
        )
    if output == "labels" and not head.has_labels:
        raise InvalidInputError(
            f"a {head.name} head restores the scan and knows no labels: leave output='probabilities', or load "
            "the weights with from_pretrained(name, head='segmentation', num_classes=...) and fine-tune them"
        )
    if head.has_labels and _is_empty(model):
        raise InvalidInputError(
            "the last layer of this model is all zeros, as where a converted release has none that fits: it has not "
            "been trained and would find nothing. Fine-tune the weights first (sg-hub finetune)"
        )
    x, windows = prepare(model, scan, patch_size, overlap)
    with evaluation(model, device):
        blocks = [block.clone() for block in windows.blocks(x)]
        del x  # from here on it is given up block by block, while the result grows
        given_up = (blocks.pop(0) for _ in range(len(blocks)))
        slabs = slabs_of(model, given_up, windows, batch_size, progress and isinstance(scan, Scan))
        return (collect_labels if output == "labels" else collect)(slabs, windows.size, scan.size)


def _is_empty(model: Any) -> bool:
    """Whether the layer that gives the logits was never trained, and is known not to be."""
    last = getattr(model, "segmentation", None)
    return isinstance(last, nn.Module) and not any(bool(value.any()) for value in last.parameters())
