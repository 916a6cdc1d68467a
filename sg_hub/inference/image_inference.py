"""Whole images through a 2D network, and results in the image's own grid. Called by `predict` and `embed`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.io.image import Image
from sg_hub.models.input_checks import pad_to_multiple
from sg_hub.preprocessing.image_preprocessing import ImagePreprocessing


def preprocessing_of(model: nn.Module) -> ImagePreprocessing:
    """What the model expects of an image.

    Raises:
        InvalidInputError: it is no 2D model of sg_hub.
    """
    found = getattr(model, "preprocessing", None)
    if not isinstance(found, ImagePreprocessing):
        raise InvalidInputError(
            f"an Image given to a {type(model).__name__}, which takes scans: load_scan reads them; for images "
            "load 2D weights"
        )
    return found


def network_input(model: nn.Module, image: Image) -> Tensor:
    """(1, in_chans, *input_size) in 0..1; a grey image is repeated for a network of several channels."""
    return preprocessing_of(model).apply(image, getattr(model, "in_chans", None))


def predict_image(model: nn.Module, image: Image, output: str, device: torch.device) -> np.ndarray:
    """(classes, H, W) float32, or (H, W) labels, on the image's own grid. The model is in evaluation mode."""
    preprocessing = preprocessing_of(model)
    with torch.inference_mode():
        found = model(network_input(model, image).to(device), pad=True)
    head = getattr(model, "head_name", None)
    if head == "pretext":
        found = found.restoration
    found = preprocessing.restore_grid(found.float().cpu(), image)
    if head == "segmentation":
        found = found.softmax(1) if found.shape[1] > 1 else found.sigmoid()
    if output != "labels":
        return found[0].numpy()
    labels = (found[0, 0] > 0.5) if found.shape[1] == 1 else found[0].argmax(0)
    return labels.numpy().astype(np.uint8 if found.shape[1] <= 256 else np.int16)


def embed_image(model: Any, image: Image, device: torch.device) -> np.ndarray:
    """(channels,) float32: the mean of the deepest feature map over the image, without its black margins."""
    x = network_input(model, image).to(device)
    with torch.inference_mode():
        deepest = model.encoder(pad_to_multiple(x, model.encoder.strides[-1]))[-1]
    return (
        preprocessing_of(model)
        .inner(deepest.float().cpu(), image, model.encoder.strides[-1])[0]
        .mean(dim=(1, 2))
        .numpy()
    )
