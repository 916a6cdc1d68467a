"""Random crops of the store, beside numpy's memory maps and nibabel; and what of a training step is not the network."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import torch

from training.data.prepare import prepare
from training.data.store import Store
from training.demo.demo import SAMPLES
from training.discovery.cubes import RandomCubes
from training.methods.blueprint import Blueprint
from training.methods.protocol import Batch
from training.methods.registry import method_of, resolve
from training.run.layout import layout, to_device
from training.run.precision import autocast
from training.run.recipe import Recipe
from training.run.recipe_file import load_recipe

from ..measuring import Row, alternately, compared, threads

CROP = (32, 32, 16)
CROPS = 200
CT = SAMPLES / "openkbp" / "ct"


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        recipe = load_recipe(
            "demo",
            [f"source={CT}", f"run={folder}/run", "prepare.workers=1", "model.width=8", "pretrain.batch_size=32"],
        )
        prepare(recipe, progress=False)
        url = str(Path(folder) / "run" / "store.zarr")
        return _crops(Path(folder), url) + _step(recipe, url)


def _crops(folder: Path, url: str) -> list[Row]:
    store = Store.open(url)
    names = [name for name in store.names() if all(a >= b for a, b in zip(store.shape(name), CROP, strict=True))]
    for name in names:
        scan = store.whole(name)
        np.save(folder / f"{name}.npy", scan)
        nibabel.save(nibabel.Nifti1Image(scan[0], np.eye(4)), folder / f"{name}.nii")
        nibabel.save(nibabel.Nifti1Image(scan[0], np.eye(4)), folder / f"{name}.nii.gz")
    cached = Store.open(url, cache_mib=1024)
    for name in names:
        cached.whole(name)

    def mapped(name: str, place: tuple[slice, ...]) -> np.ndarray:
        return np.array(np.load(folder / f"{name}.npy", mmap_mode="r")[(slice(None), *place)])

    def unpacked(suffix: str) -> Callable[[str, tuple[slice, ...]], np.ndarray]:
        return lambda name, place: np.asarray(nibabel.load(folder / f"{name}{suffix}").dataobj[place])  # type: ignore[attr-defined]

    readers = {
        "ours": lambda name, place: store.crop(name, [s.start for s in place], CROP),
        "ours, scans in memory": lambda name, place: cached.crop(name, [s.start for s in place], CROP),
        "numpy memory maps": mapped,
        "nibabel, .nii": unpacked(".nii"),
        "nibabel, .nii.gz": unpacked(".nii.gz"),
    }
    rng = np.random.default_rng(0)
    places = []
    for name in itertools.islice(itertools.cycle(names), CROPS):
        corner = [int(rng.integers(0, side - own + 1)) for side, own in zip(store.shape(name), CROP, strict=True)]
        places.append((name, tuple(slice(c, c + own) for c, own in zip(corner, CROP, strict=True))))
    for name, place in places[:5]:
        crops = [np.squeeze(reader(name, place)) for reader in readers.values()]
        assert all(np.array_equal(crops[0], crop) for crop in crops)

    def all_of(reader: Callable[[str, tuple[slice, ...]], np.ndarray]) -> Callable[[], object]:
        return lambda: [reader(name, place) for name, place in places]

    with threads(1) as clock:
        taken = alternately({name: all_of(reader) for name, reader in readers.items()}, clock, 3)
    cached_times = taken.pop("ours, scans in memory")
    maps = {"ours": cached_times, "numpy memory maps": taken["numpy memory maps"]}
    scale = 1000 / CROPS
    size = sum(path.stat().st_size for path in Path(url).rglob("*") if path.is_file()) / 1e6
    kinds = {kind: sum(path.stat().st_size for path in folder.glob(f"*{kind}")) / 1e6 for kind in (".npy", ".nii.gz")}
    what = f"crop of {' x '.join(map(str, CROP))}, one core"
    rows = compared(f"{what}, by chunk (a data set larger than the cache)", "ms", taken, scale)
    cached_rows = compared(f"{what}, scans in the cache", "ms", maps, scale)
    disk = [Row("store on disk", size, "MB", kind, other, size / other) for kind, other in kinds.items()]
    return [*rows, *cached_rows, *disk]


def _step(recipe: Recipe, url: str) -> list[Row]:
    """Parts of a pre-training step at width 8: reading, transforming, the network."""
    recipe = resolve(recipe)
    store = Store.open(url, cache_mib=1024)
    settings, method = recipe.pretrain, method_of(recipe)
    data = RandomCubes(store, "train", recipe.discover, settings.size, recipe.seed, settings.batch_size)
    for name in store.names():
        store.whole(name)
    network = method.network(Blueprint(recipe, store, 4))
    to_device(network, "cpu", 3)
    optimizer = torch.optim.Adam(network.parameters())
    noise = torch.Generator().manual_seed(0)
    cubes = torch.stack([data[i][0] for i in range(settings.batch_size)])
    batch = Batch(cubes, torch.zeros(len(cubes), dtype=torch.long))

    def learn() -> None:
        views = method.views(batch, noise)
        inputs = [view.contiguous(memory_format=layout(3)) for view in views.inputs]
        with autocast(torch.device("cpu"), settings.precision, settings.size, 8):
            outputs = network(method.name, *inputs)
        loss = torch.stack([value.float() for value in method.losses(outputs, views.targets).values()]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    with threads(1) as clock:
        taken = alternately(
            {
                "whole step": learn,
                "read": lambda: [data[i] for i in range(settings.batch_size)],
                "transform": lambda: method.views(batch, noise),
            },
            clock,
            3,
        )
    step, read, transform = (sorted(taken[name])[1] for name in ("whole step", "read", "transform"))
    what = (
        f"width 8, {settings.batch_size} cubes of {' x '.join(map(str, settings.size))}, {settings.precision}, one core"
    )
    return [
        Row(f"pre-training step, {what}", 1000 * step, "ms"),
        Row("of it transformations", 100 * transform / step, "%", goal="with reading below 5"),
        Row("reading its cubes, beside it", 100 * read / step, "%", goal="below 50"),
    ]
