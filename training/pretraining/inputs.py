"""What a method trains on, opened: the store and, of each split, whole scans, random cubes or cubes of patterns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Sampler

from sg_hub.errors import InvalidInputError

from ..data.prepare import open_store
from ..data.store import Store
from ..discovery.cubes import Cubes, PatternDataset, RandomCubes, enlarged
from ..discovery.discover import FOLDER as DISCOVERY
from ..discovery.discover import table_path
from ..discovery.features import FOLDER, WHOLE
from ..discovery.patterns import SPLITS, PatternTable
from ..discovery.regions.alignments import Alignments, made_of
from ..discovery.regions.cubes import PlacedCubes
from ..discovery.regions.find import ALIGNMENTS, REFERENCES
from ..discovery.regions.references import References
from ..discovery.whole_scans import WholeScans, resize_scans
from ..methods.blueprint import Blueprint
from ..methods.protocol import Batch, Method
from ..methods.registry import settings_then
from ..run.folder.checksums import check_file
from ..run.folder.record import read_json, recorded
from ..run.processes.process_group import Process
from ..run.recipe import Pretrain, Recipe, Size

OF_RANDOM_CUBES = ("cube", "tissue", "tissue_hu", "tissue_level")
"""Settings of `discover` that random cubes depend on."""


@dataclass(frozen=True)
class Inputs:
    """The data of a run."""

    store: Store
    data: dict[str, Cubes]
    """By split."""
    patterns: int | None
    """Number of patterns, where the method needs them."""
    fingerprint: str
    """Of everything that the items depend on."""
    regions: References | None = None
    """Of dense patterns, where the method needs them."""
    start: str = ""
    """sha256 of the weights that the network starts from, where there are any."""

    def blueprint(self, recipe: Recipe) -> Blueprint:
        return Blueprint(recipe, self.store, self.patterns, self.regions)


def open_inputs(recipe: Recipe, method: Method, me: Process, progress: bool = False) -> Inputs:
    """Open what the method needs.

    Raises:
        ReadError: an earlier step is missing.
        InvalidInputError: a patterns table that does not fit the store, is of another one, or was discovered with other
            settings.
    """
    settings = recipe.pretrain
    store = open_store(recipe, cache_mib=settings.cache_mib, cache_dir=settings.cache_dir)
    size, context = enlarged(recipe.pretrain.size, method.context), method.context
    if method.needs == "scans":
        path = recipe.run_dir / FOLDER / WHOLE
        resize_scans(store, size, path, me, progress)
        return Inputs(store, {split: WholeScans(store, path, split) for split in SPLITS}, None, store.fingerprint)
    if method.needs == "patches":
        length = {"train": recipe.pretrain.samples_per_epoch}
        cubes = recipe.discover.model_copy(update={"cube": enlarged(recipe.discover.cube, context)})
        data = {split: RandomCubes(store, split, cubes, size, recipe.seed, length.get(split)) for split in SPLITS}
        fingerprint = f"{store.fingerprint} {recipe.discover.model_dump_json(include=set(OF_RANDOM_CUBES))}"
        return Inputs(store, dict(data), None, fingerprint)
    if method.needs == "regions":
        return _with_regions(recipe, store, size, context)
    path, record, said = table_path(recipe), recipe.run_dir / "discover.json", dict[str, Any]()
    if path.is_file() and (record.is_file() or recipe.discover.weights):  # whom these have seen stands in the record
        said = read_json(record, "discover")
        check_file(said, path, "discover")
    if "alignments" in said:
        raise InvalidInputError(
            "regions were discovered here since the patterns were: give each method a run=FOLDER of its own, or run "
            "`sg-hub discover` again"
        )
    table = PatternTable.load(path)
    check_table(table, store)
    if said.get("store", store.fingerprint) != store.fingerprint:  # coordinates are voxels of that one
        raise InvalidInputError(
            "the patterns were discovered in another store (scans were prepared anew, added or taken away since): run "
            "the steps from autoencode (or discover) on again"
        )
    if then := settings_then(recipe, "discover", "discover"):
        raise InvalidInputError(
            f"the patterns were discovered with other settings than the recipe's ({then}): run `sg-hub discover` "
            "again, or set them back"
        )
    found = {split: PatternDataset(table, store, table.rows(split), size, context) for split in SPLITS}
    return Inputs(store, dict(found), table.classes, of_patterns(store, table))


def _with_regions(recipe: Recipe, store: Store, size: Size, context: float) -> Inputs:
    """Random cubes whose voxels are of regions. Errors as for `open_inputs`."""
    path, record = recipe.run_dir / DISCOVERY / REFERENCES, read_json(recipe.run_dir / "discover.json", "discover")
    check_file(record, path, "discover")
    if record.get("store") != store.fingerprint or "alignments" not in record:
        raise InvalidInputError(
            "the regions were discovered in another store (scans were prepared anew, added or taken away since), or by "
            "another method: run `sg-hub discover` again"
        )
    if then := settings_then(recipe, "discover", "regions"):
        raise InvalidInputError(
            f"the regions were discovered with other settings than the recipe's ({then}): run `sg-hub discover` "
            "again, or set them back"
        )
    folder, length = path.with_name(ALIGNMENTS), {"train": recipe.pretrain.samples_per_epoch}
    if made_of(folder) != record.get("aligned"):
        raise InvalidInputError(
            f"{folder} is of other references, weights or scans than the record says: run `sg-hub discover` again"
        )
    alignments, references = Alignments(folder), References.load(path)
    cubes = recipe.discover.model_copy(update={"cube": enlarged(recipe.discover.cube, context)})
    data = {
        split: PlacedCubes(store, alignments, split, cubes, size, recipe.seed, length.get(split)) for split in SPLITS
    }
    return Inputs(store, dict(data), None, of_regions(recipe, store, record, references), references)


def of_regions(recipe: Recipe, store: Store, record: Mapping[str, Any], references: References) -> str:
    """The fingerprint of inputs with regions.

    Args:
        record: of `discover`.
    """
    drawn = recipe.discover.model_dump_json(include=set(OF_RANDOM_CUBES))
    return f"{store.fingerprint} {record['alignments']} {references.fingerprint} {drawn}"


def of_patterns(store: Store, table: PatternTable) -> str:
    """The fingerprint of these inputs."""
    return f"{store.fingerprint} {table.fingerprint}"


def check_table(table: PatternTable, store: Store) -> None:
    """Refuse a table that was discovered before the patients were split otherwise.

    Raises:
        InvalidInputError: fewer than two patterns, or patients that are in another split of the store.
    """
    if table.classes < 2:
        raise InvalidInputError("the patterns table has one pattern: there is nothing to tell apart")
    splits = {patient.name: patient.split for patient in store.patients}
    pairs = {(int(p), int(s)) for p, s in zip(table.patient, table.split, strict=True)}
    moved = sorted(table.patients[p] for p, s in pairs if splits.get(table.patients[p]) not in (None, SPLITS[s]))
    if moved:
        raise InvalidInputError(
            f"{len(moved)} patients are in another split than when their patterns were discovered "
            f"({', '.join(moved[:5])}): run the steps from autoencode (or discover) on again"
        )


def check_trained_on(recipe: Recipe, provenance: Mapping[str, Any], store: Store, fingerprint: str | None) -> None:
    """Refuse to say of weights what holds of another store, whose test patients they may have seen, or other patterns.

    Args:
        provenance: of the weights.
        fingerprint: of the inputs (`Inputs`) now; None where nothing beside the store is there.

    Raises:
        InvalidInputError: they were trained on others. Records of before do not say on which.
    """
    then = recorded(recipe, "pretrain").get("inputs", fingerprint)
    if provenance.get("store", store.fingerprint) != store.fingerprint or (fingerprint and then != fingerprint):
        raise InvalidInputError(
            "the weights were trained on another store or other patterns (scans were prepared anew, split otherwise, "
            "or their patterns discovered again since): pre-train on these in another run=FOLDER, or set them back"
        )


class Batches(Sampler[list[int]]):
    """Lists of item numbers, changed from epoch to epoch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)


class Reader:
    """Reads batches of one split; its processes stay, with the scans that they have decoded."""

    def __init__(self, data: Cubes, settings: Pretrain, me: Process) -> None:
        self.data, self.me, self.batches = data, me, Batches()
        self.loader: DataLoader[Any] = DataLoader(
            data,
            batch_sampler=self.batches,
            num_workers=settings.workers,
            persistent_workers=settings.workers > 0,
            prefetch_factor=settings.read_ahead if settings.workers > 0 else None,
            pin_memory=me.device.type == "cuda",
        )

    def read(self, batches: list[list[int]]) -> Iterator[Batch]:
        """The batches of these items, on the process's device."""
        self.batches.batches = batches
        for parts in self.loader:
            yield Batch(*(part.to(self.me.device, non_blocking=True) for part in parts))
