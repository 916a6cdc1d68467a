"""What of a model folder goes to a hub: no picture of a patient unless it is asked for, and no name or path at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from sg_hub.errors import ReadError
from sg_hub.hub.upload import Listing, listing

from .cards.results_file import RESULTS, FinetunedResults, PretrainedResults, read_object, read_results
from .replacing import NAMELESS, PICTURES

_IMAGE = re.compile(r"!\[[^\]\n]*\]\(([^)\s]+)\)")


def select(folder: Path, pictures: bool = False) -> Listing:
    """What is sent of a folder, and what stays here.

    Beside what every model folder may send, these are its results, which hold hashes in place of names, its curves, and
    the table of its classes.

    Args:
        pictures: also pictures, which may show patients.
    """
    found = listing(folder, pictures=pictures)
    files, kept_back, notes = dict(found.files), dict(found.kept_back), dict(found.notes)
    for name in NAMELESS:
        if (folder / name).is_file():
            files[name] = folder / name
            kept_back.pop(name, None)
            notes.pop(name, None)
    if RESULTS in kept_back:
        reason = _may_name_patients(folder)
        if reason:
            kept_back[RESULTS] = reason
        else:
            files[RESULTS] = folder / RESULTS
            del kept_back[RESULTS]
    notes |= {name: "pictures of patients" for name in PICTURES if name in files}
    return Listing(dict(sorted(files.items())), kept_back, notes)


def without_pictures(card: str, kept_back: Mapping[str, str]) -> str:
    """A card in which pictures that stay here are not shown: a hub would show a broken image in their place."""

    def shown(image: re.Match[str]) -> str:
        return "*(A picture of patients, not uploaded.)*" if image[1] in kept_back else image[0]

    return _IMAGE.sub(shown, card)


def _may_name_patients(folder: Path) -> str:
    """Why results.json stays here; empty where it is of a form that names nobody."""
    try:
        if "target" not in read_object(folder / RESULTS):
            read_results(folder, PretrainedResults)
        else:
            read_results(folder, FinetunedResults)
    except ReadError:
        return "not in the form that is written today, it may name patients"
    return ""
