"""From a scan to what a network takes, and back to the scan's grid. The settings travel with the weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.errors import InvalidInputError, shortened
from sg_hub.io.scan import Scan

Intensity = Literal["window", "percentile"]
_INTENSITIES: tuple[str, ...] = get_args(Intensity)
_PERCENTILE_SAMPLES = 1 << 22
_FOR_OTHERS = "dataclasses.replace(model.preprocessing, intensity='percentile', low=0.5, high=99.5)"
_OPTIONAL = {"size"}
"""Settings that config.json need not have."""
_LARGEST = 1e30
_MOST_VOXELS = 1 << 20
"""Along an axis."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preprocessing:
    """What weights expect of a scan: units, voxel spacing, orientation, size of a patch.

    Resampling keeps the outer edges of the scan: an axis of n voxels of s mm becomes round(n * s / spacing)
    voxels that cover the same n * s mm. Their true spacing therefore differs a little from the nominal one
    (by at most half a voxel over the whole axis), and no voxel is outside of the scan. Values are
    interpolated linearly, as in `torch.nn.functional.interpolate(..., align_corners=False)`. `restore_grid`
    is the way back.
    """

    modality: str = "CT"
    """As DICOM calls it: CT, MR, PT."""
    intensity: Intensity | str = "window"
    """`window`: low and high are values of the scan (HU). `percentile`: they are percentiles (0 to 100)."""
    low: float = -1000.0
    """What becomes 0; all below it, too."""
    high: float = 1000.0
    """What becomes 1; all above it, too."""
    spacing: tuple[float, float, float] | None = None
    """Voxels (x, y, z) in mm that scans are resampled to; absent: each keeps its own."""
    orientation: str = "LPS"
    """Of the axes x, y, z; `load_scan` gives no other."""
    input_size: tuple[int, int, int] = (64, 64, 32)
    """Recommended patch (x, y, z) in voxels."""
    size: tuple[int, int, int] | None = None
    """Voxels (x, y, z) that every scan is resized to as a whole, whatever its spacing; absent: `spacing` says it."""

    def __post_init__(self) -> None:
        check_modality(self.modality)
        low, high = check_intensity(self.intensity, self.low, self.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        if self.orientation != "LPS":
            raise InvalidInputError(f"orientation={self.orientation!r}: expected 'LPS', the order of every Scan")
        if self.spacing is not None:
            spacing = tuple(_number("spacing", value) for value in _three("spacing", self.spacing))
            if min(spacing) <= 0:
                raise InvalidInputError(
                    f"spacing={self.spacing}: expected three positive numbers (x, y, z) in mm, or None"
                )
            object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "input_size", _voxels("input_size", self.input_size))
        if self.size is not None:
            object.__setattr__(self, "size", _voxels("size", self.size))

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Preprocessing:
        """From what config.json holds.

        Raises:
            InvalidInputError: unknown or missing keys, impossible values.
        """
        return cls(**settings_of(cls, settings))

    def to_dict(self) -> dict[str, Any]:
        """In JSON types, for config.json; `size` where there is one."""
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return settings if self.size is not None else {k: v for k, v in settings.items() if k != "size"}

    def apply(self, scan: Scan, in_chans: int | None = None) -> Tensor:
        """What the network takes.

        Args:
            scan: as `load_scan` gives it, in the file's own units.
            in_chans: channels that the network takes; absent: those of the scan.

        Returns:
            (1, C, X, Y, Z) float32 in 0..1, on the grid of `grid_size(scan)`.

        Raises:
            InvalidInputError: not a Scan, one that the window makes constant, or one of other channels.
        """
        if not isinstance(scan, Scan):
            raise InvalidInputError(
                f"preprocessing takes a Scan, not a {type(scan).__name__}: sg_hub.load_scan(path), or for "
                "an array in HU sg_hub.Scan(array[None], spacing=(x, y, z))"
            )
        if in_chans is not None and scan.array.shape[0] != in_chans:
            raise InvalidInputError(
                f"{scan.source} has {scan.array.shape[0]} channels, the model in_chans={in_chans}: load it with "
                f"from_pretrained(..., in_chans={scan.array.shape[0]})"
            )
        low, high = self.limits(scan)
        if self.modality == "CT" and self.intensity == "window" and self.low < 0 <= scan.array.min():
            _log.warning(
                "%s: no voxel is below 0, and air has -1000 HU; is it CT in HU? For other scans replace the "
                "settings: %s",
                scan.source,
                _FOR_OTHERS,
            )
        x = (torch.from_numpy(scan.array) - low).div_(high - low).clamp_(0, 1)
        if bool(x.amin() == x.amax()):
            raise InvalidInputError(
                f"{scan.source}: its values ({scan.array.min():g} to {scan.array.max():g}) are all on one "
                f"side of the {self.intensity} {self.low:g} to {self.high:g} ({self.modality}) that the "
                f"weights expect. Is it {'in HU' if self.modality == 'CT' else self.modality}? For other "
                f"scans replace the settings: {_FOR_OTHERS}"
            )
        return resample(x[None], self.grid_size(scan))

    def limits(self, scan: Scan) -> tuple[Tensor, Tensor]:
        """The values that become 0 and 1, each (C, 1, 1, 1). Percentiles are of at most 4 million voxels."""
        channels = scan.array.shape[0]
        if self.intensity == "window":
            low, high = np.full(channels, self.low), np.full(channels, self.high)
        else:
            flat = scan.array.reshape(channels, -1)
            # An odd step does not keep to a few columns of a grid with even sides.
            step = 1 + 2 * math.ceil((flat.shape[1] / _PERCENTILE_SAMPLES - 1) / 2)
            low, high = np.percentile(flat[:, ::step], [self.low, self.high], axis=1)
            if not (low < high).all():
                raise InvalidInputError(
                    f"{scan.source}: its percentiles {self.low:g} and {self.high:g} are the same value "
                    f"({low.max():g}), so nothing would be seen; expected a scan with contrast, or set low "
                    "and high further apart"
                )
        lowest, highest = (
            torch.from_numpy(values.astype(np.float32)).view(channels, 1, 1, 1) for values in (low, high)
        )
        return lowest, highest

    def grid_size(self, scan: Scan) -> tuple[int, int, int]:
        """Voxels (x, y, z) of the scan as the network takes it."""
        if self.size is not None:
            return self.size
        if self.spacing is None:
            return scan.size
        return resampled_size(scan.size, scan.spacing, self.spacing)


