"""Self-discovery of anatomical patterns (paper, Sec. 2 and Appendix A).

    sg-hub discover RECIPE [key=value ...]

With a 2D recipe the same for images, and what is said of patients here holds for each image, or each scan.

For each of C patterns: a reference patient that was not used yet, its K nearest patients by the L2 distance of their
latent features, and a random place that all of them share; or, with trained weights, the patients in whom that place is
found again by their features. Reads the store and, without such weights, the autoencoder's features; writes
`discovery/patterns.csv` (see patterns.py) and the figure `discovery/patterns.png` (the paper's Fig. 4).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sg_hub.errors import InvalidInputError

from ..data.prepare import open_store
from ..data.provenance import said_of
from ..data.store import Store
from ..run.folder.lock import run_lock
from ..run.folder.record import record
from ..run.recipe import Recipe
from ..run.seeds import rng
from .consistency import consistency
from .features import load_features
from .figure import discovered_patterns
from .located import Places, finder, locate_patterns, said_of_weights
from .patterns import SPLITS, PatternTable
from .search import Search

FOLDER = "discovery"


def table_path(recipe: Recipe) -> Path:
    return recipe.run_dir / FOLDER / "patterns.csv"


def discover(recipe: Recipe, *, progress: bool = True) -> Path:
    """Find the patterns and write their table; returns its file. Same seed and data, same table.

    Raises:
        InvalidInputError: fewer train patients than patterns, no place left for one, features that are no numbers, or
            weights that do not take the scans as they are stored, or have seen test patients.
        ReadError: no store yet, or no features of the autoencoder where these are needed.
    """
    store = open_store(recipe, cache_mib=512)
    check_patterns(recipe.discover.patterns, store)
    features = load_features(recipe, store) if recipe.discover.needs_autoencoder else None
    with run_lock(recipe.run_dir):
        weights = recipe.discover.weights
        dataset = said_of(recipe, store).dataset
        network = finder(weights, store, dataset) if weights else None
        table = PatternTable.from_rows(store.names(), _find(recipe, store, features, network, progress))
        path = table_path(recipe)
        table.save(path)
        alike = consistency(store, table, progress=progress)
        picture = path.with_name("patterns.png")
        relative = recipe.discover.frame == "relative"
        discovered_patterns(store, table, features, alike, picture, dataset, relative=relative)
        counts = {split: len(table.rows(split)) for split in SPLITS}
        more = {"found_by": said_of_weights(network)} if network is not None else {}
        record(recipe, "discover", path, rows=counts, store=store.fingerprint, consistency=alike.record(), **more)
        print(alike, flush=True)
    return path


def _find(
    recipe: Recipe, store: Store, features: np.ndarray | None, network: Any, progress: bool
) -> list[tuple[int, ...]]:
    """The table's rows of all patterns.

    Args:
        network: that finds their places; None where these follow from coordinates.
    """
    settings, random = recipe.discover, rng(recipe.seed, "discover")
    search = Search(store, features, settings)
    starts = _starts(search, settings.patterns, random)
    places: list[Places] = []
    if network is not None:
        known = list(
            tqdm(starts, desc="choosing places", total=settings.patterns, unit="pattern", disable=not progress)
        )
        middles = [(reference, search.middle(reference, corner)) for reference, corner in known]
        places = locate_patterns(network, store, middles, progress=progress)
        starts = iter(known)
    rows: list[tuple[int, ...]] = []
    bar = tqdm(starts, desc="discovering", total=settings.patterns, unit="pattern", disable=not progress)
    for pattern, (reference, corner) in enumerate(bar):
        rows += search.rows(pattern, reference, corner, random, places[pattern] if places else None)
    return rows


def check_patterns(patterns: int, store: Store) -> None:
    """Refuse more patterns than there are references for.

    Raises:
        InvalidInputError: fewer train patients than patterns.
    """
    train = len(store.names("train"))
    if train < patterns:
        raise InvalidInputError(
            f"{patterns} patterns need as many train patients as references, and the store has {train}: set "
            "discover.patterns lower, or add patients"
        )


def _starts(search: Search, patterns: int, random: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    """A reference and a place of each pattern; drawn when they are asked for, between what else is drawn."""
    references = list(random.permutation(search.train))
    for pattern in range(patterns):
        while True:
            if not references:
                raise InvalidInputError(
                    f"no place found for pattern {pattern} of {patterns} in any patient: lower "
                    "discover.patterns, discover.min_distance, discover.border or discover.tissue"
                )
            reference = int(references.pop())
            corner = search.corner(reference, random)
            if corner is not None:
                break
        yield reference, corner
