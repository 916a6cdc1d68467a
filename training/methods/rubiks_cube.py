"""Rubik's cube: how the eighths of a cube were permuted and turned (Zhuang et al. 2019; "cube+": Zhu et al. 2020).

The publication cuts a volume into 2 x 2 x 2 sub-cubes with random gaps in between, as edges would tell which are
neighbours, puts them into one of K orders that differ as much as any, and turns some by half a turn about the
horizontal axis, the vertical one, or both. Branches of one network with shared weights see one sub-cube each; what they
find is joined, and tells the order (cross-entropy) and which sub-cubes were turned how. Both weigh a half. Rubik's
cube+ masks parts of sub-cubes as well, and asks which.

What differs here. The turn of a sub-cube is one class of all, not a flag for each axis: half a turn about any axis
keeps every shape. `quarter_turns` adds those that join sides of equal length: 8 turns in all where two sides are equal,
24 where all are. In 2D there are 2 x 2 tiles; half a turn in plane, or the four of a square. Gaps come from a larger
cube; intensities are 0..1. What a sub-cube's own branch finds counts for its turn once more by itself, with weights
that all sub-cubes share: from what is joined alone it is learnt much later. The masks (a box of half the sides, in half
of the sub-cubes) are our own. Nothing is restored, and what is published is the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError

from ..run.pages import figures
from ..transforms import sub_cubes
from ..transforms._common import moved
from ..transforms.boxes import inside, random_box
from .blueprint import Blueprint
from .protocol import Batch, Method, MethodSettings, Network, Noise, Result, Views

SHOWN = 5
"""Cubes in a picture."""
ASKED = {"permutation": "order of the parts", "rotation": "turn of each part"}


class RubiksCubeSettings(MethodSettings):
    permutations: int = Field(default=100, ge=2, le=1000)
    """Orders of the sub-cubes that are told apart; in 2D there are 24 at most."""
    quarter_turns: bool = False
    """Every turn that keeps the shape of a sub-cube, not half turns alone."""
    gap: float = Field(default=0.125, ge=0, le=1)
    """Largest gap between neighbours, as a share of the sides of both together."""
    masking: bool = False
    """Rubik's cube+: parts of some sub-cubes are masked, and which is asked, too."""


