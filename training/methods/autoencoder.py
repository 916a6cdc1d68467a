"""The autoencoder: a scan from itself, through the deepest feature map alone (paper, Sec. 2 and Table 2).

Without skip connections: with them the deepest map would carry nothing. On whole scans its features say which patients
look alike (`sg-hub autoencode`); on patches it is the paper's baseline.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from sg_hub.models import PretrainedModel

from ..run.pages import figures
from .blueprint import Blueprint
from .protocol import Batch, Method, MethodSettings, Network, Noise, Result, Views


class AutoencoderSettings(MethodSettings):
    whole: bool = False
    """Whole scans (or images), resized to pretrain.size, instead of patches."""

    @model_validator(mode="after")
    def _whole_scans_have_no_patterns(self) -> AutoencoderSettings:
        if self.whole and self.semantics:
            raise ValueError("whole = true with semantics = true: patterns are of patches; give one of the two")
        return self


class AutoencoderNetwork(Network):
    """The encoder of the model, which is what is kept, and a decoder without skip connections."""

    def __init__(self, model: PretrainedModel, blueprint: Blueprint) -> None:
        super().__init__(model)
        self.decoder: Any = model.build_decoder(skips=False)
        convolution: Any = nn.Conv3d if blueprint.ndim == 3 else nn.Conv2d
        self.output: nn.Module = convolution(self.decoder.out_chans, blueprint.in_chans, kernel_size=1)

    def decode(self, features: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        return {"restoration": torch.sigmoid(self.output(self.decoder(features)))}


class Autoencoder(Method):
    name = "autoencoder"
    title = "an autoencoder"
    about = "The network restores cubes from the deepest feature map of its encoder, without skip connections."
    picture = "reconstructions.png"
    Settings = AutoencoderSettings
    corruptions = ("clean",)

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.needs = "scans" if settings.whole else "patches"

    def network(self, blueprint: Blueprint) -> Network:
        return AutoencoderNetwork(blueprint.model("features"), blueprint)

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        cubes = batch.cubes
        if corruption is None:  # in training half of the cubes are mirrored, left and right
            mirrored = torch.rand(len(cubes), generator=generator, device=cubes.device) < 0.5
            left_right = -1 if cubes.ndim == 4 else 2
            cubes = torch.where(mirrored.view(-1, *[1] * (cubes.ndim - 1)), cubes.flip(left_right), cubes)
        return Views((cubes,), {"restoration": cubes})

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        mse = F.mse_loss(outputs["restoration"].float(), targets["restoration"])
        return {"loss": mse, "mse": mse}

    def draw(self, network: nn.Module, batch: Batch, noise: Noise, path: Path) -> None:
        restored = network(self.name, batch.cubes)["restoration"]
        figures.reconstructions(batch.cubes, restored, path)

    def report(self, means: dict[str, float]) -> dict[str, Any]:
        return {"mse": means["mse clean"]}

    def results(self, evaluation: dict[str, Any], pieces: str = "cubes") -> list[Result]:
        return [Result(f"restoration of {pieces}, mean squared error", evaluation["mse"], metric="mse")]