def resampled_size(size: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]) -> tuple[int, int, int]:
    """Voxels (x, y, z) of `new_spacing` mm that cover `size` voxels of `spacing` mm, edge to edge."""
    x, y, z = (max(1, round(n * s / new)) for n, s, new in zip(size, spacing, new_spacing, strict=True))
    return x, y, z


def resample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate (N, C, X, Y, Z) linearly to `size` voxels that cover the same extent, edge to edge."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="trilinear", align_corners=False)


def restore_grid(x: Tensor, scan: Scan) -> Tensor:
    """A result on the network's grid, brought to the scan's: the inverse of the resampling in
    `Preprocessing.apply`.

    Args:
        x: (N, C, x, y, z), covering the scan edge to edge.

    Returns:
        (N, C, X, Y, Z), interpolated linearly.
    """
    if x.ndim != 5:
        raise InvalidInputError(f"result of shape {tuple(x.shape)}: expected (N, C, X, Y, Z)")
    return resample(x.float(), scan.size)


def check_modality(modality: object) -> None:
    """Refuse what is no word.

    Raises:
        InvalidInputError: naming it.
    """
    if not isinstance(modality, str) or not modality.strip():
        raise InvalidInputError(f"modality={modality!r}: expected a word of DICOM, such as 'CT'")


def check_intensity(intensity: str, low: Any, high: Any) -> tuple[float, float]:
    """Low and high as numbers.

    Raises:
        InvalidInputError: no such kind of intensity, or limits that are impossible for it.
    """
    low, high = _number("low", low), _number("high", high)
    if not isinstance(intensity, str) or intensity not in _INTENSITIES:
        raise InvalidInputError(f"intensity={intensity!r}: expected one of {', '.join(_INTENSITIES)}")
    if not low < high:
        raise InvalidInputError(f"low={low:g}, high={high:g}: expected low below high")
    if intensity == "percentile" and not 0 <= low < high <= 100:
        raise InvalidInputError(f"percentiles {low:g} and {high:g}: expected numbers from 0 to 100")
    return low, high


def settings_of(kind: type, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """What config.json holds of a dataclass of settings, when it is that.

    Raises:
        InvalidInputError: unknown or missing keys.
    """
    if not isinstance(settings, Mapping):
        raise InvalidInputError(f"preprocessing is a {type(settings).__name__}: expected its settings by name")
    names = {field.name for field in fields(kind)}
    unknown, missing = sorted(set(settings) - names), sorted(names - set(settings) - _OPTIONAL)
    if unknown:
        raise InvalidInputError(
            f"preprocessing has unknown keys {', '.join(map(str, unknown))} (known: "
            f"{', '.join(sorted(names))}); written by a newer version? Upgrade with: pip install -U "
            "sg_hub"
        )
    if missing:
        raise InvalidInputError(f"preprocessing lacks {', '.join(missing)}: add them, or save the model again")
    return settings


def _three(name: str, values: Any) -> tuple[Any, Any, Any]:
    try:
        x, y, z = values
        return x, y, z
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name}={values!r}: expected three numbers (x, y, z)") from None


def _voxels(name: str, values: Any) -> tuple[int, int, int]:
    x, y, z = (_number(name, value) for value in _three(name, values))
    if any(value != int(value) or not 1 <= value <= _MOST_VOXELS for value in (x, y, z)):
        raise InvalidInputError(f"{name}={values}: expected three whole numbers of voxels (x, y, z)")
    return int(x), int(y), int(z)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise InvalidInputError(f"{name}: {shortened(repr(value), 80)} is not a finite number")
    return float(value)
