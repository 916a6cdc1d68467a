"""Masked restoration where nothing can be copied (SparK, Tian et al. 2023; MAE, He et al. 2022; on the paper's U-Net).

Blocks as large as a voxel of the deepest map, or a multiple, are taken out of a cube, and the loss is on their voxels
alone. What the network gets is 0 there. As in a sparse convolution, batch normalisation in the encoder counts visible
voxels and leaves the others empty, so that its statistics are those of whole tissue. Before the decoder, masked
places of every map, those of skip connections too, hold one learnt number for each channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from sg_hub.errors import InvalidInputError

from ..transforms.blocks import block_means, grid_of, mask_of, visible_blocks, voxels_of
from .blueprint import Blueprint
from .protocol import Batch, MethodSettings, Network, Result, Views
from .restoring import Restoring

LEAST_VARIANCE = 1e-4
"""Added to that of a block: below it there is noise alone (20 HU of a window of 2000)."""


class MaskedRestorationSettings(MethodSettings):
    ratio: float = Field(default=0.6, gt=0, lt=1)
    """Share of the blocks that are masked."""
    block: PositiveInt | None = Field(default=None, examples=[16])
    """Side of a block in voxels, a multiple of the encoder's largest stride; absent: 8 in 3D, 32 in 2D."""
    normalised: bool = False
    """Each block's voxels are asked for less its mean and over its deviation; the published network's own restoration
    then means nothing."""


