"""Whole scans through a network that takes patches: sliding windows, blended, in the scan's own grid."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from sg_hub.errors import InvalidInputError
from sg_hub.inference import image_inference
from sg_hub.inference.sliding_window import Size, Windows, batches, preprocessing_of, slabs_of
from sg_hub.io.image import Image
from sg_hub.io.scan import Scan

Output = Literal["probabilities", "labels"]
_OUTPUTS: tuple[str, ...] = get_args(Output)


def predict(
    model: nn.Module,
    scan: Scan | Image,
    *,
    patch_size: Sequence[int] | None = None,
    overlap: float = 0.5,
    batch_size: int = 4,
    output: Output | str = "probabilities",
    device: str | torch.device | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Run a segmentation or pretext model over a whole scan or image and give the result in its own grid.

    An image goes through a 2D model at once, resized as `model.preprocess` does. A scan goes through a 3D model in
    windows: they are weighed by a Gaussian and blended. What is held at any time is the preprocessed scan, the
    result, and one slab of patch_size[0] planes of the network's output: memory does not grow with the
    number of windows. With `output="labels"` the result is one byte per voxel, whatever the number of
    classes.

    Args:
        model: with `preprocessing` and `head_name`; `segmentation` gives logits (N, classes, X, Y, Z),
            `pretext` a tuple with `restoration` (N, C, X, Y, Z), `restoration` that alone. Its training or
            evaluation mode is as before afterwards.
        scan: as `load_scan` gives it, or `load_image` for a 2D model; what follows but output and device is for
            scans.
        patch_size: window (x, y, z) in voxels of the network's grid; absent: the one that the weights
            recommend. A scan smaller than that is padded by its border.
        overlap: share of a window that its neighbour covers too, from 0 to below 1.
        batch_size: windows at once. It changes the result of norm="batch_stats", which normalises over the batch.
        output: `probabilities` (softmax over the classes, sigmoid for one; the restoration of a pretext
            model) or `labels` (the most probable class; for one class, whether it is above a half).
        device: where to run; the model is moved there. Absent: where the model is.
        progress: show a progress bar on standard error.

    Returns:
        (classes, X, Y, Z) float32, or (X, Y, Z) uint8 (int16 above 256 classes) for labels; `scan.save`
        writes it. Of an image (classes, H, W) and (H, W).

    Raises:
        InvalidInputError: a model without maps (classification), or impossible settings.
    """
    _check_scan(scan)
    head = getattr(model, "head_name", None)
    if output not in _OUTPUTS:
        raise InvalidInputError(f"output={output!r}: expected one of {', '.join(_OUTPUTS)}")
    if head not in ("segmentation", "pretext", "restoration"):
        raise InvalidInputError(
            f"predict gives a map of the scan, which a {head or type(model).__name__} head has not: call "
            "model(model.preprocess(scan)) for its logits, or sg_hub.embed(model, scan) for features"
        )
    if head != "segmentation" and output == "labels":
        raise InvalidInputError(
            f"a {head} head restores the scan and knows no labels: leave output='probabilities', or load "
            "the weights with from_pretrained(name, head='segmentation', num_classes=...) and fine-tune them"
        )
    if isinstance(scan, Image):
        _check_no_patches(patch_size)
        with _evaluation(model, device) as where:
            return image_inference.predict_image(model, scan, output, where)
    x = preprocessing_of(model).apply(scan)
    windows = Windows.of(model, x, patch_size, overlap)
    with _evaluation(model, device) as where:
        slabs = slabs_of(model, x, windows, batch_size, where, progress)
        if output == "labels":
            return _collect_labels(slabs, windows.size, scan.size)
        return _collect(slabs, windows.size, scan.size)


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
    """Blended output of a network over one preprocessed scan, on the network's grid.

    Args:
        model: gives (N, C', X, Y, Z) for (N, C, X, Y, Z); heads as in `predict`, anything else is taken as
            it is.
        x: (1, C, X, Y, Z) in 0..1, as `model.preprocess` gives it.
        patch_size, overlap, batch_size, device, progress: as in `predict`.

    Returns:
        (1, C', X, Y, Z) float32 on the CPU: probabilities, a restoration, or what the model gives.
    """
    windows = Windows.of(model, x, patch_size, overlap)
    with _evaluation(model, device) as where:
        slabs = slabs_of(model, x, windows, batch_size, where, progress)
        return torch.from_numpy(_collect(slabs, windows.size, windows.size))[None]


