"""The autoencoder whose latent features say which patients look alike (paper, Sec. 2, self-discovery).

    sg-hub autoencode RECIPE [key=value ...]

Whole scans (or images), resized to one size; encoder and decoder of the network without skip connections, mean
squared error. A patient's feature is the average over space of the deepest feature map. Reads the store, writes
`autoencoder/features.npz` (patients, features) and the picture `autoencoder/reconstructions.png`.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from sg_hub.errors import ReadError
from sg_hub.models.unet2d import Decoder2D, Encoder2D
from sg_hub.models.unet3d import Decoder3D, Encoder3D

from ..data.prepare import store_path
from ..data.store import Store
from ..run.checkpoint import load_checkpoint, save_checkpoint
from ..run.figures import reconstructions
from ..run.layout import layout, to_device
from ..run.metrics import Metrics
from ..run.process_group import Process, process
from ..run.recipe import Recipe
from ..run.record import record
from ..run.seeds import generator, permutation
from .patterns import resize

FOLDER = "autoencoder"


class Autoencoder(nn.Module):
    """Encoder and decoder of the recipe's network without skip connections. (N, C, spatial...) in 0..1 to the same."""

    def __init__(self, in_chans: int, recipe: Recipe) -> None:
        super().__init__()
        model = recipe.model
        if model.ndim == 3:
            self.encoder: Any = Encoder3D(in_chans, recipe.autoencode.width or model.width, norm="batch")
            self.decoder: Any = Decoder3D(self.encoder.channels, norm="batch", skips=False)
            self.output: nn.Module = nn.Conv3d(self.decoder.out_chans, in_chans, kernel_size=1)
        else:
            self.encoder = Encoder2D(model.encoder, in_chans)
            self.decoder = Decoder2D(self.encoder.channels, self.encoder.strides, model.decoder_width, skips=False)
            self.output = nn.Conv2d(self.decoder.out_chans, in_chans, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.output(self.decoder(self.encoder(x))))

    def features(self, x: Tensor) -> Tensor:
        """(N, channels): average over space of the deepest feature map."""
        return self.encoder(x)[-1].flatten(2).mean(2)


def autoencode(recipe: Recipe, *, progress: bool = True) -> Path:
    """Train the autoencoder on the train patients and write the features of all; returns the features' file.

    Resumes at the last finished epoch. Runs under torchrun.

    Raises:
        ReadError: no store yet, or a checkpoint of another recipe.
    """
    folder = recipe.run_dir / FOLDER
    done = folder / "features.npz"
    with process() as me:
        me.barrier()  # the first process may still be writing the store
        store = Store.open(store_path(recipe))
        determined_by = f"{store.fingerprint} {recipe.autoencode!r} {recipe.model!r} {recipe.seed}"
        if _read(done).get("determined_by") == determined_by:
            return done
        if me.is_main:
            _whole_scans(store, recipe, folder, progress)
        me.barrier()
        scans = np.load(folder / "whole.npy", mmap_mode="r")
        torch.manual_seed(recipe.seed)
        model = Autoencoder(scans.shape[1], recipe)
        to_device(model, me.device, store.ndim)
        train = [i for i, patient in enumerate(store.patients) if patient.split == "train"]
        if not train:
            raise ReadError("the store has no train patients: see the recipe's split and split_names")
        _train(recipe, me, model, scans, train, folder, determined_by, progress)
        if me.is_main:
            features = _features(model, scans, me)
            reconstructions(model, scans, train, folder / "reconstructions.png")
            with open(folder / ".features.npz", "wb") as file:
                np.savez(file, patients=store.names(), features=features, determined_by=determined_by)
            (folder / ".features.npz").replace(done)
            record(recipe, "autoencode", patients=len(train), store=store.fingerprint)
            (folder / "whole.npy").unlink()  # as large as the resized data set, and quick to make again
            (folder / "checkpoint.pt").unlink(missing_ok=True)
        me.barrier()
    return done


