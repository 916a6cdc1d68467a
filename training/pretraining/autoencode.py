"""The autoencoder whose latent features say which patients look alike (paper, Sec. 2, self-discovery).

    sg-hub autoencode RECIPE [key=value ...]

Whole scans (or images), resized to one size; the method `autoencoder` in the training loop, with the settings of
`[autoencode]`. A patient's feature is the average over space of the deepest feature map. Reads the store; writes below
`autoencoder/` of the run what every training writes, `features.npz` (patients, features) and `reconstructions.png`.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from sg_hub import from_pretrained
from sg_hub.models import PretrainedModel

from ..data.prepare import open_store
from ..discovery.discover import check_patterns
from ..discovery.features import FOLDER, WHOLE, determined_by, features_path, read_features, save_features
from ..discovery.whole_scans import WholeScans
from ..methods.registry import method_of, resolve
from ..run.folder.checkpoint import remove_checkpoint
from ..run.folder.lock import run_lock
from ..run.folder.record import record, recorded
from ..run.layout import layout, to_device
from ..run.processes.process_group import Process, process
from ..run.recipe import MethodSection, Recipe
from .inputs import open_inputs
from .loop import Trainer
from .published import MODEL
from .state import CHECKPOINT


def autoencode(recipe: Recipe, *, device: str = "auto", progress: bool = True) -> Path:
    """Train the autoencoder on the train patients and write the features of all; returns the features' file.

    Resumes where it was stopped. Under torchrun the processes share the training and the features.

    Raises:
        ReadError: no store yet, or a checkpoint of another recipe.
        InvalidInputError: nothing to train on, fewer train patients than the recipe's patterns, or training that
            diverged.
    """
    done, folder = features_path(recipe), recipe.run_dir / FOLDER
    with run_lock(recipe.run_dir), process(device) as me:
        me.barrier()  # the first process may still be writing the store
        store = open_store(recipe)
        if method_of(recipe).needs == "patterns":  # said now, not after the autoencoder's hours
            check_patterns(recipe.discover.patterns, store)
        of = determined_by(recipe, store)
        there = read_features(done).get("determined_by") == of
        me.barrier()  # all have looked
        if not there:
            training = _of_the_autoencoder(recipe)
            method = method_of(training)
            inputs = open_inputs(training, method, me, progress)
            Trainer(training, method, inputs, me, folder, section="autoencode", progress=progress).run()
            scans = WholeScans(store, folder / WHOLE)
            features = _features(from_pretrained(folder / MODEL), scans, me)
            if me.is_main:
                save_features(done, store, features, of)
        if me.is_main and (not there or not recorded(recipe, "autoencode")):
            record(recipe, "autoencode", patients=len(store.names("train")), store=store.fingerprint)
        if me.is_main:
            (folder / WHOLE).unlink(missing_ok=True)  # as large as the resized data set, and quick to make again
            remove_checkpoint(folder / CHECKPOINT)
        me.barrier()
    return done


def _of_the_autoencoder(recipe: Recipe) -> Recipe:
    """The recipe of this training, in the terms of the loop."""
    settings = recipe.autoencode
    pretrain = recipe.pretrain.model_copy(
        update={
            "weights": "",
            "size": settings.size,
            "batch_size": settings.batch_size,
            "epochs": settings.epochs,
            "samples_per_epoch": None,
            "lr": settings.lr,
            "optimizer": "adam",
            "schedule": "cosine",
            "warmup": 0,
            "clip": 0.0,
            "average": 0.0,
            "patience": settings.epochs,
            "workers": 0,
            "batch_parts": recipe.pretrain.batch_parts and math.gcd(recipe.pretrain.batch_parts, settings.batch_size),
        }
    )
    model = recipe.model.model_copy(update={"width": settings.width or recipe.model.width, "norm": "batch"})
    method = MethodSection(name="autoencoder", whole=True)  # type: ignore[call-arg]
    return resolve(recipe.model_copy(update={"pretrain": pretrain, "model": model, "method": method}))


@torch.inference_mode()
def _features(model: PretrainedModel, scans: WholeScans, me: Process) -> np.ndarray:
    """(patients, channels): average over space of the deepest feature map; each process computes its share of them."""
    to_device(model, me.device, model.NDIM)
    features = np.zeros((len(scans), model.encoder.channels[-1]), np.float32)
    for i in range(me.rank, len(scans), me.world):
        x = scans[i][0][None].to(me.device, memory_format=layout(model.NDIM))
        features[i] = model.encoder(x)[-1].flatten(2).mean(2)[0].cpu().numpy()
    return me.sum(torch.from_numpy(features)).numpy()