class MaskedRestorationNetwork(Network):
    """Encoder and decoder of the model, and what a masked place of each map holds."""

    def __init__(self, model: Any, block: int, normalised: bool) -> None:
        super().__init__(model)
        self.block, self.normalised = block, normalised
        self.masked = nn.ParameterList([nn.Parameter(torch.zeros(channels)) for channels in model.encoder.channels])

    def encode(self, *inputs: Tensor) -> list[Tensor]:
        if len(inputs) == 1:  # a whole cube, for its pattern
            return super().encode(*inputs)
        with visible_alone(self.model.encoder, inputs[1], grid_of(inputs[0], self.block)):
            return super().encode(*inputs)

    def decode(self, features: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        hidden, axes = mask_of(inputs[1], grid_of(inputs[0], self.block)), inputs[0].ndim - 2
        filled = [
            torch.where(F.interpolate(hidden, each.shape[2:]) > 0, held.to(each).view(1, -1, *[1] * axes), each)
            for each, held in zip(features, self.masked, strict=True)
        ]
        found = self.model.restoration(self.model.decoder(filled))
        return {"restoration": found if self.normalised else torch.sigmoid(found)}


class MaskedRestoration(Restoring):
    name = "masked_restoration"
    title = "masked restoration"
    about = "The network restores the masked blocks of cubes, of which it sees the rest."
    source = "Tian et al., SparK, ICLR 2023; He et al., Masked Autoencoders, CVPR 2022"
    corruptions = ("masked",)
    Settings = MaskedRestorationSettings

    def network(self, blueprint: Blueprint) -> Network:
        model, size = blueprint.model("restoration"), blueprint.recipe.pretrain.size
        block, stride = self._block(blueprint.ndim), model.encoder.strides[-1]
        if block % stride or any(side % block for side in size) or math.prod(size) <= block**blueprint.ndim:
            raise InvalidInputError(
                f"method.block={block} with pretrain.size={list(size)}: expected a multiple of the encoder's largest "
                f"stride, {stride}, that divides every side, and more than one block"
            )
        each = next((m for m in model.encoder.modules() if isinstance(m, (_InstanceNorm, nn.GroupNorm))), None)
        if each is not None:  # its statistics would be of masked voxels, too
            raise InvalidInputError(
                f"an encoder with {type(each).__name__} for masked_restoration: expected batch normalisation, "
                "model.norm = 'batch' or 'batch_stats' of a 3D network"
            )
        return MaskedRestorationNetwork(model, block, self.settings.normalised)

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        cubes = batch.cubes
        grid = grid_of(cubes, self._block(cubes.ndim - 2))
        visible = visible_blocks(len(cubes), grid, self.settings.ratio, generator)
        masked = F.interpolate(mask_of(visible, grid), cubes.shape[2:])
        return Views((cubes * (1 - masked), visible), {"restoration": cubes, "masked": masked})

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        mse = self._error(outputs["restoration"], targets).mean()
        return {"loss": mse, "mse": mse}

    def scores(self, outputs: dict[str, Tensor], views: Views) -> dict[str, Tensor]:
        """`mse_corrupted` is of the trivial answer: the mean of what is visible; of a normalised block, its own."""
        targets, axes = views.targets, tuple(range(2, views.inputs[0].ndim))
        seen = (1 - targets["masked"]).sum(axes, keepdim=True)
        guess = torch.zeros_like(seen) if self.settings.normalised else views.inputs[0].sum(axes, keepdim=True) / seen
        restored, guessed = self._error(outputs["restoration"], targets), self._error(guess, targets)
        return {"mse": restored, "mse_corrupted": guessed}

    def finished(self, restoration: Tensor, views: Views) -> Tensor:
        target = views.targets["restoration"]
        if self.settings.normalised:
            mean, deviation = self._blocks(target)
            restoration = restoration * deviation + mean
        return torch.where(views.targets["masked"] > 0, restoration.to(target.dtype), target)

    def results(self, evaluation: dict[str, Any], pieces: str = "cubes") -> list[Result]:
        name = f"restoration of the masked part of {pieces}, mean squared error"
        guess = "for its own mean" if self.settings.normalised else "for the mean of the visible part"
        return [Result(name, evaluation["mse"], evaluation["mse_corrupted"], guess, "mse")]

    def _block(self, ndim: int) -> int:
        return self.settings.block or {2: 32, 3: 8}[ndim]

    def _error(self, restoration: Tensor, targets: dict[str, Tensor]) -> Tensor:
        """(N,) mean squared error over the masked voxels."""
        wanted = targets["restoration"]
        if self.settings.normalised:
            mean, deviation = self._blocks(wanted)
            wanted = (wanted - mean) / deviation
        masked = targets["masked"].expand_as(wanted)
        return ((restoration.float() - wanted).square() * masked).flatten(1).sum(1) / masked.flatten(1).sum(1)

    def _blocks(self, cubes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the block that each voxel lies in."""
        grid = grid_of(cubes, self._block(cubes.ndim - 2))
        mean, square = (F.interpolate(block_means(x, grid), cubes.shape[2:]) for x in (cubes, cubes.square()))
        return mean, (square - mean.square()).clamp(min=0).add(LEAST_VARIANCE).sqrt()


@contextmanager
def visible_alone(encoder: nn.Module, visible: Tensor, grid: Sequence[int]) -> Iterator[None]:
    """While it holds, batch normalisation sees the voxels of visible blocks, and leaves 0 in the others."""
    shapes: list[torch.Size] = []
    places: dict[torch.Size, Tensor] = {}

    def before(norm: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        (maps,) = inputs
        shapes.append(maps.shape)
        sides = maps.shape[2:]
        if sides not in places:
            places[sides] = voxels_of(visible, grid, sides)
        rows = maps.movedim(1, -1).flatten(0, -2).index_select(0, places[sides])
        return rows.view(1, -1, *[1] * (len(sides) - 1), rows.shape[1]).movedim(-1, 1)

    def after(norm: nn.Module, inputs: tuple[Tensor, ...], found: Tensor) -> Tensor:
        shape = shapes.pop()
        rows = found.movedim(1, -1).flatten(0, -2)
        empty = rows.new_zeros(shape.numel() // shape[1], shape[1])
        return empty.index_copy(0, places[shape[2:]], rows).view(shape[0], *shape[2:], shape[1]).movedim(-1, 1)

    norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
    handles = [norm.register_forward_pre_hook(before) for norm in norms]
    handles += [norm.register_forward_hook(after) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
