"""What many scans cost, and how the cost grows with patients, patterns, resolutions and width: processor time, not time
on the wall, so that a busy machine gives the same figures.

    python -m benchmarks.scaling [--scans 10000] [--out FILE.json]

A folder of small made scans is prepared, stopped in the middle and gone on with, and its store opened; then discovery
and a step of training are measured at four sizes each. Prints the tables of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch

from training.data.convert import convert_all
from training.data.prepare import prepare
from training.data.store import Store
from training.discovery.search import Search
from training.methods.protocol import Batch
from training.methods.registry import method_of, resolve
from training.pretraining.inputs import open_inputs
from training.pretraining.loop import Trainer
from training.run.folder.environment import machine, versions
from training.run.processes.process_group import Process
from training.run.recipe import Recipe
from training.run.recipe_file import load_recipe
from training.run.seeds import rng

SIZE = (32, 32, 24)
"""Of the made scans."""
FOURFOLD = {"patients": (250, 500, 1000, 2000), "patterns": (4, 8, 16, 32), "resolutions": (1, 2, 4, 8)}
WIDTHS = (4, 8, 16, 32)


def processor(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of processor that some work took, and its result."""
    started = time.process_time()
    done = work()
    return time.process_time() - started, done


def peak_mb() -> float:
    """The most memory that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_scans(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(-300, 300, (SIZE[0] + 64, *SIZE[1:]), dtype=np.int16)
    for number in range(count):
        first = number % 64
        image = nibabel.Nifti1Image(
            noise[first : first + SIZE[0]] + np.int16(number % 200), np.diag([2.0, 2.0, 3.0, 1])
        )
        nibabel.save(image, folder / f"scan_{number:07d}.nii")


def recipe_of(source: Path, run: Path, *more: str) -> Recipe:
    shared = (
        "prepare.workers=1",
        "prepare.spacing=[2.0, 2.0, 3.0]",
        "prepare.chunk=[32, 32, 24]",
        "discover.cube=[16, 16, 8]",
        "discover.neighbours=20",
    )
    return resolve(load_recipe("demo", [f"source={source}", f"run={run}", *shared, *more]))


def stopped_after(count: int) -> Any:
    """A converter that is interrupted."""

    def convert(settings: Any, url: str, items: list[Any]) -> Iterable[Any]:
        for number, result in enumerate(convert_all(settings, url, items)):
            if number == count:
                raise KeyboardInterrupt
            yield result

    return convert


def many_scans(folder: Path, count: int) -> dict[str, float]:
    make_scans(folder / "scans", count)
    recipe = recipe_of(folder / "scans", folder / "run")
    store = folder / "run" / "store.zarr"

    def interrupted() -> None:
        try:
            prepare(recipe, converter=stopped_after(count // 2), progress=False)
        except KeyboardInterrupt:
            return

    before = peak_mb()
    first, _ = processor(interrupted)
    halfway = peak_mb()
    second, summary = processor(lambda: prepare(recipe, progress=False))
    again, _ = processor(lambda: prepare(recipe, progress=False))
    opened, found = processor(lambda: Store.open(store, cache_mib=64))
    crops, _ = processor(lambda: [found.crop(name, (8, 8, 8), (16, 16, 8)) for name in found.names()[:1000]])
    return {
        "scans": count,
        "ms_per_scan": 1000 * (first + second) / count,
        "there_before_resuming": summary.already_there,
        "s_when_nothing_is_left": again,
        "s_to_open": opened,
        "ms_per_first_crop": 1000 * crops / min(count, 1000),
        "mb_before": before,
        "mb_peak_half": halfway,
        "mb_peak": peak_mb(),
        "kb_on_disk_per_scan": summary.megabytes * 1000 / count,
    }


def discovery(store: Store, patients: int, patterns: int, resolutions: int) -> float:
    """Seconds of processor to find patterns among the first patients of a store."""
    part = Store(store.url, store.items[:patients], store.settings, cache_mib=64)
    settings = recipe_of(Path("."), Path("run"), f"discover.resolutions={resolutions}").discover
    features = np.random.default_rng(0).random((patients, 512), dtype=np.float32)
    random = rng(0, "scaling")

    def find() -> int:
        search, rows = Search(part, features, settings), 0
        for pattern in range(patterns):
            for reference in search.train[pattern::patterns]:
                corner = search.corner(int(reference), random)
                if corner is not None:
                    rows += len(search.rows(pattern, int(reference), corner, random))
                    break
        return rows

    find()
    return processor(find)[0]


def step(folder: Path, width: int) -> float:
    """Seconds of processor for one step of a batch of four cubes of 32 x 32 x 16."""
    size = ("pretrain.size=[32, 32, 16]", "pretrain.batch_size=4", "pretrain.workers=0", f"model.width={width}")
    method = ('method={ name = "restoration" }', "pretrain.samples_per_epoch=8")
    recipe = recipe_of(folder / "scans", folder / "run", *size, *method)
    alone, chosen = Process(0, 1, torch.device("cpu")), method_of(recipe)
    trainer = Trainer(recipe, chosen, open_inputs(recipe, chosen, alone), alone, folder / f"w{width}", progress=False)
    batch = Batch(torch.rand(4, 1, 32, 32, 16))
    trainer.step(trainer.network, trainer.plan.stages[-1], [batch])
    return processor(lambda: [trainer.step(trainer.network, trainer.plan.stages[-1], [batch]) for _ in range(3)])[0] / 3


def growth(folder: Path) -> dict[str, dict[int, float]]:
    store = Store.open(folder / "run" / "store.zarr")
    middle = {"patients": 500, "patterns": 8, "resolutions": 2}
    found: dict[str, dict[int, float]] = {}
    for key, sizes in FOURFOLD.items():
        there = [size for size in sizes if key != "patients" or size <= len(store.items)]
        found[f"discover, s by {key}"] = {
            size: discovery(store, **{**middle, "patients": min(500, len(store.items)), key: size}) for size in there
        }
    found["training step, s by width"] = {width: step(folder, width) for width in WIDTHS}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--scans", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="write the figures here, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        many = many_scans(folder, options.scans)
        for key, value in many.items():
            print(f"| {key.replace('_', ' ')} | {value:.4g} |", flush=True)
        grown = growth(folder)
        for what, figures in grown.items():
            print(
                f"| {what} | " + " | ".join(f"{size}: {value:.3g}" for size, value in figures.items()) + " |",
                flush=True,
            )
    if options.out:
        record = {"machine": machine(), "versions": versions(), "many scans": many, "growth": grown}
        options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
