"""What the weights can do for patients that discovery and pre-training never saw.

    sg-hub evaluate RECIPE [key=value ...]

Reads the store, the patterns table and the weights of the run as they are published (half precision); writes
`evaluation.json` and `restorations.png`. The rows are those of the split `test`, or of `validation` where the recipe
has no test patients (then early stopping has looked at them, and the card says so).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from sg_hub import from_pretrained
from sg_hub.errors import ReadError
from sg_hub.io.files import write_json
from sg_hub.models import SemanticGenesis

from .. import transforms
from ..data.prepare import store_path
from ..data.store import Store
from ..discovery.discover import table_path
from ..discovery.patterns import PatternDataset, PatternTable
from ..run import figures
from ..run.layout import to_device
from ..run.recipe import Recipe
from ..run.record import read_json
from ..run.seeds import generator
from .loop import corruption

KINDS = transforms.CHOICES
"""What a cube is corrupted by, each behind the elastic deformation, as in pre-training."""


def evaluate(recipe: Recipe, *, progress: bool = True) -> Path:
    """Measure pattern accuracy and restoration error; returns the file of the figures.

    Raises:
        ReadError: an earlier step is missing.
    """
    store = Store.open(store_path(recipe), cache_mib=recipe.pretrain.cache_mib)
    table = PatternTable.load(table_path(recipe))
    split = "test" if len(table.rows("test")) else "validation"
    rows = table.rows(split)
    if len(rows) == 0:
        raise ReadError("no patient is left for evaluation: name test or validation patients in the recipe's split")
    person = {patient.name: patient.person for patient in store.patients}
    model = published_model(recipe)
    sums = _measure(recipe, model, PatternDataset(table, store, rows, recipe.pretrain.size), progress)
    result = {
        "split": split,
        "patients": len({person[table.patients[p]] for p in table.patient[rows]}),
        "cubes": len(rows),
        "patterns": table.classes,
        "chance": 1 / table.classes,
        "top1": sums["top1"],
        "top1_corrupted": float(np.mean([sums[f"top1 {kind}"] for kind in KINDS])),
        "mse": float(np.mean([sums[f"mse {kind}"] for kind in KINDS])),
        "mse_corrupted": float(np.mean([sums[f"without {kind}"] for kind in KINDS])),
        "by_transformation": {
            kind: {"mse": sums[f"mse {kind}"], "mse_corrupted": sums[f"without {kind}"], "top1": sums[f"top1 {kind}"]}
            for kind in KINDS
        },
        "store": store.fingerprint,
        "sha256": model.load_report.sha256 if model.load_report else None,
    }
    path = recipe.run_dir / "evaluation.json"
    write_json(path, result)
    return path


def published_model(recipe: Recipe) -> SemanticGenesis:
    """The best weights of the run, rounded to half precision as `publish` writes them."""
    folder = recipe.run_dir / "pretraining" / "model"
    if not (folder / "model.safetensors").is_file():
        raise ReadError(f"{folder} is not there yet: run `sg-hub pretrain` first")
    with tempfile.TemporaryDirectory() as temporary:
        from_pretrained(folder).save_pretrained(temporary, half=True)
        return from_pretrained(temporary)


@torch.inference_mode()
def _measure(recipe: Recipe, model: SemanticGenesis, data: PatternDataset, progress: bool) -> dict[str, float]:
    """Means over all cubes: accuracy on clean and on corrupted cubes, error restored and left as it is."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    to_device(model, device, model.NDIM)
    sums: dict[str, float] = {}
    shown: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def add(key: str, value: Tensor) -> None:
        sums[key] = sums.get(key, 0.0) + float(value.double().sum())

    options = corruption(recipe.pretrain)
    order = np.random.default_rng(recipe.seed).permutation(len(data))
    batches = [
        order[i : i + recipe.pretrain.batch_size].tolist() for i in range(0, len(order), recipe.pretrain.batch_size)
    ]
    loader = DataLoader(data, batch_sampler=batches)
    for number, (cubes, labels) in enumerate(tqdm(loader, desc="evaluating", unit="batch", disable=not progress)):
        cubes, labels = cubes.to(device), labels.to(device)
        add("top1", model(cubes).pattern_logits.argmax(1) == labels)
        for kind in KINDS:
            noise = generator(device, recipe.seed, "evaluation", kind, number)
            corrupted = transforms.semantic_genesis(cubes, noise, choices=(kind,), **options)[0]
            output = model(corrupted)
            add(f"top1 {kind}", output.pattern_logits.argmax(1) == labels)
            add(f"mse {kind}", _mse(output.restoration, cubes))
            add(f"without {kind}", _mse(corrupted, cubes))
            shown.setdefault(kind, (cubes[:2], corrupted[:2], output.restoration[:2]))
    target, corrupted, restored = (torch.cat(parts) for parts in zip(*shown.values(), strict=True))
    names = [kind for kind in shown for _ in range(len(shown[kind][0]))]
    figures.restorations(target, corrupted, restored, recipe.run_dir / "restorations.png", names)
    return {key: value / len(data) for key, value in sums.items()}


def _mse(a: Tensor, b: Tensor) -> Tensor:
    """(N,) mean squared error of each cube."""
    return F.mse_loss(a, b, reduction="none").flatten(1).mean(1)


def read_evaluation(recipe: Recipe) -> dict[str, Any]:
    return read_json(recipe.run_dir / "evaluation.json", "evaluate")
