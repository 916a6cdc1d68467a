"""In-painting: hidden regions of a cube from what is around them (context encoders, Pathak et al. 2016), in 2D and 3D.

The publication hides the middle of an image (half of each side) or random blocks, which may overlap and cover up to a
quarter, fills them with the mean, and minimises the squared error there. What is predicted reaches beyond what is
hidden (7 of 128 pixels on each side), and errors in that overlap weigh ten times. An adversarial loss has a weight of
0.001; representations were learnt by restoration alone.

What differs here. The network is the paper's U-Net with skip connections, in place of a bottleneck: nothing hidden
reaches them, but the overlap can be copied. The mean is that of the cube's visible voxels. Random blocks have an
overlap, too. A discriminator (of the cube with its hidden voxels restored) trains in the same step and at the same
rate, not in turns at a tenth of it.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor, nn
from torch.func import functional_call

from sg_hub.models.unet import CONVOLUTION

from ..transforms.boxes import inside, middle, random_box
from .blueprint import Blueprint
from .protocol import Batch, MethodSettings, Network, Views
from .restoring import RestorationNetwork, Restoring


class InPaintingSettings(MethodSettings):
    region: Literal["central", "random"] = "random"
    """What is hidden: the middle half of each side, or random blocks."""
    blocks: PositiveInt = 8
    """Random blocks drawn for each cube; those with which too much would be hidden are left out."""
    sides: tuple[float, float] = (0.2, 0.4)
    """Range of a random block's sides, as shares of the cube's."""
    cover: float = Field(default=0.25, gt=0, lt=1)
    """Largest share of a cube that random blocks hide."""
    overlap: float = Field(default=7 / 128, ge=0, lt=0.5)
    """Width of the visible border around what is hidden that is predicted, too, as a share of the cube's sides."""
    overlap_weight: NonNegativeFloat = 10.0
    """Weight of an error in that border."""
    adversarial: float = Field(default=0.0, ge=0, lt=1)
    """Weight of the adversarial loss, the rest being restoration's; 0.001 in the publication."""

    @model_validator(mode="after")
    def _a_block_fits(self) -> InPaintingSettings:
        low, high = self.sides
        if not 0 < low <= high or high**2 > self.cover:
            raise ValueError(f"sides={[low, high]}: expected the smaller first, and a square within cover={self.cover}")
        return self


