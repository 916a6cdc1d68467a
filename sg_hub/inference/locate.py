"""The same place in another scan, without labels and without training."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.given import real, whole
from sg_hub.inference.feature_maps import FeatureMaps, Part, feature_maps, has_decoder, level_names
from sg_hub.inference.matching import FOUND, Mapped, Matches, match, mean_vectors, refined, vectors_at
from sg_hub.inference.running import evaluation
from sg_hub.inference.sliding_window import Size, preprocessing_of
from sg_hub.io.scan import Scan
from sg_hub.models.input_checks import per_axis
from sg_hub.models.wrapped import unwrapped

_BUDGET = 1 << 28
"""Numbers in the feature maps of all scans together: 512 MiB in half precision."""
_EDGE = 1e-3
"""Voxels by which a point may lie outside of a scan: what rounding does."""


@overload
def locate(
    model: nn.Module,
    scan: Scan | Sequence[Scan],
    points: Any,
    other: Scan,
    *,
    similarity: Literal[False] = False,
    least: float = FOUND,
    part: Part | None = None,
    levels: Sequence[int] | None = None,
    patch_size: Sequence[int] | None = None,
    batch_size: int = 1,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]: ...


@overload
def locate(
    model: nn.Module,
    scan: Scan | Sequence[Scan],
    points: Any,
    other: Scan,
    *,
    similarity: Literal[True],
    least: float = FOUND,
    part: Part | None = None,
    levels: Sequence[int] | None = None,
    patch_size: Sequence[int] | None = None,
    batch_size: int = 1,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


def locate(
    model: nn.Module,
    scan: Scan | Sequence[Scan],
    points: Any,
    other: Scan,
    *,
    similarity: bool = False,
    least: float = FOUND,
    part: Part | None = None,
    levels: Sequence[int] | None = None,
    patch_size: Sequence[int] | None = None,
    batch_size: int = 1,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Any:
    """Where places of one scan are in another: those whose features are the most alike.

    places, score = sg_hub.locate(model, scan, [(12.0, -160.5, 40.0)], other)

    Both scans go through the network whole, in windows. The most similar places are searched for on cells of a few
    voxels; near them, the one is taken whose surroundings are the most alike, too: 26 places, 16 mm away along the
    axes. It is mapped back into the first scan: one that comes back elsewhere is hardly the same place, and its score
    says so. Memory is bounded: cells become larger where scans are large.

    Args:
        model: 3D, with `preprocessing` and an `encoder` that has `channels` and `strides`; any head.
        scan: the scan that the points are in; or several in which the same points are known, which vote.
        points: (n, 3) in mm, LPS, in `scan`; of several scans a list of such, in the same order of points.
        other: the scan that they are looked for in.
        similarity: also give the map of similarity of each point.
        least: places with a lower score are NaN, for they are not in the scan, or cannot be told. The score of a place
            is its similarity (cosine), halved for every 15 mm that it comes back elsewhere; 0 gives every place.
        part: whose feature maps are compared: `encoder`, or `decoder` (what its levels give, and the deepest map, which
            they start from); absent: of the decoder where the model has one, which tells places better.
        levels: which levels of that part, finest first from 0; absent: all.
        patch_size: window (x, y, z) in voxels of the network's grid; absent: as large as can be.
        batch_size: windows at once.
        device: where to run; the model is moved there. Absent: where the model is.
        progress: show a progress bar on standard error.

    Returns:
        places (n, 3) float64 in mm, LPS, in `other`, and scores (n,) float32 in 0..1. With `similarity`, third, (n, X,
        Y, Z) float32 in -1..1 on the grid of `other`.

    Raises:
        InvalidInputError: points of another shape or outside of their scan, scans and points that do not go together,
            scans of another modality than the weights expect, or a model that has no such maps.
    """
    locator = Locator(
        model, part=part, levels=levels, patch_size=patch_size, batch_size=batch_size, device=device, progress=progress
    )
    return locator(scan, points, other, similarity=similarity, least=least)


class Locator:
    """`locate`, called again and again: a scan goes through the network once, as long as it is among the last ones.

    locator = Locator(model)
    places, score = locator(scan, points, other)  # arguments, results and errors are those of `locate`

    Args:
        model, part, levels, patch_size, batch_size, device, progress: as for `locate`.
        kept: how many scans' feature maps are held, the latest.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        part: Part | None = None,
        levels: Sequence[int] | None = None,
        patch_size: Sequence[int] | None = None,
        batch_size: int = 1,
        device: str | torch.device | None = None,
        progress: bool = True,
        kept: int = 2,
    ) -> None:
        self._model, self._device = unwrapped(model), device
        self._chosen = (part, levels)
        self._settings = (patch_size, batch_size, progress)
        self._kept = whole(kept) or 0
        if self._kept < 1:
            raise InvalidInputError(f"kept={kept!r}: expected a number of scans, at least 1")
        self._maps: dict[tuple[Scan, int, int], Mapped] = {}
        """By scan, size of the cells and state of the weights, the one that was used last at the end."""

    def __call__(
        self, scan: Scan | Sequence[Scan], points: Any, other: Scan, *, similarity: bool = False, least: float = FOUND
    ) -> Any:
        model = self._model
        lowest = real(least)
        if lowest is None or not 0 <= lowest <= 1:
            raise InvalidInputError(f"least={least!r}: expected a score from 0 to 1, such as {FOUND}")
        scans, given = _templates(scan, points)
        for number, one in enumerate((*scans, other)):
            check_scan(model, one, "other" if number == len(scans) else "scan")
        at = [_in_voxels(model, one, places) for one, places in zip(scans, given, strict=True)]
        described = Describer(model, chosen_levels(model, *self._chosen), *self._settings)
        if not len(given[0]):
            nothing = np.empty((0, 3)), np.empty(0, np.float32), np.empty((0, *other.size), np.float32)
            return nothing if similarity else nothing[:2]
        with evaluation(model, self._device):
            described.fit([*scans, other])
            templates, target = [self._whole(described, one) for one in scans], self._whole(described, other)
            found = match(templates, at, target)
            places = described.closer(scans, at, other, found, target.maps.strides)
        result = _in_mm(model, other, places)
        score = found.score.numpy().astype(np.float32)
        result[score < lowest] = math.nan
        if not similarity:
            return result, score
        return result, score, _on_grid(target.maps, mean_vectors(templates, at), other.size)

    def _whole(self, described: Describer, scan: Scan) -> Mapped:
        key = (scan, described.finest, _changes(self._model))
        maps = self._maps.pop(key, None)
        while maps is None and len(self._maps) >= self._kept:
            del self._maps[next(iter(self._maps))]  # before there are more
        self._maps[key] = maps or described.whole(scan)
        return self._maps[key]


