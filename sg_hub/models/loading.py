"""Putting saved tensors into a network: adapt what was asked to change, and let nothing pass in silence."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError

logger = logging.getLogger("sg_hub")

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
PARTS = {
    "pretext": frozenset({"decoder.", "restoration.", "classifier."}),
    "restoration": frozenset({"decoder.", "restoration."}),
    "segmentation": frozenset({"decoder.", "segmentation."}),
    "classification": frozenset({"classifier."}),
}
"""What a network has beside its encoder, by head."""


@dataclass
class LoadReport:
    """What became of every tensor. Keys are those of the network's (or the file's) state dict."""

    source: str
    revision: str | None = None
    sha256: str | None = None
    loaded: list[str] = field(default_factory=list)
    """Taken from the file as they are."""
    adapted: list[str] = field(default_factory=list)
    """Taken from the file, changed to another number of input channels."""
    reset: list[str] = field(default_factory=list)
    """In the network, and initialised afresh."""
    left_out: list[str] = field(default_factory=list)
    """In the file, and not used."""

    def __str__(self) -> str:
        text = f"{self.source}: {len(self.loaded)} tensors loaded"
        for what in ("adapted", "reset", "left_out"):
            keys = getattr(self, what)
            if keys:
                modules = sorted({key.rsplit(".", 1)[0] for key in keys})
                shown = ", ".join(modules[:6]) + (", ..." if len(modules) > 6 else "")
                text += f"; {len(keys)} {what.replace('_', ' ')} ({shown})"
        return text

    def log(self) -> None:
        logger.info("%s", self)


def load_state(
    model: Any,
    state: dict[str, Tensor],
    *,
    source: str,
    reset: tuple[str, ...] = (),
    adapt_channels: tuple[int, int] | None = None,
    norm_changed: bool = False,
    heads: tuple[str, str] = ("", ""),
) -> LoadReport:
    """Copy `state` into `model`, and say what became of every tensor.

    Args:
        reset: modules that start afresh, because the task is another.
        adapt_channels: numbers of input channels of the file and of the network, where it was asked to change.
        norm_changed: the kind of normalisation was asked to change, so running statistics may come or go.
        heads: of the file and of the network; where they differ, what only one of them has may come or go.

    Raises:
        InvalidInputError: any other missing or unexpected key, or another shape.
    """
    report = LoadReport(source)
    target = model.state_dict()
    fresh = tuple(name + "." for name in reset)
    old, new = (PARTS.get(head, frozenset()) for head in heads)
    old_parts, new_parts = tuple(old - new), tuple(new - old)
    chosen: dict[str, Tensor] = {}
    problems: list[str] = []
    for key, value in target.items():
        found = state.get(key)
        if fresh and key.startswith(fresh):
            report.reset.append(key)
        elif found is None:
            allowed = (norm_changed and key.endswith(_STATISTICS)) or key.startswith(new_parts)
            (report.reset if allowed else problems).append(key if allowed else f"{key} is missing")
        elif wrong := _useless(found, value):
            problems.append(f"{key} {wrong}")
        elif found.shape == value.shape:
            chosen[key] = found
            report.loaded.append(key)
        elif adapt_channels and (dim := _channel_axis(key, found.shape, value.shape, adapt_channels)) is not None:
            chosen[key] = _adapt(found, value.shape, dim)
            report.adapted.append(key)
        else:
            problems.append(f"{key} has shape {tuple(found.shape)}, expected {tuple(value.shape)}")
    for key in state.keys() - target.keys():
        if key.startswith(old_parts) or (norm_changed and key.endswith(_STATISTICS)):
            report.left_out.append(key)
        else:
            problems.append(f"{key} is unexpected")
    report.left_out += [key for key in report.reset if key in state]
    report.left_out.sort()
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise InvalidInputError(f"{source}: the weights do not fit {type(model).__name__}: {shown}")
    model.load_state_dict(target | chosen)
    return report


def _useless(found: Tensor, wanted: Tensor) -> str | None:
    """Why a tensor cannot be the weights that it is named as, if so."""
    if found.is_floating_point() != wanted.is_floating_point():
        return f"is of type {found.dtype}, expected {wanted.dtype}"
    if found.is_floating_point() and not bool(torch.isfinite(found).all()):
        return "holds NaN or infinite values"
    return None


def _channel_axis(key: str, found: torch.Size, wanted: torch.Size, channels: tuple[int, int]) -> int | None:
    """The axis of the image's channels: 1 in the convolutions that see the input, 0 in the one that restores it."""
    for dim, names in ((1, ("encoder.",)), (0, ("restoration.",))):
        others = [size for axis, size in enumerate(found) if axis != dim]
        same = len(found) == len(wanted) > dim and others == [s for axis, s in enumerate(wanted) if axis != dim]
        if key.startswith(names) and same and (found[dim], wanted[dim]) == channels:
            return dim
    return None


def _adapt(weight: Tensor, shape: torch.Size, dim: int) -> Tensor:
    """Another number of channels along `dim`: the mean over the old ones, repeated.

    Input channels (dim 1) are scaled by old / new, so that the same image in all of them gives the old response.
    """
    old, new = weight.shape[dim], shape[dim]
    mean = weight.float().mean(dim, keepdim=True)
    if dim == 1:
        mean = mean * (old / new)
    return mean.expand(shape).clone()
