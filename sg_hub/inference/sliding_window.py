"""Windows over a scan or image: where they lie, what they weigh, and the network's blended output plane by plane.

An image is a scan of two axes that goes through in one window.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sg_hub.errors import InvalidInputError
from sg_hub.given import real, whole
from sg_hub.inference.running import at_home, evaluation, finite
from sg_hub.io.image import Image
from sg_hub.io.scan import Scan
from sg_hub.models.heads import HEADS, Head
from sg_hub.models.input_checks import nearest_size, per_axis
from sg_hub.models.wrapped import unwrapped
from sg_hub.preprocessing.preprocessing import BasePreprocessing
from sg_hub.preprocessing.settings import check_size
from sg_hub.preprocessing.steps import pad_to

_SIGMA = 0.125
"""Width of the Gaussian that weighs a window, as a share of its side."""
_LEAST_WEIGHT = 1e-3

Size = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Where the windows lie on a grid that is padded until one fits, and where the content lies in it."""

    size: Size
    """Of the content, without margins and padding."""
    patch: Size
    before: Size
    """Margins and padding in front of the content, along each axis."""
    starts: tuple[tuple[int, ...], ...]
    """Of the windows along each axis, in the padded grid."""

    @classmethod
    def of(
        cls, grid: Sequence[int], patch: Size, overlap: float, margins: Sequence[tuple[int, int]] | None = None
    ) -> Windows:
        """Windows over a grid.

        Args:
            margins: of the grid that are not content, before and behind along each axis.
        """
        share = real(overlap)
        if share is None or not 0 <= share < 1:
            raise InvalidInputError(f"overlap={overlap!r}: expected a share from 0 to below 1, such as 0.5")
        margins = margins or [(0, 0)] * len(grid)
        missing = [max(0, side - have) for side, have in zip(patch, grid, strict=True)]
        starts = (_starts(have + short, side, share) for have, short, side in zip(grid, missing, patch, strict=True))
        return cls(
            tuple(have - sum(ends) for have, ends in zip(grid, margins, strict=True)),
            patch,
            tuple(ends[0] + short // 2 for ends, short in zip(margins, missing, strict=True)),
            tuple(starts),
        )

    def __len__(self) -> int:
        return math.prod(len(starts) for starts in self.starts)

    def pad(self, x: Tensor) -> Tensor:
        """(1, C, grid...), padded by its border until a window fits."""
        return pad_to(x, self.patch, mode="replicate")

    def blocks(self, x: Tensor) -> Iterator[Tensor]:
        """(1, C, some planes, ...) of the padded grid: what each window along the first axis covers more than the one
        before it."""
        x = self.pad(x)
        for begin, end in itertools.pairwise((0, *(start + self.patch[0] for start in self.starts[0]))):
            yield x[:, :, begin:end]

    def cut(self, x: Tensor, corners: Sequence[Size]) -> Tensor:
        """(N, C, *patch): the windows at those corners of the padded (1, C, spatial...)."""
        return torch.stack([x[0][(slice(None), *self.place(corner))] for corner in corners])

    def place(self, corner: Sequence[int]) -> tuple[slice, ...]:
        return tuple(slice(start, start + side) for start, side in zip(corner, self.patch, strict=True))

    def weights(self) -> list[dict[int, Tensor]]:
        """For each axis: what a window at a start weighs along it. At every voxel they add up to 1.

        Windows lie on a lattice, so that the weight of a window is the product of one factor per axis, and
        so is the sum that it is divided by.
        """
        factors = []
        for side, starts in zip(self.patch, self.starts, strict=True):
            position = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) / (_SIGMA * side)
            bell = torch.exp(-0.5 * position**2).clamp_min(_LEAST_WEIGHT)
            total = torch.zeros(starts[-1] + side, dtype=torch.float64)
            for start in starts:
                total[start : start + side] += bell
            factors.append({start: (bell / total[start : start + side]).float() for start in starts})
        return factors


