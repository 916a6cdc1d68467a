"""Dense contrast: the same voxel in two views of a cube, told from all other voxels (vox2vec; SAM).

Two overlapping boxes of a cube, which has `context` for them, are displaced against one another, scaled in plane, and
altered in intensity each by itself. Features of a voxel are those of all levels of the decoder and of the deepest map
of the encoder, interpolated at its place and joined; a projection takes them to a unit vector. Of the vectors of a
batch the two of the same voxel are to be the nearest (InfoNCE, both ways). Tissue within `apart` of a voxel is neither.

The restoration of the published network is read from features that it does not change (no gradient goes further).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from ..run.pages import figures
from ..transforms.views import altered, cut, overlapping, sampled, shared_places
from .blueprint import Blueprint
from .info_nce import LEAST_TEMPERATURE, info_nce
from .protocol import Batch, Method, MethodSettings, Network, Noise, Result, Views

BIBTEX = """@inproceedings{goncharov2023vox2vec,
  author = {Goncharov, M. and Soboleva, V. and Kurmukov, A. and Pisov, M. and Belyaev, M.},
  title = {vox2vec: A Framework for Self-supervised Contrastive Learning of Voxel-Level Representations in Medical
    Images},
  booktitle = {Medical Image Computing and Computer Assisted Intervention (MICCAI)},
  year = {2023}
}

@article{yan2022sam,
  author = {Yan, K. and Cai, J. and Jin, D. and Miao, S. and Guo, D. and Harrison, A. P. and Tang, Y. and Xiao, J. and
    Lu, J. and Lu, L.},
  title = {SAM: Self-supervised Learning of Pixel-wise Anatomical Embeddings in Radiological Images},
  journal = {IEEE Transactions on Medical Imaging},
  year = {2022}
}"""
SHOWN = 5
"""Cubes in a picture."""


class DenseContrastSettings(MethodSettings):
    context: float = Field(default=1.5, ge=1)
    """Sides of the cube that views are cut from, over those of a view of scale 1."""
    scale: tuple[PositiveFloat, PositiveFloat] = (0.7, 1.4)
    """Range of a view's scale in plane; below 1 it is magnified."""
    overlap: float = Field(default=0.4, gt=0, le=1)
    """Least part of the smaller view's side, along each axis, that the other one shares."""
    voxels: PositiveInt = 64
    """Compared in each cube."""
    tissue: float = Field(default=0.03, ge=0, lt=1)
    """Intensity, over 4 voxels along each axis, above which there is something to tell apart."""
    dimension: PositiveInt = 64
    """Of the vectors."""
    temperature: float = Field(default=0.1, ge=LEAST_TEMPERATURE)
    """What similarities are divided by; the smaller, the more the most similar voxels count."""
    apart: float = Field(default=2.0, ge=0)
    """Voxels of the cube; what is nearer to a voxel is not told from it."""
    patterns: float = Field(default=0.0, ge=0, lt=1)
    """With semantics: weight of the voxels at the same place, up to `apart`, of other cubes of the pattern, as equals
    of a voxel. At 0 they are only not told from it. Wants `discover.resolutions = 1`: cubes of a random size are moved
    and scaled, so that the same place in them is another one."""
    nonlinear: float = Field(default=0.7, ge=0, le=1)
    """Largest share of a random monotone curve in a view's intensities."""
    blur: float = Field(default=0.5, ge=0)
    """Largest widening of the interpolation that cuts a view out, over one voxel."""
    noise: float = Field(default=0.03, ge=0)
    """Largest standard deviation of the noise."""
    painting: float = Field(default=0.3, ge=0, le=1)
    """Probability of a box of noise."""

    @model_validator(mode="after")
    def _views_fit(self) -> DenseContrastSettings:
        if not self.scale[0] <= self.scale[1] <= self.context:
            raise ValueError(f"scale={list(self.scale)}: expected the smaller first, and up to context={self.context}")
        return self


