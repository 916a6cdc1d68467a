"""Networks inside of others, which share them between devices, average or compile them."""

from __future__ import annotations

from typing import Any

from torch import nn


def unwrapped(model: nn.Module) -> Any:
    """The network itself, where several devices share it, or where it is averaged or compiled and only what is inside
    knows what it expects."""
    shared = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    for name in ("module", "_orig_mod"):
        inner = getattr(model, name, None)
        if isinstance(inner, nn.Module) and (shared or not hasattr(model, "preprocessing")):
            return unwrapped(inner)
    return model