def _changes(model: nn.Module) -> int:
    """How often the weights were changed so far; those of inference mode, which torch does not count, never were."""
    state = itertools.chain(model.parameters(), model.buffers())
    return sum(tensor._version for tensor in state if not tensor.is_inference())


class Describer:
    """Makes the feature maps of scans: all of the same cells, so that they can be compared."""

    def __init__(
        self, model: Any, names: Sequence[str], patch_size: Sequence[int] | None, batch_size: int, progress: bool
    ) -> None:
        self.model, self.progress = model, progress
        self.options: dict[str, Any] = {"names": names, "batch_size": batch_size}
        self.patch_size = patch_size
        self.finest = 1

    def fit(self, scans: Sequence[Scan], least: float = 0.0) -> None:
        """Choose cells that are large enough for the maps of all scans to be held at once.

        Args:
            least: mm that they measure along the shortest axis, as far as the network has such cells.
        """
        sizes = [self.model.preprocessing.grid_size(scan) for scan in scans]
        voxels = sum(math.prod(size) for size in sizes)
        smallest = min(min(_voxel(scan, size)) for scan, size in zip(scans, sizes, strict=True))
        deepest = max(per_axis(self.model.encoder.strides[-1], 3))
        while self.finest < deepest and (voxels * self._numbers() > _BUDGET or smallest * self.finest < least):
            self.finest *= 2

    def _numbers(self) -> float:
        """In the feature maps, for each voxel of the network's grid; a decoder's maps are as large as its encoder's."""
        encoder = self.model.encoder
        cells = [math.prod(max(step, self.finest) for step in per_axis(stride, 3)) for stride in encoder.strides]
        return sum(float(count) / size for count, size in zip(encoder.channels, cells, strict=True))

    def whole(self, scan: Scan) -> Mapped:
        x = self._input(scan)
        maps = feature_maps(
            self.model, x, finest=self.finest, patch_size=self.patch_size, progress=self.progress, **self.options
        )
        return Mapped(maps.normalised(), _voxel(scan, x.shape[2:]))

    def closer(
        self, scans: Sequence[Scan], at: Sequence[Tensor], other: Scan, found: Matches, strides: Sequence[Size]
    ) -> Tensor:
        """Places that were found on coarse cells, looked at in fine ones where there are any: the window around each
        point of the templates, and around each place that was found.

        Args:
            strides: of the cells on which they were found.
        """
        if self.finest == 1:
            return found.places
        vectors: list[list[list[Tensor]]] = []
        for one, places in zip(scans, at, strict=True):  # one scan in memory at a time
            x, near = self._input(one), []
            for place in places:
                patch, corner = self._around(x, place)
                if patch.maps.strides == tuple(strides):  # of deep levels there are no finer cells
                    return found.places
                near.append(vectors_at(patch, (place - corner)[None]))
            vectors.append(near)
        x, better = self._input(other), found.places.clone()
        for number, place in enumerate(found.places):
            wanted = [torch.stack(level).mean(0) for level in zip(*(one[number] for one in vectors), strict=True)]
            patch, corner = self._around(x, place)
            better[number] = corner + _best_near(patch.maps, wanted, place - corner, self.finest)
        return better

    def _input(self, scan: Scan) -> Tensor:
        x: Tensor = self.model.preprocessing.apply(scan, self.model.in_chans)
        return x

    def _around(self, x: Tensor, place: Tensor) -> tuple[Mapped, Tensor]:
        """Feature maps of a recommended patch around a place, and the patch's corner."""
        size = [min(side, have) for side, have in zip(self.model.preprocessing.input_size, x.shape[2:], strict=True)]
        room = torch.tensor(x.shape[2:]) - torch.tensor(size)
        corner = (place.round().long() - torch.tensor(size) // 2).clamp(min=0).minimum(room)
        box: Any = (..., *(slice(int(c), int(c) + side) for c, side in zip(corner, size, strict=True)))
        maps = feature_maps(self.model, x[box], **self.options).normalised()
        return Mapped(maps, (1.0, 1.0, 1.0)), corner.float()


def _best_near(maps: FeatureMaps, wanted: Sequence[Tensor], place: Tensor, reach: int) -> Tensor:
    """Where it is most similar to the vectors, within `reach` voxels of a place along each axis; in voxels."""
    similarity = maps.similarity(wanted)
    cells = torch.stack(
        torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in similarity.shape[1:]), indexing="ij"), -1
    ).flatten(0, 2)
    near = ((maps.voxels(cells) - place).abs() <= reach).all(1)
    best = torch.where(near, similarity.flatten(), -2.0).argmax()
    return maps.voxels(refined(similarity, cells[best][None]))[0]


