"""A network as an ONNX file, checked against onnxruntime."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from sg_hub.errors import InvalidInputError, SgHubError
from sg_hub.given import whole
from sg_hub.io.files import check_output, working_folder
from sg_hub.models import PretrainedModel
from sg_hub.models.input_checks import AXES, per_axis
from sg_hub.models.wrapped import unwrapped

_NEEDED = ("onnx", "onnxscript")
_TOLERANCE = 1e-3
_MOST_STEPS = 1 << 16
"""Strides along an axis; an upper limit that no scan reaches."""


def export_onnx(
    model: PretrainedModel,
    file: str | os.PathLike[str],
    *,
    size: Sequence[int] | None = None,
    embedding: bool = False,
) -> float | None:
    """Write the network of one patch as an ONNX file, and compare it with onnxruntime where that is installed.

    The file takes `input` (N, in_chans, spatial...) float32 in 0..1, of any N, and gives `restoration` and
    `pattern_logits`, `restoration`, `logits`, or `features_0` (finest) and on, as the head does: preprocessing,
    sliding windows, softmax are not in it. Its metadata hold `sg_hub_config`, the model's config.json. With
    norm="batch_stats" the outputs depend on the batch there, too.

    Args:
        model: any model of sg_hub, in any precision; it is exported in evaluation mode and single precision, and comes
            back as it was.
        file: ends with .onnx; written completely before it takes the place of an older one. Weights that are too large
            for one (1.5 GB) are beside it, in FILE.data.
        embedding: give `embedding` (N, channels) instead, the mean over space of the deepest feature map, whatever the
            head: what `sg_hub.embed` gives of a scan that is one patch.
        size: of the patch, (X, Y, Z) or (H, W); absent: any size that the encoder's largest stride divides.

    Returns:
        The largest difference of any output from that of the model, or None where onnxruntime is not installed.

    Raises:
        InvalidInputError: another ending, or a size that the network cannot take.
        ReadError: a folder that is missing or may not be written to.
        SgHubError: onnx or onnxscript are not installed, or the outputs are not the same (nothing is written).
    """
    path = check_output(file, (".onnx",))
    missing = [name for name in _NEEDED if not _installed(name)]
    if missing:
        raise SgHubError(f"export needs {' and '.join(missing)}: pip install 'sg_hub[onnx]'")
    model = _single(unwrapped(model))
    steps = per_axis(model.encoder.strides[-1], model.NDIM)
    shape = _check_size(size, steps)
    modes = [(module, module.training) for module in model.modules()]  # a frozen encoder has another than the rest
    try:
        network = _Network(model.eval(), embedding)
        program = _export(network, shape, fixed=size is not None, steps=steps)
        program.model.metadata_props["sg_hub_config"] = json.dumps(model.config())
        with working_folder(path.parent) as temporary:
            new = temporary / path.name
            program.save(str(new))
            shapes = [(1, shape), (3, shape)]
            if size is None:
                shapes.append((2, tuple(side + step for side, step in zip(shape, steps, strict=True))))
            difference = _check(network, new, shapes) if _installed("onnxruntime") else None
            for each in sorted(temporary.iterdir(), key=new.__eq__):  # the network last, what it reads before it
                os.replace(each, path.with_name(each.name))
    finally:
        for module, training in modes:
            module.training = training
    return difference


class _Network(nn.Module):
    """What is exported of a model."""

    def __init__(self, model: PretrainedModel, embedding: bool) -> None:
        super().__init__()
        self.model, self.embedding = model, embedding
        self.outputs = ["embedding"] if embedding else model.head.outputs(model)

    def forward(self, x: Tensor) -> Any:
        return self.model.encoder(x)[-1].flatten(2).mean(2) if self.embedding else self.model(x)


def _single(model: PretrainedModel) -> PretrainedModel:
    """The model, or a copy of it in single precision, which is what the file takes and gives."""
    types = {value.dtype for value in (*model.parameters(), *model.buffers()) if value.is_floating_point()}
    return model if types <= {torch.float32} else copy.deepcopy(model).float()


def _installed(name: str) -> bool:
    return find_spec(name) is not None


def _check_size(size: Sequence[int] | None, steps: tuple[int, ...]) -> tuple[int, ...]:
    if size is None:
        return tuple(step * (2 + axis) for axis, step in enumerate(steps))
    shape, ndim = tuple(whole(side) or 0 for side in size), len(steps)
    if len(shape) != ndim or min(shape) < 1 or any(side % step for side, step in zip(shape, steps, strict=True)):
        divisor = f"{steps[0]} divides" if len(set(steps)) == 1 else f"{' '.join(map(str, steps))} divide"
        raise InvalidInputError(
            f"size={' '.join(map(str, size))}: a {ndim}D model takes {AXES[ndim]}, so give {ndim} whole numbers that "
            f"{divisor}, such as {' '.join(str(4 * step) for step in steps)}"
        )
    return shape


def _export(network: _Network, shape: tuple[int, ...], fixed: bool, steps: tuple[int, ...]) -> Any:
    model = network.model
    sizes: dict[int, Any] = {0: Dim("batch", min=1, max=_MOST_STEPS)}
    if not fixed:
        for axis, name in enumerate("xyz" if model.NDIM == 3 else "hw"):
            sizes[2 + axis] = steps[axis] * Dim(f"{name}_steps", min=1, max=_MOST_STEPS)
    example = torch.rand(2, model.in_chans, *shape, device=_device(model))
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes={"x": sizes},
            input_names=["input"],
            output_names=network.outputs,
            verbose=False,
        )


def _check(network: _Network, file: Path, shapes: list[tuple[int, tuple[int, ...]]]) -> float:
    """The largest difference between the file and the model.

    Raises:
        SgHubError: it is too large.
    """
    import onnxruntime

    model = network.model
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    largest = 0.0
    for count, shape in shapes:
        x = torch.rand(count, model.in_chans, *shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            wanted = network(x.to(_device(model)))
        found = session.run(None, {"input": x.numpy()})
        for one, other in zip((wanted,) if isinstance(wanted, Tensor) else wanted, found, strict=True):
            one = one.cpu()
            difference = float((one - torch.from_numpy(other)).abs().max())
            if not difference <= _TOLERANCE * (1 + float(one.abs().max())):
                raise SgHubError(
                    f"onnxruntime {onnxruntime.__version__} gives other outputs than the model for {tuple(x.shape)} "
                    f"(difference {difference:g}): nothing was written; try other versions of torch and onnxruntime"
                )
            largest = max(largest, difference)
    return largest


def _device(model: PretrainedModel) -> torch.device:
    return next(model.parameters()).device
