"""Self-discovery made dense: every voxel of every patient is of a region.

    sg-hub discover RECIPE [key=value ...]
    torchrun --nproc-per-node 8 -m sg_hub discover RECIPE

for a method that needs regions. The largest train scans are references; their tissue is cut into regions that are near
and alike (references.py); every patient is bent onto each of them by the features of trained weights (alignments.py).
Reads the store; writes below `discovery/` of the run `references.npz`, `alignments.zarr` and the figure `regions.png`.
A run that is stopped goes on with the patients that are left.
"""

from __future__ import annotations

from pathlib import Path

from ...data.prepare import open_store
from ...data.provenance import said_of
from ...run.folder.lock import run_lock
from ...run.folder.record import record
from ...run.processes.process_group import process
from ...run.recipe import Recipe
from ..discover import FOLDER
from ..located import finder, said_of_weights
from .alignments import Alignments, align_patients, begin
from .figure import regions_of_patients
from .references import References

REFERENCES, ALIGNMENTS, PICTURE = "references.npz", "alignments.zarr", "regions.png"


def find_regions(recipe: Recipe, *, device: str = "auto", progress: bool = True) -> Path:
    """Cut the references up, and bend all patients onto them; returns the file of the references.

    Raises:
        InvalidInputError: too few train patients or too little tissue, images, weights that do not take the scans as
            they are stored, or a folder of something else.
        ReadError: no store yet.
    """
    folder = recipe.run_dir / FOLDER
    path = folder / REFERENCES
    with run_lock(recipe.run_dir), process(device) as me:
        me.barrier()  # the first process may still be writing the store
        store = open_store(recipe, cache_mib=512)
        dataset = said_of(recipe, store).dataset
        network = finder(recipe.regions.weights, store, dataset, "regions.weights").to(me.device)
        said = said_of_weights(network)
        if me.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            References.found(store, recipe).save(path)
        me.barrier()
        references = References.load(path)
        of = f"{store.fingerprint} {' '.join(references.names)} {said['sha256']}"
        if me.is_main and begin(folder / ALIGNMENTS, of):
            (recipe.run_dir / "discover.json").unlink(missing_ok=True)  # which is of those of before
        me.barrier()
        found, counts = align_patients(
            network,
            store,
            references,
            folder / ALIGNMENTS,
            of,
            me,
            tissue_hu=recipe.discover.tissue_hu,
            progress=progress,
        )
        if me.is_main:
            others = len(store.names()) - 1
            shares = {"references": len(counts), "found_in": counts, "of": others}
            record(
                recipe,
                "discover",
                path,
                store=store.fingerprint,
                alignments=found,
                aligned=of,
                found_by=said,
                patients=shares,
            )
            print(f"references are found in {', '.join(map(str, counts))} of {others} other scans", flush=True)
            alignments = Alignments(folder / ALIGNMENTS)
            regions_of_patients(store, references, alignments, folder / PICTURE, dataset)
        me.barrier()
    return path