def _templates(scan: Any, points: Any) -> tuple[list[Scan], list[np.ndarray]]:
    """The scans and their points (n, 3), one or several.

    Raises:
        InvalidInputError: they do not go together.
    """
    several = isinstance(scan, (list, tuple))
    scans = list(scan) if several else [scan]
    sets = list(points) if several else [points]
    if not scans or len(scans) != len(sets):
        raise InvalidInputError(
            f"{len(scans)} scans with {len(sets)} sets of points: give a list of scans, and for each its points (n, 3)"
        )
    arrays = [_points(one) for one in sets]
    if len({len(one) for one in arrays}) > 1:
        raise InvalidInputError(
            f"scans with {', '.join(str(len(one)) for one in arrays)} points: each needs the same points, in one order"
        )
    return scans, arrays


def _points(points: Any) -> np.ndarray:
    try:
        array = np.asarray(points, dtype=float)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1:] != (3,):
        shape = f"shape {array.shape}" if array.size else f"{type(points).__name__}"
        raise InvalidInputError(
            f"points of {shape}: expected (n, 3) numbers, x, y and z in mm (LPS), such as [(12.0, -160.5, 40.0)]"
        )
    if (bad := ~np.isfinite(array).all(1)).any():
        number = int(bad.argmax())
        raise InvalidInputError(
            f"point {number + 1} at ({', '.join(f'{value:g}' for value in array[number])}) is no place: expected "
            "finite numbers of mm; leave out points that were not found"
        )
    return array


