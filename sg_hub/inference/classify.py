"""Which classes a whole scan or image is of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.inference.running import evaluation
from sg_hub.inference.sliding_window import head_of_model, mean_of, prepare, preprocessing_of
from sg_hub.io.image import Image
from sg_hub.io.scan import Scan
from sg_hub.models.heads import probabilities
from sg_hub.models.wrapped import unwrapped


def classify(
    model: nn.Module,
    scan: Scan | Image,
    *,
    patch_size: Sequence[int] | None = None,
    overlap: float = 0.0,
    batch_size: int = 4,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """The probability of each class of a whole scan or image.

    An image goes through in one window, and so does a scan whose weights say what size it is resized to as a whole
    (`preprocessing.size`). Any other scan goes through in windows, and the probabilities are their mean.

    Args:
        model: with a classification head.
        scan, patch_size, overlap, batch_size, device, progress: as in `predict`.

    Returns:
        probability by name of the class, in the order of the classes ("class 0", ... where they have no names). They
        add up to one, but for findings that do not exclude one another (`model.multilabel`) and for a single class.

    Raises:
        InvalidInputError: a model without a classification head, or impossible settings.
    """
    model = unwrapped(model)
    preprocessing_of(model, scan)
    head = head_of_model(model)
    if head is None or not head.classifies:
        raise InvalidInputError(
            f"a {head.name if head else type(model).__name__} head gives no classes of a whole scan: load weights that "
            "were fine-tuned for classification"
        )
    x, windows = prepare(model, scan, patch_size, overlap)

    def shares_of(batch: Tensor) -> Tensor:
        return probabilities(model(batch).float(), getattr(model, "multilabel", False))

    with evaluation(model, device):
        shares = mean_of(model, x, windows, shares_of, batch_size, progress and isinstance(scan, Scan)).tolist()
    names = getattr(model, "class_names", ()) or [f"class {index}" for index in range(len(shares))]
    return dict(zip(names, shares, strict=True))