class RubiksCubeNetwork(Network):
    """The encoder, the same for all sub-cubes, and layers that see what it finds in all of them, or in one.

    Args:
        orders: of the sub-cubes.
        classes: of each sub-cube, for each question about it.
    """

    def __init__(self, model: Any, tiles: int, orders: int, classes: dict[str, int]) -> None:
        super().__init__(model)
        width = model.encoder.channels[-1]
        self.tiles, self.joined = tiles, nn.Sequential(nn.Linear(tiles * width, 2 * width), nn.ReLU())
        self.permutation = nn.Linear(2 * width, orders)
        self.of_all = nn.ModuleDict({name: nn.Linear(2 * width, tiles * count) for name, count in classes.items()})
        self.of_one = nn.ModuleDict({name: nn.Linear(width, count) for name, count in classes.items()})

    def decode(self, features: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        found = features[-1].flatten(2).mean(2).unflatten(0, (self.tiles, -1)).transpose(0, 1)
        joined = self.joined(found.flatten(1))
        parts = {name: of_one(found) for name, of_one in self.of_one.items()}
        parts = {name: own + self.of_all[name](joined).view_as(own) for name, own in parts.items()}
        return {"permutation": self.permutation(joined), **parts}


class RubiksCube(Method):
    name = "rubiks_cube"
    title = "Rubik's cube"
    about = "The network tells in which order the parts of a cube were put, and how each was turned."
    source = "Zhuang et al., MICCAI 2019; Rubik's cube+: Zhu et al., Medical Image Analysis 2020"
    takes_semantics = False
    corruptions = ("scrambled",)
    picture = "solved.png"
    Settings = RubiksCubeSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.context = 1 + settings.gap

    def network(self, blueprint: Blueprint) -> Network:
        model, size = blueprint.model("features"), blueprint.recipe.pretrain.size
        if min(size) < 2 * model.encoder.strides[-1]:
            raise InvalidInputError(
                f"pretrain.size={list(size)}: expected sides of at least {2 * model.encoder.strides[-1]}, of which "
                "method.name=rubiks_cube gives the network a half each"
            )
        orders, turns = self._tables([side // 2 for side in size])
        classes = {"rotation": len(turns)} | ({"masked": 1} if self.settings.masking else {})
        return RubiksCubeNetwork(model, 2 ** len(size), len(orders), classes)

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        cubes, device = batch.cubes, batch.cubes.device
        sides = [side // 2 for side in self.central(cubes).shape[2:]]
        orders, turns = (moved(table, device) for table in self._tables(sides))
        label = torch.randint(len(orders), (len(cubes),), generator=generator, device=device)
        turn = torch.randint(len(turns), (len(cubes), orders.shape[1]), generator=generator, device=device)
        parts = sub_cubes.scrambled(cubes, sides, orders[label], turns[turn], generator)
        targets = {"permutation": label, "rotation": turn}
        if self.settings.masking:
            masked = torch.rand(turn.shape, generator=generator, device=device) < 0.5
            half = [side // 2 for side in sides]
            box = inside(parts, *random_box(parts, half, half, generator))
            parts = parts.masked_fill(box & masked.T.reshape(-1, *[1] * (parts.ndim - 1)), 0)
            targets["masked"] = masked.float()[:, :, None]
        return Views((parts,), targets)

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = {
            "permutation_entropy": F.cross_entropy(outputs["permutation"].float(), targets["permutation"]),
            "rotation_entropy": F.cross_entropy(outputs["rotation"].float().mT, targets["rotation"]),
        }
        if "masked" in targets:
            entropy = F.binary_cross_entropy_with_logits(outputs["masked"].float(), targets["masked"])
            losses["masked_entropy"] = entropy
        return {"loss": torch.stack(list(losses.values())).mean(), **losses}

    def scores(self, outputs: dict[str, Tensor], views: Views) -> dict[str, Tensor]:
        """Accuracies: of the order, of the sub-cubes' turns, of which are masked."""
        right = {name: outputs[name].argmax(-1) == views.targets[name] for name in ASKED}
        if "masked" in views.targets:
            right["masked"] = (outputs["masked"] > 0) == (views.targets["masked"] > 0)
        return {f"accuracy_{name}": each.float().view(len(each), -1).mean(1) for name, each in right.items()}

    def examples(self, cubes: Tensor, noise: Noise) -> dict[str, Tensor]:
        return {"scrambled": sub_cubes.joined(self.views(Batch(cubes), noise("scrambled")).inputs[0], len(cubes))}

    def draw(self, network: nn.Module, batch: Batch, noise: Noise, path: Path) -> None:
        """Cubes, what the network sees of them, and how its answer puts them back."""
        some = batch.cubes[:SHOWN]
        (parts,) = self.views(Batch(some), noise("scrambled")).inputs
        answer = network(self.stages(1)[-1].name, parts)
        back = sub_cubes.joined(self.solved(parts, *(answer[name].argmax(-1) for name in ASKED)), len(some))
        figures.transformations(some, self.examples(some, noise) | {"put back": back}, path)

    def solved(self, parts: Tensor, permutation: Tensor, rotation: Tensor) -> Tensor:
        """The sub-cubes of `views` where and as they were, by these labels."""
        orders, turns = (table.to(parts.device) for table in self._tables(parts.shape[2:]))
        return sub_cubes.solved(parts, orders[permutation], turns[rotation])

    def evaluate(self, network: nn.Module, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        tables = self._tables([side // 2 for side in self.central(batch.cubes).shape[2:]])
        chance = {f"chance_{name}": torch.tensor(1 / len(table)) for name, table in zip(ASKED, tables, strict=True)}
        return chance | super().evaluate(network, batch, noise)

    def report(self, means: dict[str, float]) -> dict[str, Any]:
        masked = {"chance_masked": 0.5} if self.settings.masking else {}
        return masked | {name.removesuffix(" scrambled"): value for name, value in means.items()}

    def results(self, evaluation: dict[str, Any], pieces: str = "cubes") -> list[Result]:
        asked = ASKED | {"masked": "which parts are masked"}
        found = {name: evaluation[f"accuracy_{name}"] for name in asked if f"accuracy_{name}" in evaluation}
        return [
            Result(f"{asked[name]}, accuracy", value, evaluation[f"chance_{name}"], "by chance", "accuracy")
            for name, value in found.items()
        ]

    def _tables(self, sides: Sequence[int]) -> tuple[Tensor, Tensor]:
        orders = sub_cubes.distant_orders(2 ** len(sides), self.settings.permutations)
        return orders, sub_cubes.shape_keeping_turns(tuple(sides), self.settings.quarter_turns)
