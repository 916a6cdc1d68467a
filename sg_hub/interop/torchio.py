"""TorchIO: images and subjects to scans and back, and what the weights expect as a transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sg_hub.errors import InvalidInputError
from sg_hub.extras import missing
from sg_hub.interop.prepared import prepared, taken_by
from sg_hub.io.scan import Scan

try:
    from torchio import Image, LabelMap, ScalarImage, Subject, Transform
except ImportError as error:
    raise missing("torchio", "torchio", error) from error


def to_scan(image: Image) -> Scan:
    """A scan of an image of TorchIO, in LPS order whatever the image's is; the image itself may stay unread until here.

    Raises:
        InvalidInputError: as for `load_scan`: a flat image, a sheared affine, voxels that are no numbers.
    """
    if not isinstance(image, Image):
        raise InvalidInputError(f"a {type(image).__name__}: expected a ScalarImage or a LabelMap of torchio")
    array = image.data.detach().cpu().numpy()
    return Scan.from_affine(array, image.affine, str(image.path or "image"), labels=isinstance(image, LabelMap))


def to_image(scan: Scan, result: Any = None, *, labels: bool = False) -> Image:
    """A `ScalarImage` of a scan, along the axes and on the grid of its file.

    Args:
        result: (X, Y, Z) or (C, X, Y, Z) on the scan's grid, instead of the scan's own values.
        labels: give a `LabelMap`, of whole numbers.
    """
    array = scan.array if result is None else np.asarray(result.detach().cpu() if hasattr(result, "detach") else result)
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1:] != scan.size:
        raise InvalidInputError(f"result of shape {array.shape}: expected (C, {', '.join(map(str, scan.size))})")
    grid = scan.file_grid
    view, affine = (array, scan.affine) if grid is None else (grid.file_view(array), grid.affine)
    tensor = torch.from_numpy(np.ascontiguousarray(view))
    return (LabelMap if labels else ScalarImage)(tensor=tensor, affine=affine)


def to_scans(subject: Subject) -> dict[str, Scan]:
    """The scans of a subject's images, by their names."""
    return {name: to_scan(image) for name, image in subject.get_images_dict(intensity_only=False).items()}


def to_subject(scan: Scan, labels: Any = None, **others: Any) -> Subject:
    """A subject with a scan as `image`, and its label map, if there is one, as `label`.

    Args:
        labels: (X, Y, Z) whole numbers on the scan's grid.
        others: what else the subject holds.
    """
    images = {"image": to_image(scan)} | ({} if labels is None else {"label": to_image(scan, labels, labels=True)})
    return Subject(**images, **others)


class Preprocess(Transform):
    """What a model expects of scans, in a pipeline of TorchIO: `model.preprocess` of images, and labels on its grid.

    Args:
        model: as `sg_hub.from_pretrained` gives it, or its `preprocessing`; weights are not kept.
        kwargs: as for every transform of TorchIO (`include`, `exclude`, `p`, ...).
    """

    def __init__(self, model: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = taken_by(model)
        self.args_names = ["model"]

    def apply_transform(self, subject: Subject) -> Subject:
        """Images on the network's grid, with its values; label maps on the same grid."""
        for image in subject.get_images(intensity_only=False, include=self.include, exclude=self.exclude):
            labels = isinstance(image, LabelMap)
            x, affine = prepared(self.model, to_scan(image), labels)
            image.set_data(x)
            image.affine = affine
        return subject
