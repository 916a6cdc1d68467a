"""One feature vector of a whole scan or image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.inference.running import evaluation
from sg_hub.inference.sliding_window import Windows, mean_of, prepare, preprocessing_of
from sg_hub.io.image import Image
from sg_hub.io.scan import Scan
from sg_hub.models.input_checks import Stride, per_axis
from sg_hub.models.wrapped import unwrapped


def embed(
    model: nn.Module,
    scan: Scan | Image,
    *,
    patch_size: Sequence[int] | None = None,
    overlap: float = 0.0,
    batch_size: int = 4,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> np.ndarray:
    """One feature vector of a whole scan or image: the mean over space (and windows) of the encoder's deepest
    feature map, without black margins and padding.

    Args:
        model: with `preprocessing` and `encoder` (feature maps, finest first); any head.
        scan, patch_size, overlap, batch_size, device, progress: as in `predict`.

    Returns:
        (channels,) float32: `model.encoder.channels[-1]` numbers.

    Raises:
        InvalidInputError: a model without an encoder, or impossible settings.
    """
    model = unwrapped(model)
    preprocessing_of(model, scan)
    encoder: Any = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise InvalidInputError(f"{type(model).__name__} has no encoder: give a model of sg_hub.from_pretrained")
    x, windows = prepare(model, scan, patch_size, overlap)
    strides: Any = encoder.strides
    inside = (slice(None), slice(None), *_content(windows, strides[-1]))

    def features(batch: Tensor) -> Tensor:
        deepest: Tensor = encoder(batch)[-1]
        return deepest[inside].float().flatten(2).mean(2)

    with evaluation(model, device):
        return mean_of(model, x, windows, features, batch_size, progress and isinstance(scan, Scan)).float().numpy()


def _content(windows: Windows, stride: Stride) -> tuple[slice, ...]:
    """Where the content lies in the deepest feature map of a window: everywhere, but along axes of one window only."""
    places = []
    for axis, step in enumerate(per_axis(stride, len(windows.patch))):
        before, starts = windows.before[axis], windows.starts[axis]
        end = before + windows.size[axis] if len(starts) == 1 else windows.patch[axis]
        places.append(slice(before // step, -(-end // step)))
    return tuple(places)
