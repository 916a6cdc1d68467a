"""From an image to what a 2D network takes, and back to the image's grid. The settings travel with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.errors import InvalidInputError
from sg_hub.io.image import Image
from sg_hub.preprocessing.scan_preprocessing import check_intensity, check_modality, settings_of

_GREY = 4 / 255
"""Colours of a pixel that differ by no more are grey: what compression leaves of a grey image saved in colour."""


@dataclass(frozen=True)
class ImagePreprocessing:
    """What weights expect of an image: grey levels, and the size that it is resized to.

    The image keeps its proportions: it is resized (bilinear, with antialiasing) so that it fits the input size, and
    black is added on both sides of the shorter side. `restore_grid` is the way back.
    """

    modality: str = "DX"
    """As DICOM calls it: DX and CR are X-rays."""
    intensity: str = "window"
    """`window`: low and high are grey levels of the image in 0..1. `percentile`: they are percentiles (0 to 100)."""
    low: float = 0.0
    """What becomes 0; all below it, too."""
    high: float = 1.0
    """What becomes 1; all above it, too."""
    input_size: tuple[int, int] = (224, 224)
    """Rows and columns of the network's input."""

    def __post_init__(self) -> None:
        check_modality(self.modality)
        low, high = check_intensity(self.intensity, self.low, self.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        try:
            rows, columns = (int(value) for value in self.input_size if int(value) == value and 1 <= value <= 1 << 20)
        except (TypeError, ValueError, OverflowError):
            raise InvalidInputError(
                f"input_size={self.input_size!r}: expected two whole numbers of pixels (rows, columns)"
            ) from None
        object.__setattr__(self, "input_size", (rows, columns))

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> ImagePreprocessing:
        """From what config.json holds.

        Raises:
            InvalidInputError: unknown or missing keys, impossible values.
        """
        return cls(**settings_of(cls, settings))

    def to_dict(self) -> dict[str, Any]:
        """In JSON types, for config.json."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def apply(self, image: Image, in_chans: int | None = None) -> Tensor:
        """What the network takes.

        Args:
            image: as `load_image` gives it.
            in_chans: channels that the network takes; a grey image is repeated, and one that was saved in colour is
                grey again. Absent: those of the image.

        Returns:
            (1, C, *input_size) float32 in 0..1.

        Raises:
            InvalidInputError: not an Image, one that the window makes constant, or one of other channels.
        """
        x = self.fit(image)
        if in_chans == 1 and x.shape[1] > 1 and bool((x.amax(1) - x.amin(1)).max() <= _GREY):
            x = x.mean(1, keepdim=True)
        if in_chans is not None and x.shape[1] != in_chans:
            if x.shape[1] != 1:
                raise InvalidInputError(
                    f"{image.source} has {x.shape[1]} channels, the model in_chans={in_chans}: load it with "
                    f"from_pretrained(..., in_chans={x.shape[1]}), or convert the image to grey"
                )
            x = x.repeat(1, in_chans, 1, 1)
        top, left, bottom, right = self._margins(image)
        return F.pad(x, (left, right, top, bottom))

    def fit(self, image: Image) -> Tensor:
        """As `apply`, without the black margins: (1, C, rows, columns), one of the two being that of the input size."""
        if not isinstance(image, Image):
            raise InvalidInputError(
                f"preprocessing takes an Image, not a {type(image).__name__}: sg_hub.load_image(path), or for an array "
                "in 0..1 sg_hub.Image(array[None])"
            )
        array = torch.from_numpy(image.array)
        low, high = self._limits(image, array)
        x = (array - low).div_(high - low).clamp_(0, 1)
        if bool(x.amin() == x.amax()):
            raise InvalidInputError(
                f"{image.source}: its grey levels ({float(array.min()):g} to {float(array.max()):g}) are all on one "
                f"side of the {self.intensity} {self.low:g} to {self.high:g} that the weights expect"
            )
        size = self.fitted_size(image)
        if tuple(x.shape[1:]) == size:
            return x[None]
        return F.interpolate(x[None], size, mode="bilinear", antialias=True, align_corners=False).clamp_(0, 1)

    def fitted_size(self, image: Image) -> tuple[int, int]:
        """Rows and columns of the image in the network's input, without the black margins."""
        scale = min(side / have for side, have in zip(self.input_size, image.size, strict=True))
        rows, columns = (
            min(side, max(1, round(have * scale))) for side, have in zip(self.input_size, image.size, strict=True)
        )
        return rows, columns

    def restore_grid(self, x: Tensor, image: Image) -> Tensor:
        """A result on the network's grid, (N, C, *input_size), brought to the image's: (N, C, H, W), interpolated."""
        if x.ndim != 4 or tuple(x.shape[2:]) != self.input_size:
            raise InvalidInputError(f"result of shape {tuple(x.shape)}: expected (N, C, *{self.input_size})")
        x = self.inner(x.float(), image)
        if tuple(x.shape[2:]) == image.size:
            return x
        return F.interpolate(x, image.size, mode="bilinear", align_corners=False)

    def inner(self, x: Tensor, image: Image, stride: int = 1) -> Tensor:
        """(N, C, *input_size), or a feature map of that stride, without the black margins."""
        top, left, bottom, right = self._margins(image)
        ends = (self.input_size[0] - bottom, self.input_size[1] - right)
        rows, columns = (
            slice(start // stride, -(-end // stride)) for start, end in zip((top, left), ends, strict=True)
        )
        return x[:, :, rows, columns]

    def _margins(self, image: Image) -> tuple[int, int, int, int]:
        """Black rows and columns: top, left, bottom, right."""
        rows, columns = (s - f for s, f in zip(self.input_size, self.fitted_size(image), strict=True))
        return rows // 2, columns // 2, rows - rows // 2, columns - columns // 2

    def _limits(self, image: Image, array: Tensor) -> tuple[float, float]:
        if self.intensity == "window":
            return self.low, self.high
        values = torch.tensor([self.low, self.high]) / 100
        flat = array.flatten()
        step = 1 + flat.numel() // (1 << 22)
        low, high = torch.quantile(flat[::step], values).tolist()
        if not low < high:
            raise InvalidInputError(
                f"{image.source}: its percentiles {self.low:g} and {self.high:g} are the same grey level ({low:g}), so "
                "nothing would be seen; expected an image with contrast, or set low and high further apart"
            )
        return low, high
