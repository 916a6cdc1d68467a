"""Self-classification alone (paper, Table 2): which of the discovered patterns a corrupted cube is of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .blueprint import Blueprint
from .protocol import Batch, Method, Network, Noise, Result, Views
from .restoration import Restoration, RestorationSettings
from .with_semantics import (
    BIBTEX,
    SOURCE,
    TERMS,
    pattern_losses,
    pattern_report,
    pattern_results,
    pattern_scores,
    pattern_target,
)


class ClassificationNetwork(Network):
    """The encoder and the classifier at its end."""

    def decode(self, features: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        return {"pattern_logits": self.model.classifier(features[-1])}


class SelfClassification(Method):
    name = "self_classification"
    title = "self-discovery and self-classification"
    about = "The network tells which discovered anatomical pattern a corrupted cube is of."
    source, bibtex, terms = SOURCE, BIBTEX, TERMS
    needs = "patterns"
    takes_semantics = False
    Settings = RestorationSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.restoration = Restoration(settings)
        """Corrupts the cubes, as in the first stage of Semantic Genesis."""
        self.corruptions = self.restoration.corruptions

    def network(self, blueprint: Blueprint) -> Network:
        return ClassificationNetwork(blueprint.model("classification", blueprint.patterns))

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        corrupted = self.restoration.views(batch, generator, corruption).inputs
        return Views(corrupted, pattern_target(batch, corrupted[0]))

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        return pattern_losses(outputs, targets)

    def scores(self, outputs: dict[str, Tensor], views: Views) -> dict[str, Tensor]:
        return pattern_scores(outputs, views.targets)

    def examples(self, cubes: Tensor, noise: Noise) -> dict[str, Tensor]:
        return self.restoration.examples(cubes, noise)

    def evaluate(self, network: nn.Module, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        clean = pattern_scores(network(self.name, batch.cubes), pattern_target(batch, batch.cubes))
        return clean | super().evaluate(network, batch, noise)

    def report(self, means: dict[str, float]) -> dict[str, Any]:
        return pattern_report(means, self.corruptions)

    def results(self, evaluation: dict[str, Any], pieces: str = "cubes") -> list[Result]:
        return pattern_results(evaluation, pieces)