class InPaintingNetwork(RestorationNetwork):
    """Encoder and decoder and, where the loss is adversarial, what tells restored cubes from real ones."""

    def __init__(self, model: Any, adversarial: bool) -> None:
        super().__init__(model)
        if adversarial:
            self.discriminator = _discriminator(model.in_chans, model.encoder.channels[0], CONVOLUTION[model.NDIM])

    def decode(self, features: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        outputs = super().decode(features)
        if len(inputs) == 1:
            return outputs
        _, cubes, hidden = inputs
        restored = torch.where(hidden, outputs["restoration"].float(), cubes)
        # The discriminator learns from restorations that are as they are, the restoration from a discriminator that is.
        frozen = {key: value.detach() for key, value in self.discriminator.named_parameters()}
        with torch.autocast(cubes.device.type, enabled=False):  # its maps are too small for bfloat16: run/precision.py
            return outputs | {
                "real_logits": self.discriminator(cubes),
                "restored_logits": self.discriminator(restored.detach()),
                "judged_logits": functional_call(self.discriminator, frozen, (restored,)),
            }


class InPainting(Restoring):
    name = "in_painting"
    title = "in-painting"
    about = (
        "The network restores hidden regions of cubes from what is around them; the rest of its output is arbitrary."
    )
    source = "Pathak et al., Context Encoders: Feature Learning by Inpainting, CVPR 2016"
    corruptions = ("hidden",)
    Settings = InPaintingSettings

    def network(self, blueprint: Blueprint) -> Network:
        return InPaintingNetwork(blueprint.model("restoration"), self.settings.adversarial > 0)

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        cubes = batch.cubes
        hidden, predicted = self._regions(cubes, generator)
        axes = tuple(range(2, cubes.ndim))
        mean = (cubes * ~hidden).sum(axes, keepdim=True) / (~hidden).sum(axes, keepdim=True)
        weight = hidden + self.settings.overlap_weight * (predicted & ~hidden)
        judged = (cubes, hidden) if self.settings.adversarial else ()
        return Views(
            (torch.where(hidden, mean, cubes), *judged), {"restoration": cubes, "hidden": hidden, "weight": weight}
        )

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        squared = (outputs["restoration"].float() - targets["restoration"]).square().mean(1, keepdim=True)
        loss = (squared * targets["weight"]).sum() / (targets["weight"] > 0).sum()
        losses = {"loss": loss, "mse": _hidden_mse(outputs["restoration"], targets).mean()}
        if "judged_logits" not in outputs:
            return losses
        # softplus(-x) is the cross-entropy of a logit that should say real, softplus(x) of one that should not.
        telling = (F.softplus(-outputs["real_logits"]).mean() + F.softplus(outputs["restored_logits"]).mean()) / 2
        fooling = F.softplus(-outputs["judged_logits"]).mean()
        share = self.settings.adversarial
        # The discriminator's loss has its gradient here, but no value: the best epoch is the best restoration's.
        loss = (1 - share) * loss + share * fooling + telling - telling.detach()
        return losses | {"loss": loss, "fooling": fooling, "telling": telling}

    def scores(self, outputs: dict[str, Tensor], views: Views) -> dict[str, Tensor]:
        """Of the hidden voxels alone; `mse_corrupted` is that of the mean of the visible ones."""
        found = {"mse": outputs["restoration"], "mse_corrupted": views.inputs[0]}
        return {name: _hidden_mse(restoration, views.targets) for name, restoration in found.items()}

    def finished(self, restoration: Tensor, views: Views) -> Tensor:
        return torch.where(views.targets["hidden"], restoration.float(), views.targets["restoration"])

    def asked(self, kind: str) -> str:
        return "restoration of hidden voxels"

    def _regions(self, cubes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """What is hidden of each cube, and what is predicted: that and its border, (N, 1, spatial...) bool each."""
        shape, central = cubes.shape[2:], self.settings.region == "central"
        border = [round(self.settings.overlap * side) for side in shape]
        low, high = ([max(1, int(share * side)) for side in shape] for share in self.settings.sides)
        hidden = predicted = torch.zeros_like(cubes[:, :1], dtype=torch.bool)
        for _ in range(1 if central else self.settings.blocks):
            corner, size = middle(cubes) if central else random_box(cubes, low, high, generator)
            more, wider = hidden | inside(cubes, corner, size), predicted | inside(cubes, corner, size, border)
            fits = more.flatten(1).float().mean(1).le(1 if central else self.settings.cover)
            fits = fits.view(-1, *[1] * (cubes.ndim - 1))
            hidden, predicted = torch.where(fits, more, hidden), torch.where(fits, wider, predicted)
        return hidden, predicted


def _hidden_mse(restoration: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """(N,) mean squared error of each cube's hidden voxels."""
    squared = (restoration.float() - targets["restoration"]).square().mean(1, keepdim=True)
    return (squared * targets["hidden"]).flatten(1).sum(1) / targets["hidden"].flatten(1).sum(1)


def _discriminator(in_chans: int, width: int, convolution: Any) -> nn.Module:
    """A logit of each part of a cube, above 0 where it looks real; nothing in it depends on the other cubes."""
    layers: list[nn.Module] = []
    for out in (width, 2 * width, 4 * width, 8 * width):
        layers += [convolution(in_chans, out, 3, stride=2, padding=1), nn.GroupNorm(1, out), nn.LeakyReLU(0.2)]
        in_chans = out
    return nn.Sequential(*layers, convolution(in_chans, 1, 1))
