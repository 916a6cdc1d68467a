"""MONAI: what the weights expect as a transform of dictionaries, and bundles that MONAI loads and runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from sg_hub.errors import InvalidInputError
from sg_hub.extras import missing
from sg_hub.interop.prepared import brought_back, prepared, taken_by
from sg_hub.io.scan import Scan

try:
    from monai.data import MetaTensor
    from monai.transforms import InvertibleTransform, MapTransform
    from monai.utils import TraceKeys
except ImportError as error:
    raise missing("monai", "monai", error) from error

_TO_RAS = {"RAS": np.eye(4), "LPS": np.diag((-1.0, -1.0, 1.0, 1.0))}
"""From the world that an affine leads to, as MetaTensor names it."""
_HOW = 'read it with LoadImaged(keys, ensure_channel_first=True), which keeps the affine ("track_meta" is on)'


class Preprocessd(MapTransform, InvertibleTransform):
    """What a model expects of scans, in a pipeline of MONAI: `model.preprocess` of images, and labels on its grid.

    Images come with the affine of their file (MONAI's is in RAS), in whatever orientation; they become (C, X, Y, Z), x
    to the patient's left, y to posterior, z to superior, on the grid and with the values that the weights expect, with
    the affine of that grid. `Invertd` brings results back to the file's grid and axes.

    Args:
        keys: of the images.
        model: as `sg_hub.from_pretrained` gives it, or its `preprocessing`; weights are not kept.
        label_keys: of label maps of the same scans, which stay whole numbers.
        allow_missing_keys: pass over keys that are not there.

    Raises:
        InvalidInputError: (when called) an array without an affine or with a sheared one, without a channel axis, or
            one that the weights do not take; nothing is assumed of its axes.
    """

    def __init__(
        self,
        keys: str | Sequence[str],
        model: Any,
        label_keys: str | Sequence[str] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        labels = (label_keys,) if isinstance(label_keys, str) else tuple(label_keys)
        super().__init__((*((keys,) if isinstance(keys, str) else keys), *labels), allow_missing_keys)
        self.label_keys = labels
        self.taken = taken_by(model)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            given, labels = result[key], key in self.label_keys
            affine = _affine(given, key)
            scan = Scan.from_affine(given.detach().cpu().numpy(), affine, _name(given, key), labels=labels)
            x, after = prepared(self.taken, scan, labels)
            mode = "nearest" if labels else "bilinear"
            out = MetaTensor(x.to(given.device), meta=given.meta, applied_operations=given.applied_operations)
            out.affine = torch.from_numpy(_TO_RAS[_space(given, key)] @ after)
            extra = {"mode": mode, "affine": affine.tolist()}
            trace = self.get_transform_info() | {TraceKeys.ORIG_SIZE: scan_size(given), TraceKeys.EXTRA_INFO: extra}
            out.push_applied_operation(trace)
            result[key] = out
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Results on the network's grid, on that of the file; labels (`nearest_interp`) stay whole numbers."""
        result = dict(data)
        for key in self.key_iterator(result):
            x = result[key]
            trace = self.pop_transform(x)
            extra = trace[TraceKeys.EXTRA_INFO]
            affine, nearest = np.array(extra["affine"]), extra["mode"] == "nearest"
            back = brought_back(self.taken.preprocessing, x, trace[TraceKeys.ORIG_SIZE], affine, nearest)
            out = MetaTensor(back.to(x.device), meta=x.meta, applied_operations=x.applied_operations)
            out.affine = torch.from_numpy(_TO_RAS[_space(x, key)] @ affine)
            result[key] = out
        return result


def scan_size(image: MetaTensor) -> list[int]:
    """Voxels along its three axes."""
    return [int(side) for side in image.shape[1:]]


def _affine(image: Any, key: Hashable) -> np.ndarray:
    """Voxels to mm in RAS."""
    if not isinstance(image, MetaTensor) or image.ndim != 4:
        kind, shape = type(image).__name__, tuple(getattr(image, "shape", ()))
        what = "has no affine" if not isinstance(image, MetaTensor) else "has no channel axis, or is no scan"
        raise InvalidInputError(f"{key!r} (a {kind} of shape {shape}) {what}: {_HOW}")
    affine: np.ndarray = _TO_RAS[_space(image, key)] @ image.affine.detach().cpu().numpy().astype(float)
    return affine


def _space(image: MetaTensor, key: Hashable) -> str:
    space = str(getattr(image.meta.get("space", "RAS"), "value", image.meta.get("space", "RAS")))
    if space not in _TO_RAS:
        raise InvalidInputError(f"{key!r}: its affine is in {space}; expected {' or '.join(_TO_RAS)}")
    return space


def _name(image: MetaTensor, key: Hashable) -> str:
    return str(image.meta.get("filename_or_obj", "") or key)
