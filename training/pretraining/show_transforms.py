"""The figure of everything that the method does to real cubes (the paper's Fig. 5).

    sg-hub transforms RECIPE [key=value ...]

Reads the store and what the method needs beside it; writes `transforms.png`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..methods.registry import method_of, resolve
from ..run.pages import figures
from ..run.processes.process_group import Process
from ..run.recipe import Recipe
from ..run.seeds import generator
from .inputs import open_inputs


def show_transforms(recipe: Recipe) -> Path:
    """Draw five cubes and everything that may happen to them; returns the picture's path."""
    recipe = resolve(recipe)
    method = method_of(recipe)
    data = open_inputs(recipe, method, Process(0, 1, torch.device("cpu"))).data["train"]
    cubes = torch.stack([data[item][0] for item in data.spread(5)])
    path = recipe.run_dir / "transforms.png"
    results = method.examples(cubes, lambda kind: generator("cpu", recipe.seed, "figure", kind))
    figures.transformations(cubes, results, path)
    return path
