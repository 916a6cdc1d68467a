"""Whole scans (or images) of one size, for the autoencoder: resized once, onto the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sg_hub.io.files import writing

from ..data.store import Store
from ..run.recipe import Size
from .cubes import Cubes, to_network


class WholeScans(Cubes):
    """The whole scans of a split: ((C, *size) float32 in 0..1,).

    Args:
        path: what `resize_scans` wrote, for all patients of the store.
        split: absent: all patients.
    """

    def __init__(self, store: Store, path: Path, split: str | None = None) -> None:
        self.path, self.store = path, store
        self.names = store.names(split)
        self.rows = [i for i, patient in enumerate(store.patients) if split in (None, patient.split)]
        self._scans: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor]:
        if self._scans is None:  # opened by the process that reads
            self._scans = np.load(self.path, mmap_mode="r")
        return (torch.from_numpy(np.array(self._scans[self.rows[index]])).float(),)

    def describe(self, index: int) -> str:
        return self.names[index]

    def patient_count(self) -> int:
        return len({self.store.items[i].patient for i in self.rows})


def resize_scans(store: Store, size: Size, path: Path, progress: bool) -> None:
    """Write every scan of the store, resized: (patients, C, *size) in half precision, 0..1.

    Raises:
        ReadError: it cannot be written. A full disk ends a process that writes to it through the memory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (len(store.items), store.items[0].channels, *size)
    head = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
    with writing(path) as file:
        np.lib.format.write_array_header_1_0(file, head)
        for name in tqdm(store.names(), desc="resizing scans", unit="scan", disable=not progress):
            file.write(to_network(store.whole(name), store.window, size).numpy().astype(np.float16).tobytes())