def load_features(recipe: Recipe, store: Store) -> np.ndarray:
    """(patients, features) in the order of the store's patients."""
    path = recipe.run_dir / FOLDER / "features.npz"
    if not path.is_file():
        raise ReadError(f"{path} is not there yet: run `sg-hub autoencode` first")
    saved = _read(path)
    if not str(saved.get("determined_by", "")).startswith(store.fingerprint):
        raise ReadError(f"{path} is damaged or of another store: run `sg-hub autoencode` again")
    return saved["features"]


def _read(path: Path) -> dict[str, Any]:
    """What is in a file of features; nothing where it is missing or damaged."""
    try:
        with np.load(path) as saved:
            return {key: saved[key] if saved[key].ndim else str(saved[key]) for key in saved}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return {}


def _whole_scans(store: Store, recipe: Recipe, folder: Path, progress: bool) -> None:
    """Every scan resized to one size, on disk: (patients, C, spatial...) in half precision, 0..1."""
    folder.mkdir(parents=True, exist_ok=True)
    channels = store.patients[0].channels
    shape = (len(store.patients), channels, *recipe.autoencode.size)
    resized = np.lib.format.open_memmap(folder / "whole.npy", "w+", np.float16, shape)
    names = tqdm(store.names(), desc="resizing scans", unit="scan", disable=not progress)
    low, high = store.window
    for i, name in enumerate(names):
        scan = torch.from_numpy(store.whole(name)).float()[None]
        scan = resize((scan - low) / (high - low), recipe.autoencode.size)
        resized[i] = scan[0].clamp(0, 1).numpy()
    resized.flush()


def _train(
    recipe: Recipe,
    me: Process,
    model: Autoencoder,
    scans: np.ndarray,
    train: list[int],
    folder: Path,
    determined_by: str,
    progress: bool,
) -> None:
    settings = recipe.autoencode
    network = me.wrap(model)
    left_right = -1 if recipe.model.ndim == 2 else 2
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    metrics = Metrics(folder / "metrics.jsonl", enabled=me.is_main)
    state = load_checkpoint(folder / "checkpoint.pt", determined_by)
    first = 0
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["epoch"]
    metrics.truncate(state["metrics"] if state else 0)
    per_process = max(1, settings.batch_size // me.world)
    bar = tqdm(
        range(first, settings.epochs),
        initial=first,
        total=settings.epochs,
        desc="autoencoder",
        unit="epoch",
        disable=not (progress and me.is_main),
    )
    for epoch in bar:
        model.train()
        order = permutation(len(train), recipe.seed, "autoencode", epoch)
        mine = order[me.rank :: me.world][: len(train) // me.world] if me.world > 1 else order
        total, flips = 0.0, generator("cpu", recipe.seed, "autoencode flips", epoch, me.rank)
        batches = [mine[i : i + per_process] for i in range(0, len(mine), per_process)]
        batches = [batch for batch in batches if len(batch) > 1 or len(batches) == 1]
        for batch in batches:
            chosen = np.sort(np.asarray(train)[batch])
            x = torch.from_numpy(scans[chosen]).float()
            if torch.rand((), generator=flips) < 0.5:
                x = x.flip(left_right)
            x = x.to(me.device, memory_format=layout(recipe.model.ndim))
            with torch.autocast(me.device.type, torch.bfloat16, enabled=recipe.pretrain.precision == "bfloat16"):
                restored = network(x)
            loss = F.mse_loss(restored.float(), x)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item()
        schedule.step()
        metrics.write(stage="autoencode", epoch=epoch, mse=total / len(batches), lr=schedule.get_last_lr()[0])
        bar.set_postfix(mse=f"{total / len(batches):.5f}")
        if me.is_main:
            save_checkpoint(
                folder / "checkpoint.pt",
                {
                    "determined_by": determined_by,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "epoch": epoch + 1,
                    "metrics": metrics.position(),
                },
            )


@torch.inference_mode()
def _features(model: Autoencoder, scans: np.ndarray, me: Process) -> np.ndarray:
    model.eval()
    rows = []
    for i in range(len(scans)):
        x = torch.from_numpy(np.array(scans[i : i + 1])).float()
        rows.append(model.features(x.to(me.device, memory_format=layout(x.ndim - 2)))[0].cpu().numpy())
    return np.stack(rows)
