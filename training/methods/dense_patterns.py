"""Dense patterns: self-discovery and self-classification made dense.

Discovery (discovery/regions) cuts the tissue of some reference patients into regions, and bends every other patient
onto them, so that each voxel of everyone is of a region of each reference. From all levels of the encoder, and from
all of the decoder, a linear layer tells which region a voxel of a view is of; a region is known by where it is in the
reference and how bright, and those near it are right in part. Beside it the views are contrasted (dense_contrast.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from ..discovery.regions.references import References, in_mm, smoothed
from ..run.pages import figures
from ..transforms.views import sampled
from .blueprint import Blueprint
from .dense_contrast import SHOWN, DenseContrast, DenseContrastNetwork, DenseContrastSettings, joined_at
from .protocol import Batch, Network, Noise, Result, Views

PARTS = ("encoder", "decoder")
NOTHING_ALIKE = 1.0
"""Squared distance of features, of 4 at most, from which on a reference says nothing of a place."""


class DensePatternsSettings(DenseContrastSettings):
    patterns: float = Field(default=0.0, ge=0, le=0)
    """Of dense contrast with semantics; here always 0."""
    voxels: PositiveInt = 128
    """Compared and told in each cube."""
    soft: PositiveFloat = 6.0
    """mm over which the right region is softened: one whose middle is so much farther is right 0.6 times as much."""
    unlike: PositiveFloat = 0.2
    """Squared distance of features between a patient and a reference at which the region counts 0.4."""
    contrast: float = Field(default=1.0, ge=0)
    """Weight of the contrast of the two views."""


class DensePatternsNetwork(DenseContrastNetwork):
    """That of dense contrast, and the region of each place by its encoder and by its decoder."""

    middles: Tensor

    def __init__(self, model: Any, dimension: int, references: References, soft: float) -> None:
        super().__init__(model, dimension)
        self.scale, self.soft = references.scale, soft
        self.register_buffer("middles", torch.from_numpy(references.middles), persistent=False)
        count, regions = references.middles.shape[:2]
        channels = {"encoder": sum(model.encoder.channels), "decoder": sum(model.decoder.channels)}
        self.tell = nn.ModuleDict(
            {
                part: nn.Sequential(nn.BatchNorm1d(channels[part]), nn.Linear(channels[part], count * regions))
                for part in PARTS
            }
        )

    def outputs(self, features: list[Tensor], maps: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        found = super().outputs(features, maps, *inputs)
        if len(inputs) == 2:
            return found
        within, places, intensity = inputs[1:]
        count, regions = self.middles.shape[:2]
        for part, levels in zip(PARTS, (features, maps), strict=True):
            joined = joined_at(levels, within).flatten(0, 1)
            told = self.tell[part](joined).view(*within.shape[:2], count, regions)
            found[part] = told
            if not self.training:
                found[f"{part}_mm"] = self._middles_of(told.argmax(-1))
        return found | {"wanted": self._wanted(places, intensity)}

    def _middles_of(self, told: Tensor) -> Tensor:
        """(..., references, 3) mm: the middles of regions (..., references), each a number of its own reference's."""
        count = self.middles.shape[0]
        return self.middles[torch.arange(count, device=told.device), told, :3]

    @torch.no_grad()
    def _wanted(self, places: Tensor, intensity: Tensor) -> Tensor:
        """(N, places, references, regions): how right each region is."""
        value = in_mm(intensity, self.scale)[..., None, None].expand(*places.shape[:3], 1)
        points = torch.cat([places[..., :3], value], -1).float().flatten(0, 1).transpose(0, 1)
        squared = torch.cdist(points, self.middles.float()).square()
        return (-squared / (2 * self.soft**2)).softmax(-1).transpose(0, 1).view(*places.shape[:3], -1)


