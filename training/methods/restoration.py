"""Self-restoration: the undamaged cube from its corrupted one (paper, Sec. 2; Models Genesis, Zhou et al. 2019).

`transforms = "one"`: elastic deformation, then exactly one of four others, as Semantic Genesis has it. `transforms =
"combined"`: any combination of flips, shuffling, non-linear intensities and painting, as Models Genesis has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt
from torch import Tensor, nn

from .. import transforms
from ..run import figures
from .blueprint import Blueprint
from .protocol import Batch, Method, MethodSettings, Network, Noise, Result, Views

SHOWN = 8
"""Cubes in a picture of restorations."""


class RestorationSettings(MethodSettings):
    transforms: Literal["one", "combined"] = "one"
    """`one` of four behind an elastic deformation (Semantic Genesis), or `combined` (Models Genesis)."""
    elastic: tuple[float, float] = (991.0, 8.0)
    """alpha and sigma of the elastic deformation, in voxels of the network's input; not of `combined`."""
    shuffle_windows: NonNegativeInt = 5
    """Windows of the local shuffling in each cube; `combined` has Models Genesis' 10000."""


class RestorationNetwork(Network):
    """Encoder and decoder, with skip connections: the restored cube."""

    def decode(self, features: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        return {"restoration": torch.sigmoid(self.model.restoration(self.model.decoder(features)))}


class Restoration(Method):
    name = "restoration"
    title = "self-restoration"
    about = "The network restores cubes that were deformed, shuffled, painted over or changed in intensity."
    source = "Zhou et al., Models Genesis, MICCAI 2019"
    picture = "restorations.png"
    Settings = RestorationSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.corruptions = transforms.CHOICES if settings.transforms == "one" else ("combined",)

    def network(self, blueprint: Blueprint) -> Network:
        return RestorationNetwork(blueprint.model("restoration"))

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        if self.settings.transforms == "combined":
            corrupted, target = transforms.models_genesis(batch.cubes, generator)
        else:
            choices = (corruption,) if corruption else transforms.CHOICES
            corrupted, target = transforms.semantic_genesis(batch.cubes, generator, choices=choices, **self._options())
        return Views((corrupted,), {"restoration": target})

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        mse = F.mse_loss(outputs["restoration"].float(), targets["restoration"])
        return {"loss": mse, "mse": mse}

    def scores(self, outputs: dict[str, Tensor], views: Views) -> dict[str, Tensor]:
        target = views.targets["restoration"]
        return {"mse": _mse(outputs["restoration"], target), "mse_corrupted": _mse(views.inputs[0], target)}

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

    def draw(self, network: nn.Module, batch: Batch, noise: Noise, path: Path) -> None:
        each = max(1, SHOWN // len(self.corruptions))
        some = Batch(batch.cubes[:each], None if batch.labels is None else batch.labels[:each])
        columns: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for kind in self.corruptions:
            views = self.views(some, noise(kind), kind)
            restored = network(self.stages(1)[-1].name, *views.inputs)["restoration"]
            columns[kind] = (views.targets["restoration"], views.inputs[0], restored)
        names = [kind for kind in columns for _ in range(len(some.cubes))]
        target, corrupted, restored = (torch.cat(parts) for parts in zip(*columns.values(), strict=True))
        figures.restorations(target, corrupted, restored, path, names)

    def report(self, means: dict[str, float]) -> dict[str, Any]:
        kinds = {
            kind: {name: means[f"{name} {kind}"] for name in ("mse", "mse_corrupted")} for kind in self.corruptions
        }
        overall = {name: float(np.mean([k[name] for k in kinds.values()])) for name in ("mse", "mse_corrupted")}
        return {**overall, "by_transformation": kinds}

    def results(self, evaluation: dict[str, Any], pieces: str = "cubes") -> list[Result]:
        """Each transformation on its own, the worst restored first: their mean comes from those that destroy most."""
        left = f"for the corrupted {pieces} left as they are"
        behind = "elastic and " if self.settings.transforms == "one" else ""
        kinds = evaluation["by_transformation"]
        worst_first = sorted(kinds, key=lambda kind: -kinds[kind]["mse"] / max(kinds[kind]["mse_corrupted"], 1e-12))
        rows = [(f"restoration after {behind}{kind}, mean squared error", kinds[kind], "mse") for kind in worst_first]
        if len(rows) > 1:
            rows.append(("restoration, mean of these", evaluation, ""))
        return [Result(name, values["mse"], values["mse_corrupted"], left, metric) for name, values, metric in rows]

    def reference(self, ndim: int) -> str:
        return "models-genesis-3d" if ndim == 3 and self.settings.transforms == "combined" else ""

    def _options(self) -> dict[str, Any]:
        alpha, sigma = self.settings.elastic
        return {"alpha": alpha, "sigma": sigma, "windows": self.settings.shuffle_windows}


def _mse(a: Tensor, b: Tensor) -> Tensor:
    """(N,) mean squared error of each cube."""
    return F.mse_loss(a.float(), b, reduction="none").flatten(1).mean(1)
