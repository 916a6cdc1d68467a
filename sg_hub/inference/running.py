"""A model as it is run: on its device, in evaluation mode, its weights laid out for speed, its output checked."""

from __future__ import annotations

import contextlib
import itertools
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.models.input_checks import all_finite
from sg_hub.models.loading import moved


@dataclass
class _Before:
    """How a module was before it ran, and how many runs it is in: threads may share a model, or parts of one."""

    training: bool
    weights: list[tuple[nn.Parameter, Tensor, Tensor]]
    """Those that are laid out anew: the parameter, what it held before, and what it holds now."""
    runs: int = 0


_RUNNING: weakref.WeakKeyDictionary[nn.Module, _Before] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


@contextlib.contextmanager
def evaluation(model: nn.Module, device: str | torch.device | None) -> Iterator[None]:
    """The model on its device and in evaluation mode; modes and the layout of its weights are put back afterwards, by
    the last of several threads that run it."""
    entered: list[nn.Module] = []
    try:
        with _LOCK:
            moved(model, device)
            for module in model.modules():
                _enter(module)
                entered.append(module)
            model.eval()
        yield
    finally:
        with _LOCK:
            for module in reversed(entered):  # of weights that two of them share, the first knows how they were
                _leave(module)


def _enter(module: nn.Module) -> None:
    if module not in _RUNNING:
        weights = [  # at width 8 the network takes 0.6 of the time so
            (p, p.data, p.data.contiguous(memory_format=torch.channels_last_3d))
            for p in module.parameters(recurse=False)
            if p.ndim == 5 and p.device.type == "cpu"
        ]
        _RUNNING[module] = _Before(module.training, weights)
        for parameter, _, laid_out in weights:
            parameter.data = laid_out
    _RUNNING[module].runs += 1


def _leave(module: nn.Module) -> None:
    before = _RUNNING[module]
    before.runs -= 1
    if not before.runs:
        del _RUNNING[module]
        module.training = before.training
        for parameter, data, laid_out in before.weights:
            if parameter.data_ptr() != laid_out.data_ptr():
                continue  # another thread put something else there
            if not torch.equal(data, laid_out):  # it loaded other weights meanwhile, or trained these
                with torch.inference_mode():  # they may have been made in it
                    data.copy_(laid_out)
            parameter.data = data


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
