"""What a pre-training method is: everything that the loop, the evaluation, the pictures and the cards ask.

A method is one file in this folder, named as the recipe names it (`[method] name = "rotation"` is `rotation.py`), or a
class in a package of one's own, announced in its pyproject.toml:

    [project.entry-points."sg_hub.methods"]
    rotation = "my_package.rotation:Rotation"

A complete one, which learns by how many quarter turns in plane a random cube was rotated (Gidaris et al. 2018):

    import torch
    import torch.nn.functional as F
    from sg_hub.training.methods.protocol import Batch, Blueprint, Method, MethodSettings, Network, Views


    class RotationNetwork(Network):
        def decode(self, features, *inputs):
            return {"turn_logits": self.model.classifier(features[-1])}


    class Rotation(Method):
        name = "rotation"
        title = "rotation prediction"
        about = "The network tells by how many quarter turns in plane a cube was rotated."
        needs = "patches"
        takes_semantics = False  # it restores nothing

        class Settings(MethodSettings):
            turns: int = 4

        def network(self, blueprint: Blueprint) -> Network:
            return RotationNetwork(blueprint.model("classification", self.settings.turns))

        def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
            n, device = len(batch.cubes), batch.cubes.device
            turn = torch.randint(self.settings.turns, (n,), generator=generator, device=device)
            turned = torch.stack([batch.cubes.rot90(k, (2, 3)) for k in range(self.settings.turns)])
            return Views((turned[turn, torch.arange(n, device=device)],), {"turn": turn})

        def losses(self, outputs, targets):
            return {"loss": F.cross_entropy(outputs["turn_logits"].float(), targets["turn"])}

        def scores(self, outputs, views):
            return {"top1": (outputs["turn_logits"].argmax(1) == views.targets["turn"]).float()}

(In a checkout `sg_hub.training` is the folder `training`: the same import is right in both.) `sg-hub pretrain RECIPE
'method={ name = "rotation" }'` trains it. Patches are square in plane here; everything else has defaults below.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sg_hub.models import PretrainedModel

from ..run.pages import figures
from ..run.settings import Section
from .blueprint import Blueprint

Needs = Literal["scans", "patches", "patterns", "regions"]
"""What a method trains on: whole scans of one size, random patches, patches of the discovered patterns, or random
patches whose voxels are of discovered regions."""
Noise = Callable[[str], torch.Generator]
"""The generator of one corruption of a batch: the same name, the same draws."""


class MethodSettings(Section):
    """The recipe's section `[method]`; a method adds its own keys, with their defaults."""

    name: str
    """The method's."""
    semantics: bool = False
    """Patches of the discovered patterns, and a branch that classifies them (see with_semantics.py)."""


class Batch(NamedTuple):
    """What the data set gives."""

    cubes: Tensor
    """(N, C, spatial...) float32 in 0..1: patches, or whole scans."""
    labels: Tensor | None = None
    """What was discovered of each patch: (N,) int64 its pattern; or (N, references, 4, cells...), where it lies in the
    references of regions (see discovery/regions/alignments.py); absent where a method needs neither."""


class Views(NamedTuple):
    """A batch as the network sees it, and what it is to find."""

    inputs: tuple[Tensor, ...]
    """What the network's `encode` and `decode` get. Several views of one cube are stacked along N: first of all cubes
    the first, then of all the second."""
    targets: dict[str, Tensor]


@dataclass(frozen=True)
class Stage:
    """A part of the training, with a loss of its own. Early stopping ends the last one alone."""

    name: str
    epochs: int
    parts: tuple[str, ...] = field(default=())
    """Names of the network's parts that train, such as `model.encoder`; none: all of it."""


class Network(nn.Module, ABC):
    """What is trained: a model of sg_hub, which is published, and what a method puts around it."""

    def __init__(self, model: PretrainedModel) -> None:
        super().__init__()
        self.model = model

    def encode(self, *inputs: Tensor) -> list[Tensor]:
        """Feature maps of the views, finest first."""
        return self.model.encoder(inputs[0])

    @abstractmethod
    def decode(self, features: list[Tensor], *inputs: Tensor) -> dict[str, Tensor]:
        """The outputs by name."""

    def forward(self, stage: str, *inputs: Tensor) -> dict[str, Tensor]:
        return self.decode(self.encode(*inputs), *inputs)