class DensePatterns(DenseContrast):
    name = "dense_patterns"
    title = "dense patterns"
    about = (
        "The scans are bent onto some reference patients, whose tissue is cut into regions; the network tells which "
        "region each voxel of a view is of, from its encoder and from its decoder, and finds the voxel again in "
        "another view."
    )
    needs = "regions"
    takes_semantics = False
    picture = "regions-found.png"
    Settings = DensePatternsSettings

    def network(self, blueprint: Blueprint) -> Network:
        assert blueprint.regions is not None, "the method needs them"
        model = blueprint.model("restoration")
        return DensePatternsNetwork(model, self.settings.dimension, blueprint.regions, self.settings.soft)

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        views = super().views(Batch(batch.cubes), generator, corruption)
        if batch.labels is None:
            return views
        place = views.targets["place"]
        within = 2 * place / place.new_tensor(batch.cubes.shape[2:]) - 1
        places, intensity = self._described(batch, within)
        both = (torch.cat([places, places]), torch.cat([intensity, intensity]))
        weight = self._weight(both[0][..., 3])
        return Views((*views.inputs, *both), views.targets | {"weight": weight, "mm": both[0][..., :3]})

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        found = super().losses(outputs, targets)
        loss = found["mse"] + self.settings.contrast * found["contrast"]
        weight = targets["weight"]
        for part in PARTS:
            right = -(outputs["wanted"] * outputs[part].float().log_softmax(-1)).sum(-1)
            found[part] = (right * weight).sum() / weight.sum().clamp(min=1)
            loss = loss + found[part]
        return found | {"loss": loss}

    def scores(self, outputs: dict[str, Tensor], views: Views) -> dict[str, Tensor]:
        """Beside those of dense contrast, of each cube: in which share of the places the right region is found by each
        part, where the references are like it; and how many mm the place is from the middle of the region found."""
        found = super().scores(outputs, views)
        weight = views.targets["weight"]
        right = outputs["wanted"].argmax(-1)
        for part in PARTS:
            told = outputs[part].argmax(-1)
            off = (outputs[f"{part}_mm"] - views.targets["mm"]).norm(dim=-1)
            for name, value in (("region", (told == right).float()), ("off", off)):
                found[f"{name}_{part}"] = _mean_of_cubes(value, weight)
        return found

    def draw(self, network: nn.Module, batch: Batch, noise: Noise, path: Path) -> None:
        """Of some cubes the middle slice, its regions of the first reference in colours, and those that are found."""
        batch = Batch(*(part[:SHOWN] for part in batch if part is not None))
        seen = self.central(batch.cubes)
        x, y, z = seen.shape[2:]
        axes = [(torch.arange(side, device=seen.device) + 0.5) * 2 / side - 1 for side in (x, y)]
        middle = torch.full((1,), (2 * (z // 2) + 1) / z - 1, device=seen.device)
        plane = torch.cartesian_prod(*axes, middle).expand(len(seen), -1, -1)
        inner, outer = plane.new_tensor(seen.shape[2:]), plane.new_tensor(batch.cubes.shape[2:])
        first = ((outer - inner) / 2).floor()  # as `central` takes it
        places, intensity = self._described(batch, (first + (plane + 1) / 2 * inner) * 2 / outer - 1)
        outputs = network(self.stages(1)[-1].name, seen, plane.contiguous(), places, intensity)
        alike = self._weight(places[..., 0, 3:])
        rows = []
        for number in range(len(seen)):
            row = {"cube": seen[number, 0, :, :, z // 2]}
            for name, key in (("its regions", "wanted"), ("by the encoder", "encoder"), ("by the decoder", "decoder")):
                colour = _colours(outputs[key][number, :, 0].argmax(-1))
                row[name] = (colour * alike[number]).view(x, y, 3)
            rows.append({name: values.float().cpu().numpy() for name, values in row.items()})
        figures.planes(rows, path)

    def report(self, means: dict[str, float]) -> dict[str, Any]:
        measured = [f"{name}_{part}" for name in ("region", "off") for part in PARTS]
        return super().report(means) | {name: means[f"{name} views"] for name in measured}

    def results(self, evaluation: dict[str, Any], pieces: str = "cubes") -> list[Result]:
        rows = super().results(evaluation, pieces)
        for part in PARTS:
            rows.append(
                Result(f"the region of a voxel, by the {part}", evaluation[f"region_{part}"], metric="accuracy")
            )
            rows.append(Result(f"mm between a voxel and the region found by the {part}", evaluation[f"off_{part}"]))
        return rows

    def _weight(self, unlike: Tensor) -> Tensor:
        """What counts of places, by the squared distance of their features from the reference's: nothing where these
        have hardly anything in common."""
        return (-unlike / self.settings.unlike).exp() * (unlike < NOTHING_ALIKE)

    def _described(self, batch: Batch, within: Tensor) -> tuple[Tensor, Tensor]:
        """Of places (N, places, 3) in cubes, -1..1: where they lie in the references and how unlike it is there, (N,
        places, references, 4), and their intensity (N, places) in 0..1."""
        assert batch.labels is not None, "of regions"
        places = sampled(batch.labels.flatten(1, 2), within).unflatten(-1, batch.labels.shape[1:3])
        return places, sampled(smoothed(batch.cubes[:, :1])[:, None], within)[..., 0]


def _mean_of_cubes(values: Tensor, weight: Tensor) -> Tensor:
    """(N,): the weighted mean of (2 N, places, references), of both views of each cube; where nothing counts that of
    all cubes."""
    summed, weights = (one.flatten(1).sum(1).view(2, -1).sum(0) for one in (values * weight, weight))
    return torch.where(weights < 1, summed.sum() / weights.sum().clamp(min=1), summed / weights.clamp(min=1))


def _colours(regions: Tensor) -> Tensor:
    """(n, 3) in 0..1: a region has the same colour everywhere."""
    random = torch.rand(1 << 15, 3, generator=torch.Generator().manual_seed(0))
    return 0.15 + 0.85 * random.to(regions.device)[regions]
