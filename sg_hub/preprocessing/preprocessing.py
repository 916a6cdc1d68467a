"""From a scan or an image to what a network takes, and back to its own grid. The settings travel with the weights."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from sg_hub.errors import InvalidInputError, shortened
from sg_hub.io.image import Image
from sg_hub.io.scan import Scan
from sg_hub.preprocessing import steps
from sg_hub.preprocessing.settings import (
    Intensity,
    check_intensity,
    check_modality,
    check_size,
    check_spacing,
    settings_of,
)

_FOR_OTHERS = "dataclasses.replace(model.preprocessing, intensity='percentile', low=0.5, high=99.5)"
GREY = 4 / 255
"""Colours of a pixel that differ by no more are grey: what compression leaves of a grey image saved in colour."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BasePreprocessing(ABC):
    """What scans and images have in common: intensities first, then the grid; and the way back.

    The content is resized to `fitted_size`, and what is missing to `grid_size` is added as margins, half of it in
    front. A subclass says these two sizes, and which channels it takes.
    """

    NDIM: ClassVar[int]
    _TAKES: ClassVar[type[Any]]
    _OTHERWISE: ClassVar[str]
    """What to do about anything else."""
    _SHARED_LIMITS: ClassVar[bool]
    """Whether all channels have the same limits: colours have, sequences of a scan have not."""
    _OPTIONAL: ClassVar[tuple[str, ...]] = ()

    modality: str
    intensity: Intensity | str
    low: float
    high: float

    def __post_init__(self) -> None:
        check_modality(self.modality)
        low, high = check_intensity(self.intensity, self.low, self.high)
        self._keep(low=low, high=high)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """From what config.json holds.

        Raises:
            InvalidInputError: unknown or missing keys, impossible values.
        """
        return cls(**settings_of(cls, settings, cls._OPTIONAL))

    def to_dict(self) -> dict[str, Any]:
        """In JSON types, for config.json; what is optional where there is some."""
        settings = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in settings.items() if key not in self._OPTIONAL or value is not None}

    @property
    def values(self) -> tuple[float, float]:
        """Between which the values of the network's input lie: 0 and 1, or low and high of a zscore."""
        return (self.low, self.high) if self.intensity == "zscore" else (0.0, 1.0)

    def apply(self, scan: Any, in_chans: int | None = None) -> Tensor:
        """What the network takes.

        Args:
            scan: a `Scan` as `load_scan` gives it, in the file's own units, or an `Image` as `load_image` does.
            in_chans: channels that the network takes; absent: those of the scan. A grey image is repeated for several,
                and one that was saved in colour is grey again.

        Returns:
            (1, C, spatial...) float32 between `values`, of `grid_size(scan)`.

        Raises:
            InvalidInputError: neither, one that the limits make constant, or one of other channels.
        """
        x = self._channels(self.fit(scan), in_chans, str(scan.source))
        margin = float(x.amin()) if self.intensity == "zscore" else 0.0
        return steps.pad_to(x, self.grid_size(scan), value=margin)

    def fit(self, scan: Any) -> Tensor:
        """As `apply`, without the margins and with the scan's own channels: (1, C, *fitted_size(scan))."""
        low, high = self.limits(scan)
        if doubt := self.doubt(scan):
            _log.warning("%s", doubt)
        x = steps.window(steps.tensor_of(scan.array)[None], low, high)
        if bool(x.amin() == x.amax()):
            raise InvalidInputError(
                f"{scan.source}: its values ({scan.array.min():g} to {scan.array.max():g}) are all on one side of the "
                f"{self.intensity} {self.low:g} to {self.high:g} ({self.modality}) that the weights expect. Is it "
                f"{'in HU' if self.modality == 'CT' else self.modality}? For others replace the settings: {_FOR_OTHERS}"
            )
        if self.intensity == "zscore":
            x.mul_(self.high - self.low).add_(self.low)
        return self._resized(x, self.fitted_size(scan)).clamp_(*self.values)

    def limits(self, scan: Any) -> tuple[Tensor, Tensor]:
        """The values of the scan that become the ends of `values`, each (C, 1, ...) float32.

        Percentiles are of at most 4 million voxels; mean and deviation are of the voxels above the smallest value,
        which is the background of what was cut out.

        Raises:
            InvalidInputError: not a scan, or one without contrast.
        """
        if not isinstance(scan, self._TAKES):
            raise InvalidInputError(f"preprocessing takes {self._OTHERWISE.format(type(scan).__name__)}")
        if not np.isfinite(float(scan.array.min()) + float(scan.array.max())):
            raise _no_numbers(scan)
        array = scan.array[None].reshape(1, 1, -1) if self._SHARED_LIMITS else scan.array
        if self.intensity == "window":
            low, high = (np.full(len(array), value) for value in (self.low, self.high))
        elif self.intensity == "percentile":
            low, high = steps.percentiles(array, self.low, self.high)
        else:
            mean, deviation = steps.mean_and_deviation(array)
            low, high = mean + self.low * deviation, mean + self.high * deviation
        if not (low < high).all():
            percentiles = f"percentiles {self.low:g} and {self.high:g}"
            what = percentiles if self.intensity == "percentile" else "voxels above its background"
            raise InvalidInputError(
                f"{scan.source}: its {what} are the same value ({low.max():g}), so nothing would be seen; expected one "
                "with contrast, or set low and high further apart"
            )
        shape = (-1, *(1,) * self.NDIM)
        first, second = (torch.from_numpy(values.astype(np.float32)).view(shape) for values in (low, high))
        return first, second

    @abstractmethod
    def fitted_size(self, scan: Any) -> tuple[int, ...]:
        """Voxels of the scan itself as the network takes it."""

    def grid_size(self, scan: Any) -> tuple[int, ...]:
        """Voxels of the whole input as the network takes it: the scan, and its margins."""
        return self.fitted_size(scan)

    def margins(self, scan: Any) -> tuple[tuple[int, int], ...]:
        """For each axis, the voxels of the network's grid before and behind the scan itself."""
        missing = (whole - own for whole, own in zip(self.grid_size(scan), self.fitted_size(scan), strict=True))
        return tuple((short // 2, short - short // 2) for short in missing)

    def restore_grid(self, x: Tensor, scan: Any) -> Tensor:
        """A result on the network's grid, brought to the scan's: the inverse of the resizing in `apply`.

        Args:
            x: (N, C, *grid_size(scan)).

        Returns:
            (N, C, spatial...) of the scan's own size, float32, interpolated linearly.

        Raises:
            InvalidInputError: another size.
        """
        size = self.grid_size(scan)
        if tuple(x.shape[2:]) != size:
            raise InvalidInputError(f"result of shape {tuple(x.shape)}: expected (N, C, {', '.join(map(str, size))})")
        x = x.float()
        for axis, ((before, _), side) in enumerate(zip(self.margins(scan), self.fitted_size(scan), strict=True), 2):
            x = x.narrow(axis, before, side)
        return steps.resize(x, scan.size)

    def _channels(self, x: Tensor, in_chans: int | None, source: str) -> Tensor:
        if in_chans is not None and x.shape[1] != in_chans:
            raise InvalidInputError(
                f"{source} has {x.shape[1]} channels, the model in_chans={in_chans}: load it with "
                f"from_pretrained(..., in_chans={x.shape[1]}), or in a target give channels = {x.shape[1]}"
                + (", or convert it to grey" if self.NDIM == 2 else "")
            )
        return x

    def _resized(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        return steps.resize(x, size)

    def doubt(self, scan: Any) -> str:
        """What is wrong with a scan, though not for certain; empty where nothing seems to be."""
        return ""

    def _keep(self, **values: Any) -> None:
        for key, value in values.items():
            object.__setattr__(self, key, value)


def _no_numbers(scan: Any) -> InvalidInputError:
    return InvalidInputError(
        f"{scan.source} holds NaN or infinite values; expected numbers: load_scan(path, nan=-1000) replaces them, "
        "or in an array np.nan_to_num"
    )


@dataclass(frozen=True)
class Preprocessing(BasePreprocessing):
    """What weights expect of a scan: units, voxel spacing, orientation, size of a patch.

    Resampling keeps the outer edges of the scan: an axis of n voxels of s mm becomes round(n * s / spacing)
    voxels that cover the same n * s mm. Their true spacing therefore differs a little from the nominal one
    (by at most half a voxel over the whole axis), and no voxel is outside of the scan. Values are
    interpolated linearly, as in `torch.nn.functional.interpolate(..., align_corners=False)`. `restore_grid`
    is the way back.
    """

    NDIM = 3
    _TAKES = Scan
    _OTHERWISE = (
        "a Scan, not a {}: sg_hub.load_scan(path), or for an array in HU sg_hub.Scan(array[None], spacing=(x, y, z))"
    )
    _SHARED_LIMITS = False
    _OPTIONAL = ("size", "repeat")

    modality: str = "CT"
    """As DICOM calls it: CT, MR, PT."""
    intensity: Intensity | str = "window"
    """`window`: low and high are values of the scan (HU). `percentile`: they are percentiles (0 to 100). `zscore`: the
    mean of the voxels becomes 0 and their deviation 1; low and high are deviations beyond which values are clipped."""
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
    repeat: bool | None = None
    """A scan of one channel becomes as many equal ones as the network takes (weights of colour pictures); absent: scans
    have the network's channels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.orientation != "LPS":
            raise InvalidInputError(f"orientation={self.orientation!r}: expected 'LPS', the order of every Scan")
        if self.spacing is not None:
            self._keep(spacing=check_spacing(self.spacing))
        self._keep(input_size=check_size("input_size", self.input_size, 3))
        if self.size is not None:
            self._keep(size=check_size("size", self.size, 3))
        if self.repeat not in (None, True, False):
            raise InvalidInputError(f"repeat={shortened(repr(self.repeat), 80)}: expected True or False, or nothing")

    def fitted_size(self, scan: Scan) -> tuple[int, ...]:
        """Voxels (x, y, z) of the scan as the network takes it."""
        if self.size is not None:
            return self.size
        if self.spacing is None:
            return scan.size
        return steps.resampled_size(scan.size, scan.spacing, self.spacing)

    def _channels(self, x: Tensor, in_chans: int | None, source: str) -> Tensor:
        if self.repeat and in_chans is not None and x.shape[1] == 1:
            return x.expand(-1, in_chans, -1, -1, -1)
        return super()._channels(x, in_chans, source)

    def of_another_modality(self, scan: Scan) -> bool:
        """Whether the scan's file says that it is something else than what the weights expect, such as `CT/MR`."""
        return bool(scan.modality) and scan.modality not in self.modality.split("/")

    def doubt(self, scan: Scan) -> str:
        if self.of_another_modality(scan):
            return (
                f"{scan.source} is {scan.modality} by its file (values {scan.array.min():g} to {scan.array.max():g}), "
                f"and the weights expect {self.modality} ({self.intensity} {self.low:g} to {self.high:g}): what they "
                f"make of it was not measured. Replace the settings where its values mean something else: {_FOR_OTHERS}"
            )
        if self.modality == "CT" and self.intensity == "window" and self.low < 0 <= scan.array.min():
            return (
                f"{scan.source}: no voxel is below 0, and air has -1000 HU; is it CT in HU? For other scans replace "
                f"the settings: {_FOR_OTHERS}"
            )
        return ""


@dataclass(frozen=True)
class ImagePreprocessing(BasePreprocessing):
    """What weights expect of an image: grey levels, and the size that it is resized to.

    The image keeps its proportions: it is resized (with antialiasing) so that it fits the input size, and
    black is added on both sides of the shorter side. `restore_grid` is the way back.
    """

    NDIM = 2
    _TAKES = Image
    _OPTIONAL = ("interpolation",)
    _OTHERWISE = "an Image, not a {}: sg_hub.load_image(path), or for an array in 0..1 sg_hub.Image(array[None])"
    _SHARED_LIMITS = True

    modality: str = "DX"
    """As DICOM calls it: DX and CR are X-rays."""
    intensity: Intensity | str = "window"
    """`window`: low and high are grey levels of the image in 0..1. `percentile` and `zscore`: as with scans."""
    low: float = 0.0
    """What becomes 0; all below it, too."""
    high: float = 1.0
    """What becomes 1; all above it, too."""
    input_size: tuple[int, int] = (224, 224)
    """Rows and columns of the network's input."""
    interpolation: str | None = None
    """`bilinear` or `bicubic`; absent: bilinear."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interpolation not in (None, "bilinear", "bicubic"):
            raise InvalidInputError(f"interpolation={self.interpolation!r}: expected 'bilinear' or 'bicubic'")
        self._keep(input_size=check_size("input_size", self.input_size, 2))

    def fitted_size(self, scan: Image) -> tuple[int, ...]:
        """Rows and columns of the image in the network's input, without the black margins."""
        scale = min(side / have for side, have in zip(self.input_size, scan.size, strict=True))
        sizes = zip(self.input_size, scan.size, strict=True)
        return tuple(min(side, max(1, round(have * scale))) for side, have in sizes)

    def grid_size(self, scan: Image) -> tuple[int, ...]:
        """Rows and columns of the network's input."""
        return self.input_size

    def _resized(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        return steps.resize(x, size, antialias=True, mode=self.interpolation)

    def _channels(self, x: Tensor, in_chans: int | None, source: str) -> Tensor:
        if in_chans == 1 and x.shape[1] > 1 and bool((x.amax(1) - x.amin(1)).max() <= GREY):
            return x.mean(1, keepdim=True)
        if in_chans is not None and x.shape[1] == 1:
            return x.repeat(1, in_chans, 1, 1)
        return super()._channels(x, in_chans, source)