class DenseContrastNetwork(Network):
    """The vectors of the places that it is asked for, and the restoration."""

    def __init__(self, model: Any, dimension: int) -> None:
        super().__init__(model)
        joined = sum(model.decoder.channels)
        self.projection = nn.Sequential(
            nn.Linear(joined, joined), nn.LayerNorm(joined), nn.ReLU(), nn.Linear(joined, dimension)
        )

    def decode(self, features: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        return self.outputs(features, self.model.decoder.maps(features), *inputs)

    def outputs(self, features: list[Tensor], maps: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        """Of the levels of encoder and decoder."""
        joined = joined_at(maps, inputs[1])
        restoration = torch.sigmoid(self.model.restoration(maps[0].detach()))
        return {"vectors": F.normalize(self.projection(joined).float(), dim=-1), "restoration": restoration}


def joined_at(maps: list[Tensor], within: Tensor) -> Tensor:
    """(N, places, channels of all maps) at places (N, places, axes) in -1..1."""
    return torch.cat([sampled(each, within) for each in maps], dim=-1)


class DenseContrast(Method):
    name = "dense_contrast"
    title = "dense contrast"
    about = "The network finds each voxel of one view of a cube again in another, displaced, scaled and altered."
    gives = "a poor restoration: take its feature maps"
    source = "Goncharov et al., vox2vec, MICCAI 2023; Yan et al., SAM, IEEE TMI 2022"
    bibtex = BIBTEX
    corruptions = ("views",)
    picture = "similarity.png"
    Settings = DenseContrastSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.context = settings.context

    def network(self, blueprint: Blueprint) -> Network:
        return DenseContrastNetwork(blueprint.model("restoration"), self.settings.dimension)

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        cubes, size, own = batch.cubes, self.central(batch.cubes).shape[2:], self.settings
        corner, extent = overlapping(cubes, size, generator, scale=own.scale, overlap=own.overlap)
        place, within = shared_places(cubes, corner, extent, size, own.voxels, generator, tissue=own.tissue)
        width = 1 + own.blur * torch.rand(extent.shape, generator=generator, device=cubes.device)
        box = [each.flatten(0, 1) for each in (corner, extent, width)]
        clean = cut(torch.cat([cubes, cubes]), box[0], box[1], box[2], size).clamp_(0, 1)
        seen = altered(clean, generator, nonlinear=own.nonlinear, noise=own.noise, painting=own.painting)
        targets = {"place": place, "restoration": clean}
        if batch.labels is not None:
            targets["label"] = batch.labels
        return Views((seen, within.flatten(0, 1)), targets)

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        first, second = outputs["vectors"].flatten(0, 1).chunk(2)
        left_out, equals = self._pairs(targets)
        contrast = info_nce(first, second, self.settings.temperature, left_out, equals)
        mse = F.mse_loss(outputs["restoration"].float(), targets["restoration"])
        return {"loss": contrast + mse, "contrast": contrast, "mse": mse}

    def scores(self, outputs: dict[str, Tensor], views: Views) -> dict[str, Tensor]:
        """Share of a cube's voxels in the first view whose nearest, of those in the second, is the same one.

        `retrieval_by_place` is that of a guess that looks at nothing: the same place in both views.
        """
        first, second = outputs["vectors"].chunk(2)
        here, there = views.inputs[1].chunk(2)
        right = torch.arange(first.shape[1], device=first.device)
        found, guessed = (first @ second.mT).argmax(2), torch.cdist(here, there).argmin(2)
        shares = {"retrieval": found, "retrieval_by_place": guessed}
        return {name: (index == right).float().mean(1) for name, index in shares.items()}

    def examples(self, cubes: Tensor, noise: Noise) -> dict[str, Tensor]:
        first, second = self.views(Batch(cubes), noise("views")).inputs[0].chunk(2)
        return {"one view": first, "the other": second}

    def draw(self, network: nn.Module, batch: Batch, noise: Noise, path: Path) -> None:
        """A voxel of one view, circled, and how likely each of the other view's slice through it is the same one."""
        seen, within = self.views(Batch(batch.cubes[:SHOWN]), noise("views")).inputs
        shape, n = seen.shape[2:], len(seen) // 2
        plane = torch.cartesian_prod(*[(torch.arange(s, device=within.device) + 0.5) * 2 / s - 1 for s in shape[:2]])
        point = within[:, :1].expand(-1, len(plane), -1)
        slices = torch.cat([plane.expand(2 * n, -1, -1), point[..., 2:]], dim=-1)
        asked = torch.cat([point[:n], slices[n:]])
        one, other = network(self.stages(1)[-1].name, seen, asked)["vectors"].chunk(2)
        similar = (one * other).sum(-1) / self.settings.temperature
        likely = (similar - similar.amax(1, keepdim=True)).exp()
        off = ((slices - point)[..., :2] * point.new_tensor(shape[:2]) / 2).norm(dim=-1)
        shown = sampled(seen, slices)[..., 0].masked_fill((off - 2.5).abs() < 0.6, 1.0)
        as_slice = (n, 1, *shape[:2], *[1] * (len(shape) - 2))
        here, there = (each.reshape(as_slice) for each in shown.chunk(2))
        columns = {"one view": here, "the other": there, "where it is": likely.reshape(as_slice)}
        figures.transformations(batch.cubes[:SHOWN], columns, path)

    def report(self, means: dict[str, float]) -> dict[str, Any]:
        measured = ("contrast", "mse", "retrieval", "retrieval_by_place")
        return {name: means[f"{name} views"] for name in measured} | {"retrieval_chance": 1 / self.settings.voxels}

    def results(self, evaluation: dict[str, Any], pieces: str = "cubes") -> list[Result]:
        what = "pixel" if pieces == "patches" else "voxel"
        name = f"the same {what} found in another view, of {self.settings.voxels}"
        guess = "by the same place in both views"
        return [Result(name, evaluation["retrieval"], evaluation["retrieval_by_place"], guess, "accuracy")]

    def _pairs(self, targets: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """(N voxels, N voxels) which pairs do not count, and weights of those that are wanted, where these are more
        than each voxel with itself."""
        place, apart = targets["place"], self.settings.apart
        n, voxels = place.shape[:2]
        within = (torch.cdist(place, place) < apart) & ~torch.eye(voxels, dtype=torch.bool, device=place.device)
        here = torch.block_diag(*within)
        if "label" not in targets:
            return here, None
        label, place = targets["label"].repeat_interleave(voxels), place.flatten(0, 1)
        alike = (torch.cdist(place, place) < apart) & (label[:, None] == label)
        alike.fill_diagonal_(False)
        if not self.settings.patterns:
            return alike, None
        cube = torch.arange(n * voxels, device=place.device) // voxels
        equal = (alike & (cube[:, None] != cube)).float()
        weights = self.settings.patterns * equal / equal.sum(1, keepdim=True).clamp(min=1)
        return here, weights.diagonal_scatter(1 - weights.sum(1))