def check_scan(model: Any, scan: Any, name: str) -> None:
    """Refuse what cannot be compared.

    Raises:
        InvalidInputError: no scan, no model for scans, one without an encoder, or another modality.
    """
    if not isinstance(scan, Scan):
        raise InvalidInputError(
            f"{name} is a {type(scan).__name__}: expected a Scan, as sg_hub.load_scan(path) gives it"
        )
    preprocessing: Any = preprocessing_of(model, scan)
    if not isinstance(getattr(model, "encoder", None), nn.Module):
        raise InvalidInputError(f"{type(model).__name__} has no encoder: give a model of sg_hub.from_pretrained")
    if preprocessing.of_another_modality(scan):
        raise InvalidInputError(f"{preprocessing.doubt(scan)}. What is not scaled alike cannot be compared")


def chosen_levels(model: Any, part: str | None, levels: Sequence[int] | None) -> list[str]:
    """Names of the levels whose maps are compared.

    Raises:
        InvalidInputError: a part or a level that the model has not.
    """
    if part not in (None, "encoder", "decoder"):
        raise InvalidInputError(f"part={part!r}: expected 'encoder' or 'decoder'")
    if part == "decoder" and not has_decoder(model):
        raise InvalidInputError(
            f"part='decoder': {type(model).__name__} with head={model.head_name!r} has none; leave it out"
        )
    part = part or ("decoder" if has_decoder(model) else "encoder")
    names = level_names(model, part)
    if levels is not None:
        try:
            numbers = [operator.index(level) for level in levels if not isinstance(level, bool)]
        except TypeError:  # no sequence, or of no whole numbers
            numbers = []
        if not numbers or len({*numbers} & {*range(len(names))}) < len(levels):
            raise InvalidInputError(
                f"levels={levels!r}: the {part} has the levels 0 (finest) to {len(names) - 1}; name some, each once"
            )
        return [names[number] for number in numbers]
    return names


def _in_voxels(model: Any, scan: Scan, points: np.ndarray) -> Tensor:
    """Points in voxels of the network's grid.

    Raises:
        InvalidInputError: one outside of the scan.
    """
    voxels, size = scan.to_voxels(points), np.array(scan.size)
    outside = ((voxels < -0.5 - _EDGE) | (voxels > size - 0.5 + _EDGE)).any(1)
    if outside.any():
        number = int(outside.argmax())
        corners = scan.to_mm(np.array([np.zeros(3), size - 1.0]))
        low, high = corners.min(0), corners.max(0)
        ranges = ", ".join(f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True))
        place = ", ".join(f"{value:g}" for value in points[number])
        raise InvalidInputError(
            f"point {number + 1} at ({place}) mm lies outside of {scan.source}, whose voxels reach from {ranges} mm "
            "(LPS). Points in RAS, as NIfTI viewers show them, have x and y of the other sign"
        )
    return torch.from_numpy((voxels + 0.5) * np.array(model.preprocessing.grid_size(scan)) / size - 0.5).float()


def _in_mm(model: Any, scan: Scan, places: Tensor) -> np.ndarray:
    """The way back, within the scan."""
    size = np.array(scan.size)
    voxels = (places.double().numpy() + 0.5) * size / np.array(model.preprocessing.grid_size(scan)) - 0.5
    return scan.to_mm(voxels.clip(-0.5, size - 0.5))


def _voxel(scan: Scan, size: Sequence[int]) -> tuple[float, ...]:
    return tuple(length / count for length, count in zip(scan.extent, size, strict=True))


def _on_grid(maps: FeatureMaps, vectors: list[Tensor], wanted: tuple[int, ...]) -> np.ndarray:
    """(n, *wanted) similarity on a scan's own grid, a point at a time."""
    result = np.empty((len(vectors[0]), *wanted), dtype=np.float32)
    stride = maps.strides[maps.finest]
    for number in range(len(result)):
        found = maps.similarity([level[number : number + 1] for level in vectors])[None]
        if max(stride) > 1:
            found = F.interpolate(found, scale_factor=tuple(float(step) for step in stride), mode="trilinear")
        found = found[:, :, : maps.size[0], : maps.size[1], : maps.size[2]]
        result[number] = F.interpolate(found, wanted, mode="trilinear")[0, 0].clamp(-1, 1).numpy()
    return result
