"""What the methods that restore a cube have in common: the network, the loss, the picture and the figures.

A method says how a cube is damaged (`views`, with the target `restoration`). The network is the paper's for all of its
methods, with skip connections: what is not damaged can be copied.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..run.pages import figures
from .blueprint import Blueprint
from .protocol import Batch, Method, Network, Noise, Result, Views

SHOWN = 8
"""Cubes in a picture of restorations."""


class RestorationNetwork(Network):
    """Encoder and decoder, with skip connections: the restored cube."""

    def decode(self, features: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        return {"restoration": torch.sigmoid(self.model.restoration(self.model.decoder(features)))}


class Restoring(Method):
    picture = "restorations.png"

    def network(self, blueprint: Blueprint) -> Network:
        return RestorationNetwork(blueprint.model("restoration"))

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        mse = F.mse_loss(outputs["restoration"].float(), targets["restoration"])
        return {"loss": mse, "mse": mse}

    def scores(self, outputs: dict[str, Tensor], views: Views) -> dict[str, Tensor]:
        target = views.targets["restoration"]
        return {"mse": cube_mse(outputs["restoration"], target), "mse_corrupted": cube_mse(views.inputs[0], target)}

    def finished(self, restoration: Tensor, views: Views) -> Tensor:
        """What a picture shows of a restoration; a method that asks for a part of it puts the rest around that."""
        return restoration

    def asked(self, kind: str) -> str:
        """What the error of a corruption's restoration is of, on the card."""
        return f"restoration after {kind}"

    def draw(self, network: nn.Module, batch: Batch, noise: Noise, path: Path) -> None:
        each = max(1, SHOWN // len(self.corruptions))
        some = Batch(batch.cubes[:each], None if batch.labels is None else batch.labels[:each])
        columns: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for kind in self.corruptions:
            views = self.views(some, noise(kind), kind)
            restored = self.finished(network(self.stages(1)[-1].name, *views.inputs)["restoration"], views)
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
        """Each corruption on its own, the worst restored first: their mean comes from those that destroy most."""
        left = f"for the corrupted {pieces} left as they are"
        kinds = evaluation["by_transformation"]
        worst_first = sorted(kinds, key=lambda kind: -kinds[kind]["mse"] / max(kinds[kind]["mse_corrupted"], 1e-12))
        rows = [(f"{self.asked(kind)}, mean squared error", kinds[kind], "mse") for kind in worst_first]
        if len(rows) > 1:
            rows.append(("restoration, mean of these", evaluation, ""))
        return [Result(name, values["mse"], values["mse_corrupted"], left, metric) for name, values, metric in rows]


def cube_mse(a: Tensor, b: Tensor) -> Tensor:
    """(N,) mean squared error of each cube."""
    return F.mse_loss(a.float(), b, reduction="none").flatten(1).mean(1)