def sliding_window(
    model: nn.Module,
    x: Tensor,
    *,
    patch_size: Sequence[int],
    overlap: float = 0.5,
    batch_size: int = 4,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Tensor:
    """Blended output of a network over one preprocessed scan or image, on the network's grid.

    Args:
        model: gives (N, C', spatial...) for (N, C, spatial...); heads as in `predict`, anything else is taken as
            it is.
        x: (1, C, spatial...), as `model.preprocess` gives it.
        patch_size, overlap, batch_size, device, progress: as in `predict`.

    Returns:
        (1, C', spatial...) float32 on the CPU: probabilities, a restoration, or what the model gives.
    """
    if x.ndim not in (4, 5) or x.shape[0] != 1:
        raise InvalidInputError(f"input of shape {tuple(x.shape)}: expected one scan (1, C, X, Y, Z) or image")
    model = unwrapped(model)
    windows = Windows.of(x.shape[2:], patch_of(model, patch_size, x.ndim - 2), overlap)
    result: Tensor | None = None
    done = 0
    with evaluation(model, device):
        for slab in slabs_of(model, windows.blocks(x), windows, batch_size, progress):
            if result is None:
                result = torch.empty(1, slab.shape[0], *windows.size, dtype=slab.dtype)
            result[0, :, done : done + slab.shape[1]] = slab
            done += slab.shape[1]
    assert result is not None
    return result


def slabs_of(
    model: nn.Module, blocks: Iterable[Tensor], windows: Windows, batch_size: int, progress: bool
) -> Iterator[Tensor]:
    """The blended output of the content, plane by plane along its first axis, as soon as no window adds to them:
    (C', some planes, ...) float32, which the next ones overwrite.

    Only the planes that the current windows cover are held.

    Args:
        blocks: of the input, as `windows.blocks` gives them.
    """
    first_factors, *other_factors = windows.weights()
    side, first = windows.patch[0], windows.before[0]
    last = first + windows.size[0]
    inner = tuple(slice(start, start + size) for start, size in zip(windows.before[1:], windows.size[1:], strict=True))
    slab: Tensor | None = None
    rows: Tensor | None = None
    blocks = iter(blocks)
    with tqdm(total=len(windows), unit="window", disable=not progress) as bar:
        for start, following in itertools.pairwise((*windows.starts[0], last)):
            rows = _advanced(rows, next(blocks))  # without a name, a block is given up here
            for batch in batches(itertools.product(*windows.starts[1:]), batch_size):
                found = _run(model, windows.cut(rows, [(0, *row) for row in batch])).cpu()
                if slab is None:
                    slab = torch.zeros(found.shape[1], side, *rows.shape[3:], dtype=found.dtype)
                for row, values in zip(batch, found, strict=True):
                    weight = first_factors[start]
                    for factors, place in zip(other_factors, row, strict=True):
                        weight = weight[..., None] * factors[place]
                    slab[(slice(None), slice(None), *windows.place((start, *row))[1:])] += values * weight
                bar.update(len(batch))
            assert slab is not None
            if following == last:
                rows = None  # before what is left of the result is written
            # The content's planes in [start, following); what lies before `first` is padding.
            yield slab[(slice(None), slice(max(0, first - start), following - start), *inner)]
            for channel in slab:
                channel[: max(0, start + side - following)] = channel[following - start :].clone()
                channel[max(0, start + side - following) :] = 0
    assert next(blocks, None) is None, "as many blocks as windows along the first axis"


def _advanced(rows: Tensor | None, block: Tensor) -> Tensor:
    """(1, C, planes, ...): the planes that the next windows cover, of those before and a block of new ones. They are
    written in the place of those before."""
    if rows is None:
        return block.clone()  # it may be a part of what the caller keeps
    new, planes = block.shape[2], rows.shape[2]
    for plane in range(planes - new):
        rows[:, :, plane] = rows[:, :, plane + new]
    rows[:, :, planes - new :] = block
    return rows


def mean_of(
    model: nn.Module,
    x: Tensor,
    windows: Windows,
    run: Callable[[Tensor], Tensor],
    batch_size: int,
    progress: bool,
) -> Tensor:
    """The mean over all windows of what `run` gives for each: (N, numbers) of (N, C, *patch). Float64, on the CPU."""
    x = windows.pad(x)
    total = torch.zeros((), dtype=torch.float64)
    with tqdm(total=len(windows), unit="window", disable=not progress) as bar, torch.inference_mode():
        for corners in batches(itertools.product(*windows.starts), batch_size):
            found = run(at_home(model, windows.cut(x, corners))).sum(0).cpu().double()
            total = total + finite(found, model)
            bar.update(len(corners))
    return total / len(windows)


def batches(corners: Iterable[Any], batch_size: int) -> Iterator[list[Any]]:
    """Lists of at most that many corners."""
    most = whole(batch_size) or 0
    if most < 1:
        raise InvalidInputError(f"batch_size={batch_size!r}: expected a whole number of at least 1")
    corners = iter(corners)
    while batch := list(itertools.islice(corners, most)):
        yield batch


def head_of_model(model: nn.Module) -> Head | None:
    """The head that a model says it has; None: it says none."""
    return HEADS.get(getattr(model, "head_name", ""))


def preprocessing_of(model: nn.Module, scan: object) -> BasePreprocessing:
    """What the model expects of what it is given.

    Raises:
        InvalidInputError: neither a scan nor an image, one that the model does not take, or no model of sg_hub.
    """
    if not isinstance(scan, (Scan, Image)):
        raise InvalidInputError(
            f"expected a Scan or an Image, not a {type(scan).__name__}: sg_hub.load_scan(path) gives the one, "
            "sg_hub.load_image(path) the other"
        )
    found = getattr(model, "preprocessing", None)
    if not isinstance(found, BasePreprocessing):
        raise InvalidInputError(
            f"{type(model).__name__} has no preprocessing: give a model of sg_hub.from_pretrained, or set "
            "model.preprocessing = sg_hub.Preprocessing(...)"
        )
    if isinstance(scan, Scan) and found.NDIM == 2:
        raise InvalidInputError(
            f"a scan given to a {type(model).__name__}, which takes images: sg_hub.load_image(path) reads them; for "
            "scans load 3D weights"
        )
    if isinstance(scan, Image) and found.NDIM == 3:
        raise InvalidInputError(
            f"an Image given to a {type(model).__name__}, which takes scans: sg_hub.load_scan(path) reads them; for "
            "images load 2D weights"
        )
    return found


def prepare(
    model: nn.Module, scan: Scan | Image, patch_size: Sequence[int] | None, overlap: float
) -> tuple[Tensor, Windows]:
    """What the network takes of a scan or image, (1, C, spatial...), and the windows over it.

    Raises:
        InvalidInputError: what the model does not take, or a patch or overlap that cannot be.
    """
    preprocessing: Any = preprocessing_of(model, scan)
    if isinstance(scan, Image) and patch_size is not None:
        raise InvalidInputError(
            f"patch_size={patch_size!r}: an image goes through the network as a whole; leave it out"
        )
    x = preprocessing.apply(scan, getattr(model, "in_chans", None))
    if patch_size is None:
        strides = per_axis(_stride(model), preprocessing.NDIM)
        patch: Size = tuple(
            -(-side // step) * step for side, step in zip(preprocessing.input_size, strides, strict=True)
        )
    else:
        patch = patch_of(model, patch_size, preprocessing.NDIM)
    return x, Windows.of(x.shape[2:], patch, overlap, preprocessing.margins(scan))


def patch_of(model: nn.Module, patch_size: Sequence[int], ndim: int) -> Size:
    """A patch that the model takes.

    Raises:
        InvalidInputError: other numbers, or a side that the encoder's largest stride does not divide.
    """
    patch, stride = check_size("patch_size", patch_size, ndim), _stride(model)
    if any(side % step for side, step in zip(patch, per_axis(stride, ndim), strict=True)):
        raise InvalidInputError(
            f"patch_size={patch}: every side must be a multiple of {stride}, for instance {nearest_size(patch, stride)}"
        )
    return patch


def _run(model: nn.Module, batch: Tensor) -> Tensor:
    """Output of the network for one batch, float32: probabilities, restoration, or what it gives."""
    with torch.inference_mode():
        found = model(at_home(model, batch))
        head = head_of_model(model)
        if head is not None and head.has_map:
            found = head.map_of(found)
        if not isinstance(found, Tensor) or found.shape[2:] != batch.shape[2:]:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InvalidInputError(
                f"the model gives {shape} for a patch of {tuple(batch.shape)}: expected (N, classes, spatial...) of "
                "the same size"
            )
        return finite(found.float(), model)


def _starts(size: int, side: int, overlap: float) -> tuple[int, ...]:
    """Evenly spread starts of windows that cover `size` with at least that overlap."""
    step = max(1, math.floor(side * (1 - overlap)))
    count = math.ceil((size - side) / step) + 1
    return tuple(i * (size - side) // max(1, count - 1) for i in range(count))


def _stride(model: nn.Module) -> Any:
    return getattr(getattr(model, "encoder", None), "strides", (1,))[-1]
