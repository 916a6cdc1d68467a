"""Semantics added to a method (paper, Sec. 2 and Fig. 2): cubes of discovered patterns, and a branch that tells them
apart.

`semantics = true` in `[method]` wraps any method that restores something. First the classification branch trains
alone, then everything, with lambda_rec * the method's own loss + lambda_cls * cross-entropy. Semantic Genesis is
self-restoration with semantics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, create_model
from torch import Tensor, nn

from sg_hub.models import PretrainedModel

from .blueprint import Blueprint
from .protocol import Batch, Method, MethodSettings, Network, Noise, Result, Stage, Views

SOURCE = (
    "F. Haghighi, M. R. Hosseinzadeh Taher, Z. Zhou, M. B. Gotway, J. Liang. Learning Semantics-enriched "
    "Representation via Self-discovery, Self-classification, and Self-restoration. MICCAI 2020 (Semantic Genesis)"
)
BIBTEX = """@inproceedings{haghighi2020learning,
  author = {Haghighi, F. and Hosseinzadeh Taher, M. R. and Zhou, Z. and Gotway, M. B. and Liang, J.},
  title = {Learning Semantics-enriched Representation via Self-discovery, Self-classification, and Self-restoration},
  booktitle = {Medical Image Computing and Computer Assisted Intervention (MICCAI)},
  year = {2020}
}"""
TERMS = "The paper of Semantic Genesis declares patents pending on the method."
FIRST = "classification"
"""Name of the stage that trains the classification branch alone."""


class SemanticsSettings(MethodSettings):
    classification_epochs: NonNegativeInt = 20
    """Epochs of the classification branch alone."""
    lambda_rec: float = Field(default=1.0, ge=0)
    """Weight of the method's own loss."""
    lambda_cls: float = Field(default=0.01, ge=0)
    """Weight of the classification of the patterns."""


def settings_with(inner: type[MethodSettings]) -> type[MethodSettings]:
    """The settings of a method together with those of its semantics."""
    return create_model(f"Semantic{inner.__name__}", __base__=(SemanticsSettings, inner))


class SemanticNetwork(Network):
    """A method's network and, at the end of its encoder, the classification of the patterns."""

    def __init__(self, inner: Network) -> None:
        nn.Module.__init__(self)
        self.inner = inner

    @property
    def model(self) -> PretrainedModel:  # type: ignore[override]
        return self.inner.model

    def encode(self, *inputs: Tensor) -> list[Tensor]:
        return self.inner.encode(*inputs)

    def decode(self, features: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        return self.inner.decode(features, *inputs)

    def forward(self, stage: str, *inputs: Tensor) -> dict[str, Tensor]:
        features = self.encode(*inputs)
        outputs = {"pattern_logits": self.model.classifier(features[-1])}
        return outputs if stage == FIRST else outputs | self.decode(features, *inputs)


class WithSemantics(Method):
    needs = "patterns"
    takes_semantics = False

    def __init__(self, inner: Method) -> None:
        super().__init__(inner.settings)
        self.inner = inner
        self.name, self.terms = inner.name, " ".join(filter(None, (TERMS, inner.terms)))
        self.source = "; ".join(filter(None, (SOURCE, inner.source)))
        self.bibtex = "\n\n".join(filter(None, (BIBTEX, inner.bibtex)))
        self.title = f"self-discovery, self-classification and {inner.title}"
        self.about = f"The network tells which discovered anatomical pattern a cube is of. {inner.about}"
        self.corruptions, self.picture, self.context = inner.corruptions, inner.picture, inner.context

    def network(self, blueprint: Blueprint) -> Network:
        return SemanticNetwork(self.inner.network(replace(blueprint, semantics=True)))

    def stages(self, epochs: int) -> list[Stage]:
        branch = ("inner.model.encoder", "inner.model.classifier")
        stages = [replace(s, parts=_below("inner", s.parts)) for s in self.inner.stages(epochs)]
        if len(stages) == 1:
            stages = [replace(stages[0], name="joint")]
        return [Stage(FIRST, self.settings.classification_epochs, branch), *stages]

    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        views = self.inner.views(batch, generator, corruption)
        return Views(views.inputs, views.targets | pattern_target(batch, views.inputs[0]))

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = pattern_losses(outputs, targets)
        if outputs.keys() == {"pattern_logits"}:
            return losses
        own = self.inner.losses(outputs, targets)
        loss = self.settings.lambda_rec * own["loss"] + self.settings.lambda_cls * losses["cross_entropy"]
        return losses | own | {"loss": loss}

    def scores(self, outputs: dict[str, Tensor], views: Views) -> dict[str, Tensor]:
        own = {} if outputs.keys() == {"pattern_logits"} else self.inner.scores(outputs, views)
        return own | pattern_scores(outputs, views.targets)

    def examples(self, cubes: Tensor, noise: Noise) -> dict[str, Tensor]:
        return self.inner.examples(cubes, noise)

    def draw(self, network: Any, batch: Batch, noise: Noise, path: Path) -> None:
        self.inner.draw(network.inner, batch, noise, path)

    def evaluate(self, network: nn.Module, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        clean = Views((self.central(batch.cubes),), pattern_target(batch, batch.cubes))
        outputs = network(FIRST, *clean.inputs)
        return pattern_scores(outputs, clean.targets) | super().evaluate(network, batch, noise)

    def report(self, means: dict[str, float]) -> dict[str, Any]:
        own = self.inner.report(means)
        for kind, values in own.get("by_transformation", {}).items():
            values["top1"] = means[f"top1 {kind}"]
        return pattern_report(means, self.corruptions) | own

    def results(self, evaluation: dict[str, Any], pieces: str = "cubes") -> list[Result]:
        return pattern_results(evaluation, pieces) + self.inner.results(evaluation, pieces)

    def reference(self, ndim: int) -> str:
        return self.inner.semantic_references.get(ndim, "")


def _below(name: str, parts: Sequence[str]) -> tuple[str, ...]:
    """Parts of the inner network, and the branch that a stage of it trains as well; none stays all."""
    return (*(f"{name}.{part}" for part in parts), f"{name}.model.classifier") if parts else ()


# What the classification of patterns is, alone (self_classification.py) as well as beside another method.


def pattern_target(batch: Batch, inputs: Tensor) -> dict[str, Tensor]:
    """The pattern of every view: of several views of a cube, each has that of the cube."""
    assert batch.labels is not None, "a method that needs patterns gets them"
    return {"pattern": batch.labels.repeat(len(inputs) // len(batch.labels))}


def pattern_losses(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    logits = outputs["pattern_logits"].float()
    entropy = F.cross_entropy(logits, targets["pattern"])
    top1 = (logits.argmax(1) == targets["pattern"]).float().mean()
    return {"loss": entropy, "cross_entropy": entropy, "top1": top1}


def pattern_scores(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"top1": (outputs["pattern_logits"].argmax(1) == targets["pattern"]).float()}


def pattern_report(means: dict[str, float], corruptions: Sequence[str]) -> dict[str, Any]:
    corrupted = [means[f"top1 {kind}"] for kind in corruptions]
    return {"top1": means["top1"], "top1_corrupted": sum(corrupted) / len(corrupted)}


def pattern_results(evaluation: dict[str, Any], pieces: str) -> list[Result]:
    over = f"top-1 accuracy over {evaluation['patterns']} patterns"
    return [
        Result(f"{over}, {kind} {pieces}", evaluation[key], evaluation["chance"], "by chance", "accuracy")
        for kind, key in (("clean", "top1"), ("corrupted", "top1_corrupted"))
    ]
