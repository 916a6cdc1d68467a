"""The figure of every transformation on real cubes (the paper's Fig. 5).

    sg-hub transforms RECIPE [key=value ...]

Reads the store and the patterns table; writes `transforms.png`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from .. import transforms
from ..data.prepare import store_path
from ..data.store import Store
from ..discovery.discover import table_path
from ..discovery.patterns import PatternDataset, PatternTable
from ..run import figures
from ..run.recipe import Recipe
from ..run.seeds import generator
from .loop import corruption


def show_transforms(recipe: Recipe, count: int = 5) -> Path:
    """Draw `count` cubes of different patterns and everything that may happen to them; returns the picture's path."""
    store = Store.open(store_path(recipe))
    table = PatternTable.load(table_path(recipe))
    rows = table.rows("train")
    base = rows[table.resolution[rows] == 0]
    _, first = np.unique(table.pattern[base], return_index=True)
    spread = np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int)
    data = PatternDataset(table, store, base[first[spread]], recipe.pretrain.size)
    cubes = torch.stack([data[i][0] for i in range(len(data))])
    kinds = ("elastic", "nonlinear", "local_shuffle", "in_paint", "out_paint")
    chosen = corruption(recipe.pretrain)
    options = {
        "elastic": {"alpha": chosen["alpha"], "sigma": chosen["sigma"]},
        "local_shuffle": {"windows": chosen["windows"]},
    }
    results = {
        kind: getattr(transforms, kind)(cubes, generator("cpu", recipe.seed, "figure", kind), **options.get(kind, {}))
        for kind in kinds
    }
    noise = generator("cpu", recipe.seed, "figure", "all")
    results["all together"] = transforms.semantic_genesis(cubes, noise, **chosen)[0]
    path = recipe.run_dir / "transforms.png"
    figures.transformations(cubes, results, path)
    return path
