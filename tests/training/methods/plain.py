"""Networks without a store, cubes that can be restored, and a few steps of training: for the tests of the methods."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sg_hub import SemanticGenesis2D, SemanticGenesis3D
from tests.training.conftest import small_images, small_recipe
from tests.training.transforms.random_cubes import seeded
from training.methods.blueprint import Blueprint
from training.methods.protocol import Batch, Method
from training.methods.registry import build


class PlainBlueprint(Blueprint):
    """Of the small recipes, in 3D or 2D, without data."""

    def model(self, head: str, num_classes: int | None = None) -> Any:
        torch.manual_seed(0)
        if self.semantics:
            head, num_classes = "pretext", self.patterns
        classes = {} if num_classes is None else {"num_classes": num_classes}
        if self.ndim == 2:
            return SemanticGenesis2D(encoder="lcnet_035", decoder_width=2, head=head, **classes)
        return SemanticGenesis3D(width=2, norm="batch", head=head, **classes)


def blueprint(ndim: int) -> Blueprint:
    recipe = small_recipe(Path("run")) if ndim == 3 else small_images(Path("run"))
    return PlainBlueprint(recipe, None, patterns=3)  # type: ignore[arg-type]


def smooth(count: int, *shape: int) -> Tensor:
    """(count, 1, *shape) in 0..1, in which neighbours are alike."""
    coarse = torch.rand(count, 1, *(max(2, side // 8) for side in shape), generator=seeded(3))
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    return F.interpolate(coarse, size=shape, mode=mode, align_corners=True)


def trained(method: Method, network: nn.Module, cubes: Tensor, steps: int = 30, lr: float = 0.01) -> list[float]:
    """The loss of one fixed draw before and after a few steps on others."""
    batch, stage = Batch(cubes), method.stages(1)[-1].name
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)

    def loss(seed: int) -> Tensor:
        views = method.views(batch, seeded(seed))
        return method.losses(network(stage, *views.inputs), views.targets)["loss"]

    network.train()
    with torch.no_grad():
        before = float(loss(1000))
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).backward()
        optimizer.step()
    with torch.no_grad():
        return [before, float(loss(1000))]


def reads_no_value(work: Callable[[], object]) -> None:
    """Do something with tensors that have no values: whatever would wait for a device to read one fails."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        work()


def trained_parts(section: dict[str, Any], cubes: Tensor) -> dict[str, set[str]]:
    """Of a method with semantics: which parts of the model each of its stages sends gradients to."""
    method = build(section | {"semantics": True})
    network = method.network(blueprint(cubes.ndim - 2)).train()
    batch = Batch(cubes, torch.arange(len(cubes)) % 3)
    reached = {}
    for stage in method.stages(1):
        network.zero_grad()
        views = method.views(batch, seeded())
        method.losses(network(stage.name, *views.inputs), views.targets)["loss"].backward()
        named = network.model.named_parameters()
        reached[stage.name] = {name.partition(".")[0] for name, value in named if value.grad is not None}
    return reached