def embed(
    model: nn.Module,
    scan: Scan | Image,
    *,
    patch_size: Sequence[int] | None = None,
    overlap: float = 0.0,
    batch_size: int = 4,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> np.ndarray:
    """One feature vector of a whole scan or image: the mean over space (and windows) of the encoder's deepest
    feature map.

    Args:
        model: with `preprocessing` and `encoder` (feature maps, finest first); any head.
        scan, patch_size, overlap, batch_size, device, progress: as in `predict`.

    Returns:
        (channels,) float32: `model.encoder.channels[-1]` numbers.
    """
    _check_scan(scan)
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise InvalidInputError(f"{type(model).__name__} has no encoder: give a model of sg_hub.from_pretrained")
    if isinstance(scan, Image):
        _check_no_patches(patch_size)
        with _evaluation(model, device) as where:
            return image_inference.embed_image(model, scan, where)
    x = preprocessing_of(model).apply(scan)
    windows = Windows.of(model, x, patch_size, overlap)
    total, count = torch.zeros(()), 0
    with (
        _evaluation(model, device) as where,
        tqdm(total=len(windows), unit="window", disable=not progress) as bar,
    ):
        x = windows.pad(x)
        for corners in batches(itertools.product(*windows.starts), batch_size):
            with torch.inference_mode():
                features = encoder(windows.cut(x, corners).to(where))[-1]
            total = total + features.float().mean(dim=(2, 3, 4)).sum(0).cpu().double()
            count += len(corners)
            bar.update(len(corners))
    return (total / count).float().numpy()


def _collect(slabs: Iterable[Tensor], size: Size, wanted: Size) -> np.ndarray:
    """All slabs in one array (C', *wanted), interpolated where the grids differ."""
    result: np.ndarray | None = None
    for first, piece in _ready(slabs, size[0], wanted[0]):
        if result is None:
            result = np.empty((piece.channels, *wanted), dtype=np.float32)
        for channel in range(piece.channels):
            result[channel, first : first + len(piece)] = piece.resized(channel, wanted).numpy()
    assert result is not None
    return result


def _collect_labels(slabs: Iterable[Tensor], size: Size, wanted: Size) -> np.ndarray:
    """The most probable class of every voxel; class by class, so that one class is interpolated at a time."""
    result: np.ndarray | None = None
    for first, piece in _ready(slabs, size[0], wanted[0]):
        if result is None:
            result = np.empty(wanted, dtype=np.uint8 if piece.channels <= 256 else np.int16)
        best = piece.resized(0, wanted)
        labels = ((best > 0.5) & (piece.channels == 1)).to(torch.int16)
        for channel in range(1, piece.channels):
            values = piece.resized(channel, wanted)
            labels[values > best] = channel
            best = torch.maximum(best, values)
        result[first : first + len(piece)] = labels.numpy()
    assert result is not None
    return result


@dataclass(frozen=True)
class _Piece:
    """Planes of the network's grid, and how those of the scan lie between them."""

    planes: Tensor
    """(C', planes, y, z)."""
    low: Tensor
    """Per plane of the scan: index of the plane before it."""
    high: Tensor
    share: Tensor
    """Of the plane `high`."""

    @property
    def channels(self) -> int:
        return self.planes.shape[0]

    def __len__(self) -> int:
        return len(self.low)

    def resized(self, channel: int, wanted: Size) -> Tensor:
        """One channel on the scan's grid: (planes of the scan, Y, Z), trilinear."""
        planes = self.planes[channel]
        if planes.shape[1:] != wanted[1:]:
            planes = F.interpolate(planes[None], wanted[1:], mode="bilinear", align_corners=False)[0]
        if not self.share.any():
            return planes[self.low]
        return torch.lerp(planes[self.low], planes[self.high], self.share[:, None, None])


def _ready(slabs: Iterable[Tensor], size: int, wanted: int) -> Iterator[tuple[int, _Piece]]:
    """Turn slabs of the network's `size` planes into pieces of the scan's `wanted` planes, each as soon as
    it can be.

    Both grids cover the same extent edge to edge, so that plane i of the scan lies at (i + 0.5) * size /
    wanted - 0.5.
    """
    place = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * size / wanted - 0.5).clamp(0, size - 1)
    low = place.floor().long()
    high = (low + 1).clamp_max(size - 1)
    share = (place - low).float()
    held: Tensor | None = None
    base = arrived = done = 0
    for slab in slabs:
        arrived += slab.shape[1]
        held = slab if held is None else torch.cat([held, slab], dim=1)
        until = int(torch.searchsorted(high, arrived))
        if until > done:
            part = slice(done, until)
            yield done, _Piece(held, low[part] - base, high[part] - base, share[part])
            done = until
        drop = min(int(low[done]) if done < wanted else size, arrived) - base
        held, base = held[:, drop:].clone(), base + drop  # a copy, for the slab is overwritten


def _check_scan(scan: object) -> None:
    if not isinstance(scan, (Scan, Image)):
        raise InvalidInputError(
            f"expected a Scan or an Image, not a {type(scan).__name__}: sg_hub.load_scan(path) gives the one, "
            "sg_hub.load_image(path) the other"
        )


def _check_no_patches(patch_size: object) -> None:
    if patch_size is not None:
        raise InvalidInputError(
            f"patch_size={patch_size!r}: an image goes through the network as a whole; leave it out"
        )


@contextlib.contextmanager
def _evaluation(model: nn.Module, device: str | torch.device | None) -> Iterator[torch.device]:
    """The model on its device and in evaluation mode; every module's mode is put back afterwards."""
    before = {module: module.training for module in model.modules()}
    try:
        if device is not None:
            model.to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidInputError(f"device={str(device)!r} cannot be used ({reason}): try 'cpu' or 'cuda'") from error
    first = next(itertools.chain(model.parameters(), model.buffers()), None)
    where = first.device if first is not None else torch.device(device or "cpu")
    try:
        model.eval()
        yield where
    finally:
        for module, training in before.items():
            module.training = training
