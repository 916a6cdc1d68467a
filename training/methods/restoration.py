"""Self-restoration: the undamaged cube from its corrupted one (paper, Sec. 2; Models Genesis, Zhou et al. 2019).

`transforms = "one"`: elastic deformation, then exactly one of four others, as Semantic Genesis has it. `transforms =
"combined"`: any combination of flips, shuffling, non-linear intensities and painting, as Models Genesis has it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import NonNegativeInt
from torch import Tensor

from .. import transforms
from .protocol import Batch, MethodSettings, Noise, Views
from .restoring import Restoring


class RestorationSettings(MethodSettings):
    transforms: Literal["one", "combined"] = "one"
    """`one` of four behind an elastic deformation (Semantic Genesis), or `combined` (Models Genesis)."""
    elastic: tuple[float, float] = (991.0, 8.0)
    """alpha and sigma of the elastic deformation, in voxels of the network's input; not of `combined`."""
    shuffle_windows: NonNegativeInt = 5
    """Windows of the local shuffling in each cube; `combined` has Models Genesis' 10000."""


class Restoration(Restoring):
    name = "restoration"
    title = "self-restoration"
    about = "The network restores cubes that were deformed, shuffled, painted over or changed in intensity."
    source = "Zhou et al., Models Genesis, MICCAI 2019"
    Settings = RestorationSettings
    semantic_references: ClassVar[dict[int, str]] = {2: "semantic-genesis-2d", 3: "semantic-genesis-3d"}

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.corruptions = transforms.CHOICES if settings.transforms == "one" else ("combined",)

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        if self.settings.transforms == "combined":
            corrupted, target = transforms.models_genesis(batch.cubes, generator)
        else:
            choices = (corruption,) if corruption else transforms.CHOICES
            corrupted, target = transforms.semantic_genesis(batch.cubes, generator, choices=choices, **self._options())
        return Views((corrupted,), {"restoration": target})

    def asked(self, kind: str) -> str:
        return super().asked(f"elastic and {kind}" if self.settings.transforms == "one" else kind)

    def examples(self, cubes: Tensor, noise: Noise) -> dict[str, Tensor]:
        together = self.views(Batch(cubes), noise("all")).inputs[0]
        if self.settings.transforms == "combined":
            return {"combined": together}
        alone = {
            "elastic": {key: self._options()[key] for key in ("alpha", "sigma")},
            "nonlinear": {},
            "local_shuffle": {"windows": self.settings.shuffle_windows},
            "in_paint": {},
            "out_paint": {},
        }
        shown = {kind: getattr(transforms, kind)(cubes, noise(kind), **options) for kind, options in alone.items()}
        return shown | {"all together": together}

    def reference(self, ndim: int) -> str:
        return "models-genesis-3d" if ndim == 3 and self.settings.transforms == "combined" else ""

    def _options(self) -> dict[str, Any]:
        alpha, sigma = self.settings.elastic
        return {"alpha": alpha, "sigma": sigma, "windows": self.settings.shuffle_windows}
