"""What the weights can do for patients that discovery and pre-training never saw.

    sg-hub evaluate RECIPE [key=value ...]

Reads the store, what the method needs beside it, and the weights of the run as they are published (half precision);
the method says what is measured. Writes `evaluation.json` and the method's picture. The cubes are those of the split
`test`, or of `validation` where the recipe has no test patients (then early stopping has looked at them, and the card
says so).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.files import write_json
from sg_hub.models import PretrainedModel

from ..discovery.cubes import Cubes
from ..methods.protocol import Method
from ..methods.registry import method_of, resolve, settings_then
from ..run.folder.checksums import sealed
from ..run.folder.record import read_json
from ..run.layout import to_device
from ..run.processes.process_group import Process, training_device
from ..run.recipe import Recipe
from ..run.seeds import generator
from . import published
from .inputs import OF_RANDOM_CUBES, Reader, check_trained_on, open_inputs
from .published import FOLDER


def evaluate(recipe: Recipe, *, device: str = "auto", progress: bool = True) -> Path:
    """Measure what the method says; returns the file of the figures.

    Raises:
        ReadError: an earlier step is missing, or no patients are left to evaluate on.
        InvalidInputError: the weights were trained with other settings, or on another store or other patterns.
    """
    recipe = resolve(recipe)
    method, me = method_of(recipe), Process(0, 1, training_device(device))
    cubes = [f"discover.{key}" for key in OF_RANDOM_CUBES] if method.needs in ("patches", "regions") else []
    if then := settings_then(recipe, "pretrain", "model", "method", "pretrain.size", *cubes):
        raise InvalidInputError(
            f"the weights were trained with other settings than the recipe's ({then}): set them back, or run "
            "`sg-hub pretrain` in another run=FOLDER"
        )
    inputs = open_inputs(recipe, method, me, progress)
    split = "test" if len(inputs.data["test"]) else "validation"
    data = inputs.data[split]
    if len(data) == 0:
        raise ReadError("no patient is left for evaluation: name test or validation patients in the recipe's split")
    model = published_model(recipe)
    check_trained_on(recipe, model.provenance, inputs.store, inputs.fingerprint)
    network = published.load_network(method, inputs.blueprint(recipe), model, recipe.run_dir / FOLDER)
    means = _measure(recipe, method, network, data, me, progress)
    patterns = {"patterns": inputs.patterns, "chance": 1 / inputs.patterns} if inputs.patterns else {}
    result = {
        "split": split,
        "patients": data.patient_count(),
        "cubes": len(data),
        **patterns,
        **method.report(means),
        "store": inputs.store.fingerprint,
        "sha256": model.load_report.sha256 if model.load_report else None,
    }
    path = recipe.run_dir / "evaluation.json"
    write_json(path, sealed(result))
    return path


def published_model(recipe: Recipe) -> PretrainedModel:
    """The best weights of the run, rounded to half precision as `publish` writes them.

    Raises:
        ReadError: there are none yet.
    """
    return published.published_model(recipe.run_dir / FOLDER)


def read_evaluation(recipe: Recipe) -> dict[str, Any]:
    return read_json(recipe.run_dir / "evaluation.json", "evaluate")


@torch.inference_mode()
def _measure(
    recipe: Recipe, method: Method, network: nn.Module, data: Cubes, me: Process, progress: bool
) -> dict[str, float]:
    """Means over all cubes, in an order in which each batch holds many kinds."""
    to_device(network, me.device, recipe.model.ndim)
    sums: dict[str, float] = {}
    size = recipe.pretrain.batch_size
    order = np.random.default_rng(recipe.seed).permutation(len(data))
    batches = [order[i : i + size].tolist() for i in range(0, len(order), size)]
    reader = Reader(data, recipe.pretrain.model_copy(update={"workers": 0}), me)
    bar = tqdm(reader.read(batches), total=len(batches), desc="evaluating", unit="batch", disable=not progress)
    for number, batch in enumerate(bar):

        def noise(kind: str, number: int = number) -> torch.Generator:
            return generator(me.device, recipe.seed, "evaluation", kind, number)

        for key, value in method.evaluate(network, batch, noise).items():
            sums[key] = sums.get(key, 0.0) + float(value.double().mean()) * len(batch.cubes)  # of whatever many views
        if number == 0:
            method.draw(network, batch, noise, recipe.run_dir / method.picture)
    return {key: value / len(data) for key, value in sums.items()}
