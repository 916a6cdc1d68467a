"""Whole scans (or images) of one size, for the autoencoder: resized once, onto the disk."""

from __future__ import annotations

import io
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sg_hub.io.files import writing_path

from ..data.store import Store
from ..run.processes.process_group import Process
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


def resize_scans(store: Store, size: Size, path: Path, me: Process, progress: bool = False) -> None:
    """Write every scan of the store, resized: (patients, C, *size) in half precision, 0..1. Each process writes its
    share of them into the one file.

    Raises:
        ReadError: it cannot be written. A full disk ends a process that writes to it through the memory.
    """
    head, kind = io.BytesIO(), np.dtype(np.float16)
    shape = (len(store.items), store.items[0].channels, *size)
    np.lib.format.write_array_header_1_0(
        head, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    )
    row = math.prod(shape[1:]) * kind.itemsize
    if me.is_main:
        path.parent.mkdir(parents=True, exist_ok=True)
    with writing_path(path) if me.is_main else nullcontext() as own:
        if own is not None:
            own.write_bytes(head.getvalue())
        whole = me.told(own)
        assert whole is not None, "the first process has made it"
        with open(whole, "r+b") as file:
            mine = range(me.rank, len(store.items), me.world)
            for number in tqdm(mine, desc="resizing scans", unit="scan", disable=not (progress and me.is_main)):
                scan = to_network(store.whole(store.items[number].name), store.window, size)
                file.seek(len(head.getvalue()) + number * row)
                file.write(scan.numpy().astype(kind).tobytes())
        me.barrier()
    me.barrier()  # it is in its place