class Method(ABC):
    """One way of pre-training. It holds its settings and no state: a run is its network and its place in the data."""

    name: str
    """As the recipe names it."""
    title: str
    """In a heading."""
    about: str
    """One paragraph for the card: what the network learns from."""
    gives: str = ""
    """What its network's own output is, in a few words for the card; empty: what the head says."""
    source: str = ""
    """The publication."""
    bibtex: str = ""
    """The same as entries of BibTeX."""
    terms: str = ""
    """What whoever uses the method must know, such as patents that its publication declares."""
    needs: Needs = "patches"
    context: float = 1.0
    """Sides of the cubes that `views` gets, over those of the network's input: above 1 where views are cut from larger
    cubes."""
    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    takes_semantics: bool = True
    """Whether `semantics = true` makes sense."""
    semantic_references: ClassVar[dict[int, str]] = {}
    """`reference` with semantics, by the number of axes: where that is a publication of its own."""
    corruptions: tuple[str, ...] = ("corrupted",)
    """What the evaluation tells apart; each is one way of `views`."""
    picture: str = "views.png"
    """File name of what `draw` draws."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @abstractmethod
    def network(self, blueprint: Blueprint) -> Network:
        """The network, not yet trained; `blueprint.model(head, classes)` is a model of sg_hub as the recipe has it."""

    @abstractmethod
    def views(self, batch: Batch, generator: torch.Generator, corruption: str | None = None) -> Views:
        """What the network sees of a batch, on the batch's device; all randomness is the generator's.

        Args:
            corruption: one of `corruptions`; absent: whatever training shows.
        """

    @abstractmethod
    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scalars by name, for the metrics; `loss` is minimised. Outputs may be bfloat16: compute in float32."""

    def scores(self, outputs: dict[str, Tensor], views: Views) -> dict[str, Tensor]:
        """(N,) of each cube what validation and evaluation measure beside the losses."""
        return {}

    def stages(self, epochs: int) -> list[Stage]:
        """The stages in their order; `epochs` is the recipe's pretrain.epochs."""
        return [Stage(self.name, epochs)]

    def examples(self, cubes: Tensor, noise: Noise) -> dict[str, Tensor]:
        """For `sg-hub transforms`: what may happen to cubes (N, C, spatial...), each of the same shape, by name."""
        return {kind: self.views(Batch(cubes), noise(kind), kind).inputs[0][: len(cubes)] for kind in self.corruptions}

    def central(self, cubes: Tensor) -> Tensor:
        """Cubes without their context: the middle, of the size of the network's input."""
        for axis, side in enumerate(cubes.shape[2:], 2):
            inner = round(side / self.context)
            cubes = cubes.narrow(axis, (side - inner) // 2, inner)
        return cubes

    def draw(self, network: nn.Module, batch: Batch, noise: Noise, path: Path) -> None:
        """Draw what the network makes of a batch; here, what it sees of it."""
        cubes = batch.cubes[:5]
        figures.transformations(cubes, self.examples(cubes, noise), path)

    def evaluate(self, network: nn.Module, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """(N,) or scalar values of held-out cubes by name; the evaluation takes their means over all cubes."""
        values: dict[str, Tensor] = {}
        for kind in self.corruptions:
            views = self.views(batch, noise(kind), kind)
            outputs = network(self.stages(1)[-1].name, *views.inputs)
            measured = self.losses(outputs, views.targets) | self.scores(outputs, views)
            values |= {f"{name} {kind}": value for name, value in measured.items()}
        return values

    def report(self, means: dict[str, float]) -> dict[str, Any]:
        """What `evaluation.json` says of the means that `evaluate` led to."""
        return dict(means)

    def results(self, evaluation: dict[str, Any], pieces: str = "cubes") -> list[Result]:
        """The rows of the card's table of results, of what `evaluation.json` says; `pieces`: cubes or patches."""
        return [Result(name, value) for name, value in evaluation.items() if isinstance(value, float)]

    def reference(self, ndim: int) -> str:
        """Name of the shipped recipe with the settings of the publication; empty where there is none."""
        return ""

    def described(self) -> dict[str, Any]:
        """The settings that the card lists."""
        return self.settings.model_dump(mode="json", exclude={"name", "semantics"})


class Result(NamedTuple):
    """A row of a card's results."""

    name: str
    value: float
    compare: float | None = None
    """What it is to be held against."""
    compared: str = ""
    """What that is: `by chance`, `the corrupted cube left as it is`."""
    metric: str = ""
    """As model indexes name it: `accuracy`, `mse`; empty: it stays out of them. Each row is a target of its own there,
    so its name must say what was asked."""
