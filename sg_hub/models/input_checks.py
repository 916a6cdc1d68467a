"""What sizes a network takes: checked, and padded to."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sg_hub.errors import InvalidInputError

AXES = {2: "(N, C, H, W)", 3: "(N, C, X, Y, Z)"}
_OTHERS = {
    2: {5: "a batch of scans (N, C, X, Y, Z) needs a 3D model"},
    3: {4: "a 2D batch (N, C, H, W) needs a 2D model"},
}
_METHOD = {2: "model.preprocess(image)", 3: "model.preprocess(scan)"}


def check_shape(x: Tensor, in_chans: int, stride: int, ndim: int) -> None:
    """Refuse what a network of `ndim` dimensions cannot take, saying what to do.

    Raises:
        InvalidInputError: not (N, in_chans, *spatial), or a side that `stride` does not divide.
    """
    if x.ndim != ndim + 2:
        hint = _OTHERS[ndim].get(x.ndim, "add the missing axes")
        raise InvalidInputError(
            f"input of shape {tuple(x.shape)}: a {ndim}D model takes {AXES[ndim]}; {hint}, or use {_METHOD[ndim]}"
        )
    if x.shape[1] != in_chans:
        raise InvalidInputError(
            f"input with {x.shape[1]} channels given to a model with in_chans={in_chans}: "
            f"load it with from_pretrained(..., in_chans={x.shape[1]})"
        )
    if any(side % stride or side == 0 for side in x.shape[2:]):
        nearest = tuple(max(stride, round(side / stride) * stride) for side in x.shape[2:])
        raise InvalidInputError(
            f"input of size {tuple(x.shape[2:])}: every side must be a multiple of {stride}; "
            f"the nearest allowed size is {nearest}, or call the model with pad=True"
        )


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad the far side of every spatial axis of (N, C, spatial...) by its border, to multiples of `multiple`."""
    amounts = [-side % multiple for side in x.shape[2:]]
    padding = [value for amount in reversed(amounts) for value in (0, amount)]
    return F.pad(x, padding, mode="replicate") if any(amounts) else x
