"""How much there is of each class in a label map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sg_hub.io.image import Image
from sg_hub.io.scan import Scan
from sg_hub.models import PretrainedModel
from sg_hub.models.heads import found_names


@dataclass(frozen=True)
class Amount:
    """How much there is of a class."""

    value: int
    name: str
    count: str
    share: str
    numbers: dict[str, float]
    """The same for programs."""


def amounts_of(model: PretrainedModel, given: Scan | Image, labels: np.ndarray) -> list[Amount]:
    """How much there is of each class but the background."""
    names = found_names(getattr(model, "class_names", ()))
    amounts = []
    for value in range(1, max(model.num_classes, 2)):
        count = int((labels == value).sum())
        if isinstance(given, Image):
            percent = 100 * count / labels.size
            unit, share, numbers = "pixels", f"{percent:.1f} % of the image", {"pixels": count, "percent": percent}
        else:
            millilitres = count * float(np.prod(given.spacing)) / 1000
            unit, share, numbers = "voxels", f"{millilitres:.1f} ml", {"voxels": count, "ml": millilitres}
        name = names[value - 1] if value <= len(names) else f"class {value}"
        amounts.append(Amount(value, name, f"{count} {unit}", share, numbers))
    return amounts
