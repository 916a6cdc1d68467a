"""A model as it is run: on its device, in evaluation mode, its weights laid out for speed, its output checked."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.input_checks import all_finite
from sg_hub.models.loading import moved


@contextlib.contextmanager
def evaluation(model: nn.Module, device: str | torch.device | None) -> Iterator[None]:
    """The model on its device and in evaluation mode; modes and the layout of its weights are put back afterwards."""
    before = {module: module.training for module in model.modules()}
    moved(model, device)
    laid_out = [(p, p.data) for p in model.parameters() if p.ndim == 5 and p.device.type == "cpu"]
    try:
        for parameter, data in laid_out:  # at width 8 the network takes 0.6 of the time so
            parameter.data = data.contiguous(memory_format=torch.channels_last_3d)
        model.eval()
        yield
    finally:
        for parameter, data in laid_out:
            parameter.data = data
        for module, training in before.items():
            module.training = training


def at_home(model: nn.Module, x: Tensor) -> Tensor:
    """A batch where the model is, in the precision that it has."""
    found = next((p for p in itertools.chain(model.parameters(), model.buffers()) if p.is_floating_point()), None)
    return x if found is None else x.to(found.device, found.dtype)


def finite(found: Tensor, model: nn.Module) -> Tensor:
    """What a network gives, where it is numbers: the largest of NaN is no class, and would be taken for one.

    Raises:
        InvalidInputError: NaN or infinite numbers.
    """
    if not all_finite(found):
        dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters()})
        raise InvalidInputError(
            f"{type(model).__name__} ({', '.join(dtypes)}) gives NaN or infinite numbers: its weights are none, as "
            "after a training that diverged, or too large for half precision (model.float())"
        )
    return found
