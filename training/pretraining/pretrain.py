"""Pre-training: the method of a recipe in the training loop.

    sg-hub pretrain RECIPE [key=value ...]
    torchrun --nproc-per-node 8 -m sg_hub pretrain RECIPE

Reads the store and what the method needs beside it; writes below `pretraining/` of the run what every training writes
(see loop.py), and `pretrain.json`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..methods.registry import method_of, resolve
from ..run.folder.lock import run_lock
from ..run.folder.record import record, recorded
from ..run.processes.process_group import process
from ..run.recipe import Recipe
from .inputs import open_inputs
from .loop import Trainer
from .published import FOLDER, MODEL
from .start import Start


def pretrain(recipe: Recipe, *, device: str = "auto", progress: bool = True, tensorboard: bool = False) -> Path:
    """Pre-train, from where the last run was stopped; returns the folder of the best weights.

    Raises:
        ReadError: an earlier step is missing, or a checkpoint of another recipe.
        InvalidInputError: settings or data that cannot be trained on, weights to start from that do not fit, or
            training that diverged.
    """
    recipe = resolve(recipe)
    method = method_of(recipe)
    folder = recipe.run_dir / FOLDER
    with run_lock(recipe.run_dir), process(device) as me:
        me.barrier()  # the first process may still be writing the table
        inputs = open_inputs(recipe, method, me, progress)
        start = Start(recipe, inputs.store) if recipe.pretrain.weights else None
        if start is not None:
            inputs = replace(inputs, start=start.sha256)
        begin = None if start is None else start.give
        trainer = Trainer(recipe, method, inputs, me, folder, begin=begin, progress=progress, tensorboard=tensorboard)
        advanced = trainer.run()
        if me.is_main and (advanced or recorded(recipe, "pretrain").get("epochs") != trainer.state.at.epoch):
            started = {} if start is None else {"started_from": start.said}
            record(recipe, "pretrain", **trainer.summary(), inputs=inputs.fingerprint, **started)
    return folder / MODEL
